"""Cameras, poses and similarity transforms: pure functions and small values, no state."""
