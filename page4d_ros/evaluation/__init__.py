"""Evaluation against ground truth: methods, metrics, plans and the report."""
