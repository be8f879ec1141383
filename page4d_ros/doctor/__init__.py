"""Checks of a machine, its weights and its ROS graph, each with a result and advice."""
