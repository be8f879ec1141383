"""Losses, data and the loop that trains the network."""
