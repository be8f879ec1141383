"""Finds the files that are installed beside the Python modules."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from page4d_ros.errors import Page4dError

PACKAGE = 'page4d_ros'


def share_file(name: str) -> Path:
    """File of a source checkout, or of ``share/page4d_ros`` of an installation.

    Args:
        name: relative path such as ``msg/PerceptionStatus.msg``.

    Raises:
        Page4dError: it is in none of these places.
    """
    here = Path(__file__).resolve()
    sourced = [Path(p) for p in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if p]
    prefixes = [*here.parents, *sourced, Path(sys.prefix)]
    for root in [here.parents[1], *(prefix / 'share' / PACKAGE for prefix in prefixes)]:
        if (root / name).is_file():
            return root / name
    raise Page4dError(f'{name} of {PACKAGE} is not installed; install the package again')
