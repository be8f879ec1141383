"""PAGE-4D perception for ROS 2: camera pose, depth and a motion mask from one moving camera."""

from pkgutil import extend_path

# The generated page4d_ros.msg of a sourced workspace is found beside a source checkout.
__path__ = extend_path(__path__, __name__)
__version__ = '0.1.0'
