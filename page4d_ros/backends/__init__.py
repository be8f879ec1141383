"""Graphs of the network for runtimes beside torch, built once and kept."""
