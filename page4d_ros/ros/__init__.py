"""The node: everything that needs rclpy lives in this room."""
