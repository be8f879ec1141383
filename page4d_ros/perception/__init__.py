"""Frames in, estimates out: window, engine, odometry, scale, dynamics, clouds. No ROS."""
