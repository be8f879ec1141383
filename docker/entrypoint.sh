#!/bin/bash
# Sources the distribution, the virtual environment and the package, then becomes the command.
set -e
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /ws/.venv/bin/activate
source /ws/install/local_setup.bash
exec "$@"
