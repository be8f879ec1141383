"""Front end on Ray: plain actors, each with one task at a time.

Ray Data's ``map_batches`` was weighed and left: it retries blocks, not recordings, knows no limit
of tries for one of them nor a quarantine, and a worker that dies cannot be laid at the door of the
recording that killed it. Here the driver hands out one recording at a time to actors that said
that they are ready, so that nothing waits for a worker that has no room, and what a lost actor
had is known.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import OutOfMemoryError, RayError
from ray.util import metrics

from page4d_ros.errors import FleetError
from page4d_ros.fleet.settings import CRASH, MEMORY, Failure, Outcome
from page4d_ros.process import prepare

if TYPE_CHECKING:
    from ray.actor import ActorHandle

    from page4d_ros.fleet.settings import Job, Task

NAMESPACE = 'page4d'
MOST_STARTS = 8  # workers in a row that die before they are ready, until the run ends
LOW_MEMORY = ('low on memory', 'memory pressure')  # in the text of an actor's death
ANSWER = 10.0  # seconds that a cluster has to answer
MOST_LOG = 20_000  # characters


class RayWorker:
    """Actor: a `Worker`, with metrics for the dashboard."""

    def __init__(self, job: Job, name: str) -> None:
        prepare()
        from page4d_ros.fleet.worker import Worker  # brings NumPy and torch

        self._worker = Worker(job, name)
        self._worker.prepare()
        tags = {'worker': name}
        self._done = metrics.Counter('page4d_recordings', 'Recordings and parts', ('worker',))
        self._failed = metrics.Counter('page4d_failures', 'Tries that failed', ('worker', 'kind'))
        self._video = metrics.Counter('page4d_video_seconds', 'Length of the video', ('worker',))
        for metric in (self._done, self._failed, self._video):
            metric.set_default_tags(tags)

    def ready(self) -> bool:
        """Answer as soon as the network is loaded."""
        return True

    def do(self, task: Task) -> Outcome:
        """Do a task; see `Worker.do`."""
        outcome = self._worker.do(task)
        if outcome.failure is not None:
            self._failed.inc(tags={'kind': outcome.failure.kind})
        else:
            self._done.inc()
            self._video.inc(max(outcome.video_seconds, 1e-9))
        return outcome


class RayPool:
    """A `Pool` of actors; one that dies is replaced, wherever the cluster has room.

    Args:
        job: settings of the run.
        address: ``local`` starts a cluster on this machine; ``auto`` and others take one that is
            there.
        workers: number of actors; 0 for as many as the cluster has room for.
        cpus: cores of each.
        gpus: GPUs of each; a fraction shares one.

    Raises:
        FleetError: there is no such cluster, or it has no room for a single worker.
    """

    worker = RayWorker  # class of the actors

    def __init__(
        self, job: Job, address: str, *, workers: int = 0, cpus: float = 1.0, gpus: float = 0.0
    ) -> None:
        self._job, self._cpus, self._gpus = job, cpus, gpus
        _connect(address)
        self.size = workers or self._room()
        self._actor = ray.remote(self.worker)
        self._names: dict[ActorHandle, str] = {}
        self._starting: dict[Any, ActorHandle] = {}  # by the reference of the answer
        self._idle: list[ActorHandle] = []
        self._working: dict[Any, tuple[ActorHandle, Task]] = {}
        self._starts = 0  # workers that died before they were ready, in a row
        self._number = 0
        for _ in range(self.size):
            self._start()

    def _room(self) -> int:
        """Workers that fit into the cluster, one after the other."""
        total = ray.cluster_resources()
        room = [int(total.get('CPU', 0) // self._cpus)] if self._cpus else []
        room += [int(total.get('GPU', 0) // self._gpus)] if self._gpus else []
        if not room or min(room) < 1:
            raise FleetError(
                f'the Ray cluster has no room for a worker of {self._cpus:g} CPUs and '
                f'{self._gpus:g} GPUs; see `ray status`, or give --workers'
            )
        return min(room)

    @property
    def free(self) -> int:
        """Tasks that can be submitted now."""
        return len(self._idle)

    @property
    def busy(self) -> int:
        """Tasks that are being done."""
        return len(self._working)

    def submit(self, task: Task) -> None:
        """Begin a task."""
        actor = self._idle.pop()
        self._working[actor.do.remote(task)] = actor, task

    def wait(self, seconds: float) -> list[Outcome]:
        """Outcomes that come within so many seconds, also those of actors that died.

        Raises:
            FleetError: no worker comes up any more.
        """
        waiting = [*self._working, *self._starting]
        ready, _ = ray.wait(waiting, num_returns=1, timeout=seconds) if waiting else ([], [])
        if not waiting:
            time.sleep(seconds)
        out = []
        for reference in ready:
            if reference in self._starting:
                self._started(reference)
            else:
                out.append(self._ended(reference))
        return out

    def _start(self) -> None:
        self._number += 1
        name = f'{self._job.run}-{self._number}'
        made = self._actor.options(
            name=name,
            namespace=NAMESPACE,
            num_cpus=self._cpus,
            num_gpus=self._gpus,
            max_restarts=0,  # the pool makes a new one, and knows then what the old one had
        ).remote(self._job, name)
        self._starting[made.ready.remote()] = made

    def _started(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        try:
            ray.get(reference)
        except RayError as error:
            self._starts += 1
            if self._starts >= MOST_STARTS:
                raise FleetError(
                    f'{self._starts} workers in a row died before they were ready: '
                    f'{_line(error)}; see `ray logs`'
                ) from error
            self._start()
            return
        self._starts = 0
        self._idle.append(actor)

    def _ended(self, reference: Any) -> Outcome:
        actor, task = self._working.pop(reference)
        try:
            outcome = ray.get(reference)
        except RayError as error:
            ray.kill(actor)  # it may live, out of reach
            self._start()
            return Outcome(task, _failure(error))
        self._idle.append(actor)
        return outcome

    def close(self) -> None:
        """End all actors, and leave the cluster."""
        actors = [*self._idle, *self._starting.values(), *(a for a, _ in self._working.values())]
        for actor in actors:
            ray.kill(actor)
        self._idle, self._starting, self._working = [], {}, {}
        ray.shutdown()


def _connect(address: str) -> None:
    """Join a cluster; whether one answers is asked first, as Ray waits for minutes, then exits.

    Raises:
        FleetError: there is none.
    """
    host, _, port = address.removeprefix('ray://').rpartition(':')
    try:
        if host and port.isdecimal():
            socket.create_connection((host, int(port)), ANSWER).close()
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level='error')
    except (OSError, RuntimeError, ValueError) as error:
        raise FleetError(
            f'--ray {address}: {_line(error)}; `ray start --head` starts a cluster, and '
            '--ray local needs none'
        ) from error


def _failure(error: RayError) -> Failure:
    """Failure of a try whose actor is gone."""
    text = str(error)
    log = text[-MOST_LOG:]
    if isinstance(error, OutOfMemoryError) or any(words in text for words in LOW_MEMORY):
        return Failure(MEMORY, 'Ray ended the worker for want of memory', log)
    return Failure(CRASH, f'the worker or its node was lost ({_line(error)})', log)


def _line(error: Exception) -> str:
    return ' '.join(str(error).split())[:300]
