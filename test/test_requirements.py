"""The list of hashes that `make setup` installs from agrees with the lists that people write."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1] / 'requirements'
LOCKED = (ROOT / 'locked.txt').read_text()
WRITTEN = 'python.txt', 'ros.txt', 'ros-build.txt', 'ros-build-nodeps.txt'
PYTHONS = '3.10', '3.11', '3.12', '3.13'


def lines(text):
    joined = text.replace('\\\n', ' ')
    return [line for line in joined.splitlines() if line.strip() and not line.startswith('#')]


def locked(python):
    """Versions by name, for Linux and a version of Python."""
    machine = {
        'python_version': python, 'python_full_version': f'{python}.5', 'sys_platform': 'linux',
        'platform_machine': 'x86_64', 'platform_python_implementation': 'CPython',
    }  # fmt: skip
    out = {}
    for line in lines(LOCKED):
        requirement = Requirement(line.partition('--hash')[0])
        if requirement.marker is None or requirement.marker.evaluate(machine):
            (version,) = requirement.specifier
            name = canonicalize_name(requirement.name)
            assert name not in out, name
            out[name] = Version(version.version)
    return out


@pytest.mark.parametrize('python', PYTHONS)
@pytest.mark.parametrize('name', WRITTEN)
def test_all_that_is_asked_for_is_locked(name, python):
    versions = locked(python)
    for line in lines((ROOT / name).read_text()):
        asked = Requirement(line)
        if asked.name == 'torch' or not (
            asked.marker is None or asked.marker.evaluate({'python_version': python})
        ):
            continue
        assert versions[canonicalize_name(asked.name)] in asked.specifier, line


def test_every_version_has_hashes():
    for line in lines(LOCKED):
        assert re.search(r'==\S+', line), line
        assert re.findall(r'--hash=sha256:[0-9a-f]{64}\b', line), line


def test_no_build_of_torch_or_of_its_libraries_is_locked():
    assert not [name for name in locked('3.12') if re.match(r'(torch|triton|nvidia|cuda)', name)]
