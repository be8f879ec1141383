"""The node's own main, with hooks at the stages of its worker that fail when they are told to.

A hook looks for the file that `CHAOS_HOOK` names: ``stage error count``. Without it nothing
happens.
"""

import builtins
import importlib
import os
import sys
from pathlib import Path

FILE = 'CHAOS_HOOK'
STAGES = {
    'decode': ('page4d_ros.messages.decode', 'FrameReader', '_frame'),
    'network': ('page4d_ros.perception.window_engine', 'WindowEngine', '_run'),
    'odometry': ('page4d_ros.perception.odometry', 'Odometry', 'update'),
    'dynamics': ('page4d_ros.perception.dynamics', 'Dynamics', 'update'),
    'restart': ('page4d_ros.perception.pipeline', 'Perception', 'restart'),
    'publish': ('page4d_ros.ros.sink', 'NodeSink', 'send'),
    'report': ('page4d_ros.ros.sink', 'NodeSink', 'report'),
    'callback': ('page4d_ros.ros.session', 'Session', '_on_image'),
    'second': ('page4d_ros.ros.node', 'Page4dNode', '_on_second'),
}
ERRORS = ('ValueError', 'MemoryError', 'RuntimeError', 'OutOfMemoryError')
FATAL = ('SystemExit', 'KeyboardInterrupt', 'GeneratorExit')  # no `Exception`


def error_of(name):
    """Exception of a name."""
    if name == 'OutOfMemoryError':
        import torch

        return torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')
    return getattr(builtins, name)('injected')


def trip(stage):
    """Fail as often as the file says, if it names this stage."""
    path = Path(os.environ[FILE])
    try:
        name, error, count = path.read_text().split()
    except (OSError, ValueError):
        return
    if name != stage:
        return
    left = int(count) - 1
    if left > 0:
        path.write_text(f'{name} {error} {left}')
    else:
        path.unlink(missing_ok=True)
    raise error_of(error)


def hook(stage):
    """Wrap the method of a stage."""
    module, kind, method = STAGES[stage]
    owner = getattr(importlib.import_module(module), kind)
    original = getattr(owner, method)

    def wrapped(self, *args, **kwargs):
        if stage == 'decode':  # the worker decodes what the callback has wrapped
            message, decode, *rest = args
            return original(self, message, lambda: trip(stage) or decode(), *rest)
        trip(stage)
        return original(self, *args, **kwargs)

    setattr(owner, method, wrapped)


def main():
    """Run the node."""
    from page4d_ros.process import prepare
    from page4d_ros.ros import signals
    from page4d_ros.ros.main import main as run

    signals.leave_at_once()
    prepare()
    for stage in STAGES:
        hook(stage)
    return run()


if __name__ == '__main__':
    sys.exit(main())
