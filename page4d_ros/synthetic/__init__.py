"""Rooms and other places with moving bodies, rendered with exact depth, motion masks and camera poses."""
