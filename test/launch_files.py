"""Launch files, evaluated without starting anything."""

import importlib.util
import sys
from pathlib import Path

import launch_stand_ins
import pytest

ROOT = Path(__file__).parents[1]
PREFIX = Path('/opt/robot')


def load(name='perception'):
    """Module of a launch file, with whatever `launch` is there."""
    path = ROOT / 'launch' / f'{name}.launch.py'
    spec = importlib.util.spec_from_file_location(f'{name}_launch', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_with_stand_ins(name='perception'):
    """Module of a launch file, with stand-ins of `launch`."""
    with pytest.MonkeyPatch.context() as patch:
        for each, module in launch_stand_ins.modules(ROOT, PREFIX).items():
            patch.setitem(sys.modules, each, module)
        return load(name)


def started(module, included=None, **arguments):
    """Actions that `ros2 launch` would start for these arguments.

    Args:
        module: of the launch file.
        included: module of the launch file that it includes.
        **arguments: of the launch file.
    """
    context = module.LaunchContext()
    context.launch_configurations.update(arguments)
    return _started(module, included, context)


def _started(module, included, context):
    out = []
    for entity in module.generate_launch_description().entities:
        if included and isinstance(entity, module.IncludeLaunchDescription):
            out += _started(included, None, context)
        else:
            out += entity.execute(context) or []
    return out
