"""Skips that strict mode accepts; `make test` fails on every other.

A skip is accepted where a stranger's machine rightly lacks something and the suite proves the same
behaviour in another way, or where the thing is optional for users too.
"""

import re

# pattern at the start of the reason, why the skip is accepted
ALLOWED = {
    r'launch_ros is not installed': 'no wheel on PyPI; stand-ins run the same tests',
    r'octomap-tools is not installed': 'tools by apt; test/ros/test_contracts.py runs anywhere',
    r'diagnostic_updater is not installed': 'no wheel on PyPI; a publisher does the same',
    r'(cv_bridge|sensor_msgs_py|tf2_ros|tf_transformations|vision_msgs)\S* is not installed': (
        'no wheel on PyPI; distributions bring it, and our own conversions are tested alone'
    ),
    r'visualization_msgs is not installed': 'optional; markers are also tested in recordings',
    r'docker compose is not installed': 'its file is also read and compared without it',
    r'rerun-sdk is not installed': 'optional, 225 MB; its tests need nothing else of it',
    r'(ray|s3fs or moto) is not installed': (
        'optional, 450 MB: `make test-fleet` installs them and skips nothing; the same results, '
        'failures and concurrent runs are tested with one process and local folders'
    ),
    r'no Chromium is installed': 'the report is also tested without a browser',
    r'no further test data at': 'larger recordings and fixtures; test/data has small ones',
    r'no parity fixture .* in PAGE4D_PARITY_DIR=': 'a chosen folder may hold some kinds only',
    r'this machine has a GPU': 'the test asks what happens without one',
}


def allowed(reason: str) -> bool:
    """True if a skip for this reason is accepted."""
    return any(re.match(pattern, reason) for pattern in ALLOWED)
