"""Sequences with ground truth: published data sets, recordings and rendered drives."""
