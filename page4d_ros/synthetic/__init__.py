"""Rooms and other places with moving bodies, rendered with exact depth, masks and poses."""
