"""Sequences of data sets: streaming as the node runs, and whole, as papers evaluate."""
