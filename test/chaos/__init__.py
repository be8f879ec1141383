"""Fault campaign against the real node on a real graph: `make chaos`."""
