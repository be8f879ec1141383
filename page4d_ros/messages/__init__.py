"""ROS messages to and from arrays, for the classes of rclpy and of rosbags alike."""
