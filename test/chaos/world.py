"""The node as a process, a camera in front of it, and a listener behind it."""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from graph import Graph
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage

from chaos import hooked
from chaos.camera import FRAME_ID, Camera
from chaos.watch import Watch
from page4d_ros.geometry.poses import R_BODY_OPTICAL, transform
from page4d_ros.messages import encode
from page4d_ros.ros.compat import RosMessages

NAMESPACE = '/chaos'
NODE = f'{NAMESPACE}/page4d'
PATIENCE = 60.0  # seconds for the node to start, to end, and to answer
ANSWER = 10.0  # seconds for one answer of a service
PARAMETERS = {
    'model.checkpoint': 'page4d-small',
    'model.device': 'cpu',
    'model.backend': 'torch',
    'model.threads': 1,
    'node.autostart': True,
    'window.size': 3,
    'window.stride': 1,
    'frames.tf_timeout': 0.5,
}
MOUNT = transform(R_BODY_OPTICAL, (0.2, 0.0, 1.2))
ACTIVE = State.PRIMARY_STATE_ACTIVE
WAY = {  # transition towards active, by state
    State.PRIMARY_STATE_UNCONFIGURED: Transition.TRANSITION_CONFIGURE,
    State.PRIMARY_STATE_INACTIVE: Transition.TRANSITION_ACTIVATE,
}
MAKE = RosMessages()


class ChaosGraph(Graph):
    """Survives the bytes that this process itself throws at topics it listens to."""

    def _spin(self):
        while self.context.ok():
            with contextlib.suppress(ExternalShutdownException, InvalidHandle, RuntimeError):
                self.executor.spin()


class NodeProcess:
    """The node, as `ros2 run` starts it, with hooks that do nothing until they are told to.

    Attributes:
        starts: how often it was started.
        hook: file that tells them, see `chaos.hooked`.
    """

    def __init__(self, folder):
        self.folder = folder
        self.hook = folder / 'hook'
        self.starts = 0
        self.process = None

    def start(self):
        command = [sys.executable, '-m', 'chaos.hooked', '--ros-args']
        command += ['-r', f'__ns:={NAMESPACE}']
        for name, value in PARAMETERS.items():
            command += ['-p', f'{name}:={str(value).lower() if value is True else value}']
        self.starts += 1
        here = str(Path(__file__).parents[1])
        paths = {'PYTHONPATH': f'{here}:{os.environ.get("PYTHONPATH", "")}'}
        paths[hooked.FILE] = str(self.hook)
        with (self.folder / f'node_{self.starts}.log').open('w') as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | paths
            )

    def send(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=PATIENCE):
        """Exit code; None if it does not end, and is killed then."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def end(self):
        """End it however it is; returns its exit code."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGINT)
        return self.wait()

    @property
    def alive(self):
        return self.process.poll() is None

    def tail(self, lines=12):
        """Last lines that it printed."""
        text = (self.folder / f'node_{self.starts}.log').read_text(errors='replace')
        return '\n'.join(text.splitlines()[-lines:])

    def rss_mib(self):
        with contextlib.suppress(OSError):
            status = Path('/proc', str(self.process.pid), 'status').read_text()
            found = re.search(r'VmRSS:\s*(\d+) kB', status)
            return int(found[1]) / 1024 if found else 0.0
        return 0.0

    def segments(self):
        """Segments of shared memory that it maps, its own and those of others."""
        maps = Path('/proc', str(self.process.pid), 'maps').read_text()
        return {Path(name) for name in re.findall(r'/dev/shm/fastrtps_[0-9a-f]{16}(?!\w)', maps)}


def abandoned(segments):
    """Those segments that are still there, although nobody holds their lock."""
    return {path for path in segments if path.exists() and not _locked(Path(f'{path}_el'))}


def _locked(path):
    try:
        with path.open('r+') as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


class World:
    """Everything that a fault may touch.

    Attributes:
        graph: of the tester.
        camera: publishes frames.
        node: the process under test.
        watch: checks what it publishes.
        folder: for logs and whatever a fault writes.
        rss_mib: memory of the node after its start.
    """

    def __init__(self, folder):
        self.folder = folder
        self.graph = ChaosGraph()
        self.camera = Camera(self.graph.node, NAMESPACE)
        self.watch = Watch(self.graph, NAMESPACE, self.camera.sent)
        self.node = NodeProcess(folder)
        self.rss_mib = 0.0
        self._clients = {}
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.static = self.graph.node.create_publisher(TFMessage, '/tf_static', latched)
        self.tf = self.graph.node.create_publisher(TFMessage, '/tf', 100)
        self.mount()
        self.camera.start()

    def start(self):
        """Start the node and wait for its first pose."""
        self.watch.history.clear()
        self.node.start()
        begin = time.monotonic()
        self.graph.until(
            lambda: self.watch.pose_of > begin or not self.node.alive, PATIENCE, 'the first pose'
        )
        assert self.node.alive, self.node.tail()
        self.rss_mib = self.node.rss_mib()

    def restart(self):
        """End the node and start it again; returns the exit code that it had."""
        code = self.node.end()
        self.start()
        return code

    def close(self):
        if self.node.alive:
            self.node.end()
        self.camera.close()
        self.graph.close()

    def transform(self, parent, child, T=MOUNT):
        """A message with one transform."""
        head = encode.header(MAKE, time.time_ns(), parent)
        return TFMessage(
            transforms=[encode.transform_stamped(MAKE, head, child, encode.pose(MAKE, T))]
        )

    def mount(self):
        """Say where the camera is."""
        self.static.publish(self.transform('base_link', FRAME_ID))

    # -- services ------------------------------------------------------------------------------

    def call(self, kind, name, request, seconds=PATIENCE):
        """Answer of a service of the node; it is asked again while none comes."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self.graph.node.create_client(kind, f'{NODE}/{name}')
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.node.alive:
            if not client.wait_for_service(1.0):
                continue
            future = client.call_async(request)
            with contextlib.suppress(AssertionError):
                self.graph.until(future.done, min(ANSWER, seconds), name)
                return future.result()
        raise AssertionError(f'{name} did not answer within {seconds} s')

    def set(self, **values):
        """Set parameters, whose dots are written as two underscores; returns the results."""
        changes = [
            Parameter(name.replace('__', '.'), value=value).to_parameter_msg()
            for name, value in values.items()
        ]
        request = SetParameters.Request(parameters=changes)
        return self.call(SetParameters, 'set_parameters', request).results

    def trigger(self, name):
        return self.call(Trigger, name, Trigger.Request())

    def pause(self, *, paused):
        return self.call(SetBool, 'pause', SetBool.Request(data=paused))

    def transit(self, number):
        """Ask for a lifecycle transition; True if it was made."""
        request = ChangeState.Request(transition=Transition(id=number))
        return self.call(ChangeState, 'change_state', request).success

    def activate(self):
        """Bring the node back to active, whatever its state."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            state = self.call(GetState, 'get_state', GetState.Request()).current_state.id
            if state == ACTIVE:
                return
            if state in WAY:
                self.transit(WAY[state])
        raise AssertionError(f'the node is in state {state} and not active')


def environment():
    """Confine this process and those it starts to a domain that nobody else uses."""
    from page4d_ros.ros.demo import graph_environment

    os.environ |= graph_environment()
    os.environ.setdefault('OMP_NUM_THREADS', '1')
