"""Small stand-ins of `launch` and `launch_ros`, which have no wheel on PyPI.

They have the names, arguments and errors that the launch files use, as in Jazzy; an unknown
argument is a TypeError here too. Actions keep their arguments and start nothing.
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

INSTALLED = (
    'page4d_ros',
    'rviz2',
    'foxglove_bridge',
    'rtabmap_slam',
    'nvblox_ros',
    'octomap_server',
)


ACTIONS = (
    'DeclareLaunchArgument', 'EmitEvent', 'ExecuteProcess', 'IncludeLaunchDescription', 'LogInfo',
    'OpaqueFunction', 'RegisterEventHandler', 'Shutdown', 'TimerAction',
)  # fmt: skip


@dataclass
class LaunchContext:
    launch_configurations: dict[str, str] = field(default_factory=dict)
    is_shutdown: bool = False


@dataclass
class LaunchDescription:
    entities: list


@dataclass
class DeclareLaunchArgument:
    name: str
    default_value: str | None = field(default=None, kw_only=True)
    description: str | None = field(default=None, kw_only=True)
    choices: list[str] | None = field(default=None, kw_only=True)

    def __post_init__(self):
        if self.choices and self.default_value not in (None, *self.choices):
            raise ValueError(f'{self.name}: default {self.default_value} is no choice')

    def execute(self, context):
        values = context.launch_configurations
        if values.setdefault(self.name, self.default_value) is None:
            raise RuntimeError(f'required launch argument "{self.name}" was not provided')
        if self.choices and values[self.name] not in self.choices:
            raise RuntimeError(f'argument "{self.name}" = {values[self.name]!r} is no choice')


@dataclass(kw_only=True)
class OpaqueFunction:
    function: object

    def execute(self, context):
        return self.function(context)


@dataclass(kw_only=True)
class ExecuteProcess:
    cmd: list[str]
    output: str = 'log'


@dataclass(kw_only=True)
class OnProcessExit:
    target_action: object
    on_exit: object


@dataclass
class RegisterEventHandler:
    event_handler: object


@dataclass(kw_only=True)
class TimerAction:
    period: float
    actions: list


@dataclass(kw_only=True)
class Shutdown:
    reason: str


@dataclass(kw_only=True)
class LogInfo:
    msg: str


@dataclass(kw_only=True)
class EmitEvent:
    event: object


@dataclass(kw_only=True)
class ChangeState:
    lifecycle_node_matcher: object
    transition_id: int


def matches_action(action):
    return lambda candidate: candidate is action


@dataclass
class PythonLaunchDescriptionSource:
    location: str


@dataclass
class IncludeLaunchDescription:
    source: PythonLaunchDescriptionSource


@dataclass(kw_only=True)
class Node:
    executable: str
    package: str | None = None
    name: str | None = None
    namespace: str | None = None
    output: str = 'log'
    parameters: list = field(default_factory=list)
    remappings: list[tuple[str, str]] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    respawn: bool = False
    respawn_delay: float | None = None


@dataclass(kw_only=True)
class LifecycleNode(Node):
    name: str
    namespace: str


@dataclass
class ParameterFile:
    param_file: str
    allow_substs: bool = field(default=False, kw_only=True)

    def evaluate(self, context):
        """Path of a file with every `$(var name)` replaced; launch writes a temporary one."""
        values = context.launch_configurations
        text = Path(self.param_file).read_text(encoding='utf-8')
        return (
            re.sub(r'\$\(var (\w+)\)', lambda m: values[m[1]], text) if self.allow_substs else text
        )


def modules(share: Path, prefix: Path) -> dict[str, ModuleType]:
    """Entries of sys.modules under which the launch files import the stand-ins."""
    here = sys.modules[__name__]

    def package(name):
        known = SimpleNamespace(share=str(share), prefix=str(prefix))
        return dict.fromkeys(INSTALLED, known)[name]

    contents = {
        'launch': {n: getattr(here, n) for n in ('LaunchContext', 'LaunchDescription')},
        'launch.actions': {n: getattr(here, n) for n in ACTIONS},
        'launch.event_handlers': {'OnProcessExit': OnProcessExit},
        'launch.events': {'matches_action': matches_action},
        'launch.launch_description_sources': {
            'PythonLaunchDescriptionSource': PythonLaunchDescriptionSource
        },
        'launch_ros': {},
        'launch_ros.actions': {'LifecycleNode': LifecycleNode, 'Node': Node},
        'launch_ros.events': {},
        'launch_ros.events.lifecycle': {'ChangeState': ChangeState},
        'launch_ros.parameter_descriptions': {'ParameterFile': ParameterFile},
        'lifecycle_msgs': {},
        'lifecycle_msgs.msg': {'Transition': SimpleNamespace(TRANSITION_DEACTIVATE=4)},
        'ament_index_python': {},
        'ament_index_python.packages': {
            'get_package_share_directory': lambda name: package(name).share,
            'get_package_prefix': lambda name: package(name).prefix,
        },
    }
    out = {}
    for name, content in contents.items():
        out[name] = ModuleType(name)
        vars(out[name]).update(content)
    return out
