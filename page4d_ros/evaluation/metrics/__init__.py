"""Errors of poses, depth, points and masks against the ground truth; pure functions."""
