"""Times and memory, side by side in one run."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from typer import Option

from page4d_ros import __version__
from page4d_ros.commands.graph import need_ros
from page4d_ros.commands.show import DEMO_SETTINGS, IMAGE_TOPIC, SAMPLE
from page4d_ros.config import Config
from page4d_ros.errors import Page4dError
from page4d_ros.settings import parse_assignment

if TYPE_CHECKING:
    from rich.status import Status

Preset = Literal['tiny', 'cpu', 'gpu']
Rows = list[dict[str, Any]]
NODE = DEMO_SETTINGS | {'model.resolution': 518, 'window.stride': 1, 'points.rate': 0.0}
LINES = {
    'backend': '{backend}',
    'published, ms': '{reference_ms:.4g}',
    'engine, ms': '{engine_ms:.4g}',
    'times faster': '{speedup:.2f}',
    '  least': '{speedup_range[0]:.2f}',
    '  most': '{speedup_range[1]:.2f}',
    'by FLOP': '{flop_ratio:.2f}',
    'floor, ms': '{engine_floor_ms:.4g}',
    'arrival to pose, ms': '{arrival_to_pose_ms:.4g}',
    'fuse, ms': '{fuse_ms:.3g}',
    '  of a step': '{fuse_share:.3f}',
    'new frames/s': '{new_frames_per_second:.3g}',
    'difference': '{max_rel_diff:.0e}',
    'memory, published': '{reference_peak_mb:.4g}',
    'memory, engine': '{engine_peak_mb:.4g}',
    '  ratio': '{peak_memory_ratio:.2f}',
    'weights, published': '{reference_weights_mb:.4g}',
    'weights, engine': '{engine_weights_mb:.4g}',
    'built in, s': '{build_s:.3g}',
    'loaded in, s': '{load_s:.2g}',
    '  memory, MiB': '{load_mb:.3g}',
}
NODE_LINES = {
    'frames': '{frames}',
    'received': '{received}',
    'dropped': '{dropped}',
    'not the network, ms': '{own_ms[0]:.3g}',
    '  95 %': '{own_ms[1]:.3g}',
    'age at publishing, s': '{frame_age_s[0]:.3g}',
    '  95 %, s': '{frame_age_s[1]:.3g}',
    'CPU, s': '{cpu_seconds:.4g}',
    'peak RSS, MiB': '{peak_rss_mib:.4g}',
}
BESIDE_LINES = {
    'alone, frames/s': '{alone_per_second:.3g}',
    'beside two busy processes': '{beside_per_second:.3g}',
    '  ratio': '{beside_ratio:.2f}',
}
RIG_LINES = {
    'joint, ms': '{joint_ms:.4g}',
    'per_view, ms': '{per_view_ms:.4g}',
    '  times faster': '{times_faster:.2f}',
    '  by FLOP': '{flop_ratio:.2f}',
    'joint, MiB': '{joint_mb:.4g}',
    'per_view, MiB': '{per_view_mb:.4g}',
}
PLAN_COLUMNS = {
    'network': '{name}',
    'frames': '{frames}',
    'images': '{width}x{height}',
    'precision': '{precision}',
    'weights': '{weights_mb:.0f}',
    'cache': '{cache_mb:.1f}',
    'work': '{working_mb:.0f}',
    'all': '{total_mb:.0f}',
}
OVERHEAD_LINES = {
    'frames': '{frames}',
    'not the network, ms': '{own_ms[0]:.3g}',
    '  95 %': '{own_ms[1]:.3g}',
}
NOTES = (
    "Times are medians. An engine's step begins when its new frames arrive. Floor: the FLOP of a "
    'step at the rate of a large matrix product, measured here. Memory in MiB, beside the '
    "weights, with what the engine keeps of the window's frames; loading a graph: what the whole "
    'process grew by. Stages: published above, engine below.'
)
NODE_NOTES = (
    'Stages: median above, 95th percentile below. What is not the network: all but encode and '
    'forward.'
)

OVERHEAD_NOTES = (
    'CPU time of one thread; stages: median above, 95th percentile below. Network here: on the '
    'same core, between the frames; elsewhere: its estimates are replayed, the quickest of some '
    'rounds, frame by frame. publish: messages made and serialized, without their transport.'
)


TRANSPORT_NOTES = (
    'A camera of 640 x 480 rgb8 at 30 Hz. Reliability of the camera, and of the subscriber to '
    'the outputs; of the subscription of the node; shared memory of all three. In: images that '
    'the node receives. Out: its estimates, and the share of each output that arrives.'
)


BESIDE_NOTES = (
    'Medians of rounds in turn, by the wall clock, each replay in a process of its own. As '
    'shipped: threads that wait sleep, and there are as many as cores are free.'
)


RIG_NOTES = (
    'A step over full windows, with depth for the new set and the one before, in torch and one '
    'thread; medians. Memory by shapes, beside the weights.'
)

PLAN_NOTES = (
    'Cache: kept of the frames from step to step; work: largest sum of other tensors in a step, '
    'with depth for the new frame and the anchor. Come on top: the process (about 400 MiB) and, '
    "on a GPU, CUDA's context and what its allocator rounds up."
)


def bench(
    *,
    preset: Annotated[
        Preset,
        Option(help='tiny: page4d-small, a minute; cpu: wide networks, 15 minutes; gpu.'),
    ] = 'tiny',
    only: Annotated[str, Option(help='Only cases whose name contains this.')] = '',
    device: Annotated[str, Option(help='cpu, cuda or cuda:N.', show_default='by preset')] = '',
    backends: Annotated[
        str,
        Option(
            help='Backends to compare, by commas: torch, openvino, onnxruntime; on a GPU torch, '
            'cudagraphs, tensorrt. openvino:int8 and the like have another precision.'
        ),
    ] = 'torch',
    node: Annotated[
        bool, Option('--node', help='Instead: the node end to end, on the sample drive or --bag.')
    ] = False,
    overhead: Annotated[
        bool,
        Option(
            '--overhead', help='Instead: what the node does beside the network, in one thread.'
        ),
    ] = False,
    beside: Annotated[
        bool,
        Option('--beside', help='Instead: replay alone, and beside two busy processes.'),
    ] = False,
    plan: Annotated[
        bool,
        Option('--plan', help='Instead: memory that windows need, computed from their shapes.'),
    ] = False,
    rig: Annotated[
        int,
        Option(
            min=0,
            help='Instead: a rig of so many cameras, model.grid joint and per_view.',
            show_default=False,
        ),
    ] = 0,
    transport: Annotated[
        bool,
        Option('--transport', help='Instead: what arrives of a VGA camera, and of the outputs.'),
    ] = False,
    bag: Annotated[
        Path, Option(help='Recording for all but the engine.', show_default='the sample')
    ] = SAMPLE,
    image_topic: Annotated[str, Option(help='Its images.')] = IMAGE_TOPIC,
    settings: Annotated[
        list[str] | None,
        Option('--set', metavar='NAME=VALUE', help='Parameter of the node; repeat it.'),
    ] = None,
    output: Annotated[
        Path | None, Option('--json', help='File for all figures, as a list `cases`.')
    ] = None,
) -> None:
    """Compare the engine with the published way of running a window, on random weights.

    On a CPU the times are those of this process alone, which other jobs disturb less.
    """
    # torch's profiler, which measures memory, would tell of itself on stderr
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')
    os.environ.setdefault('TORCH_CPP_LOG_LEVEL', 'ERROR')
    if node or overhead or beside:
        run = _bench_node if node else _bench_overhead if overhead else _bench_beside
        rows = run(bag, image_topic, dict(map(parse_assignment, settings or [])))
    elif plan:
        rows = _plan()
    elif rig:
        rows = _bench_rig(rig)
    elif transport:
        rows = _bench_transport(dict(map(parse_assignment, settings or [])))
    else:
        device = device or ('cuda' if preset == 'gpu' else 'cpu')
        rows = _bench_engine(preset, only, device, backends.split(','))
    if output is not None:
        facts = {'page4d': __version__, 'machine': platform.machine(), 'cases': rows}
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(facts, indent=2) + '\n', encoding='utf-8')
        print(output)


def _bench_engine(preset: Preset, only: str, device: str, backends: list[str]) -> Rows:
    from page4d_ros.backends.runtimes import RUNTIMES
    from page4d_ros.benchmark.cases import PRESETS
    from page4d_ros.benchmark.run import run_case
    from page4d_ros.perception.devices import PRECISIONS
    from page4d_ros.perception.graphs import RECORDED, TORCH

    known = TORCH, RECORDED, *RUNTIMES
    given = [backend.partition(':') for backend in backends]
    for wanted, there, what in (
        ({name for name, _, _ in given}, known, 'backend'),
        ({precision for _, colon, precision in given if colon}, PRECISIONS, 'precision'),
    ):
        if unknown := sorted(wanted.difference(there)):
            raise Page4dError(
                f'--backends: no {what} {", ".join(unknown)}; there are {", ".join(there)}'
            )
    cases = [case for case in PRESETS[preset] if only in case.name]
    if not cases:
        names = ', '.join(case.name for case in PRESETS[preset])
        raise Page4dError(f'--only {only}: no such case; there are {names}')
    with Console(stderr=True).status('') as status:
        results = [
            result
            for case in cases
            for result in run_case(case, device, backends, partial(_say, status, case.name))
        ]
    rows = [result.row() for result in results]
    table = _table('Published way against the engine', rows, LINES)
    stages = dict.fromkeys(name for row in rows for s in row['stages_ms'].values() for name in s)
    for name in stages:
        table.add_row(f'{name}, ms', *(_stage(row['stages_ms'], name) for row in rows))
    _show(table, NOTES)
    return rows


def _bench_node(bag: Path, image_topic: str, settings: dict[str, Any]) -> Rows:
    need_ros()
    from page4d_ros.benchmark.node import run_node

    Config().with_values(settings)  # refuses what the node would ignore
    with (
        tempfile.TemporaryDirectory() as folder,
        Console(stderr=True).status('') as status,
    ):
        rows = run_node(
            bag,
            Path(folder),
            image_topic=image_topic,
            parameters=NODE | settings,
            say=partial(_say, status, 'node'),
        )
    _show(_by_stage('The node, by who listens', rows, NODE_LINES), NODE_NOTES)
    return rows


def _bench_overhead(bag: Path, image_topic: str, settings: dict[str, Any]) -> Rows:
    need_ros()
    from page4d_ros.benchmark.overhead import run_overhead

    given = {name: value for name, value in NODE.items() if name != 'use_sim_time'}
    config = Config().with_values(given | settings)
    with Console(stderr=True).status('') as status:
        say = partial(_say, status, 'overhead')
        rows = run_overhead(bag, config, image_topic=image_topic, say=say)
    _show(_by_stage('Beside the network, by who listens', rows, OVERHEAD_LINES), OVERHEAD_NOTES)
    return rows


def _bench_beside(bag: Path, image_topic: str, settings: dict[str, Any]) -> Rows:
    from page4d_ros.benchmark.beside import run_beside

    Config().with_values(settings)
    with tempfile.TemporaryDirectory() as folder, Console(stderr=True).status('') as status:
        rows = run_beside(
            bag,
            Path(folder) / 'out',
            image_topic=image_topic,
            settings=settings,
            say=partial(_say, status, 'replay'),
        )
    _show(_table('Replay beside others', rows, BESIDE_LINES), BESIDE_NOTES)
    return rows


def _bench_rig(cameras: int) -> Rows:
    from page4d_ros.benchmark.rig import run_rig

    with Console(stderr=True).status('') as status:
        rows = run_rig(cameras, partial(_say, status, 'rig'))
    _show(_table('A rig in one window, and in a window each', rows, RIG_LINES), RIG_NOTES)
    return rows


def _bench_transport(settings: dict[str, Any]) -> Rows:
    need_ros()
    from page4d_ros.benchmark.transport import run_transport
    from page4d_ros.ros.rates import OUTPUTS

    Config().with_values(settings)
    with tempfile.TemporaryDirectory() as folder, Console(stderr=True).status('') as status:
        rows = run_transport(Path(folder), settings, partial(_say, status, 'transport'))
    table = Table('camera', 'node', 'memory', 'in/s', 'out/s', *OUTPUTS, box=box.SIMPLE)
    for row in rows:
        memory = 'profile' if row['profile'] else 'default'
        rates = (f'{row[key]:.1f}' for key in ('images_per_second', 'estimates_per_second'))
        shares = (f'{share:.0%}' for share in row['arrived'].values())
        table.add_row(row['camera'], row['node'], memory, *rates, *shares)
    _show(table, TRANSPORT_NOTES)
    return rows


def _plan() -> Rows:
    from page4d_ros.benchmark.plan import plan

    rows = plan()
    table = Table(*PLAN_COLUMNS, box=box.SIMPLE, title='Memory of a window, MiB')
    for row in rows:
        table.add_row(*(form.format(**row) for form in PLAN_COLUMNS.values()))
    _show(table, PLAN_NOTES)
    return rows


def _by_stage(title: str, rows: Rows, lines: dict[str, str]) -> Table:
    table = _table(title, rows, lines)
    for stage in rows[0]['stages_ms']:
        times = [row['stages_ms'][stage] for row in rows]
        table.add_row(f'{stage}, ms', *(f'{middle:.3g}\n{high:.3g}' for middle, high in times))
    return table


def _say(status: Status, case: str, text: str) -> None:
    status.update(f'{case}: {text}')


def _table(title: str, rows: Rows, lines: dict[str, str]) -> Table:
    """One column per case, one line per figure that some case has."""
    table = Table(box=box.SIMPLE, title=title)
    table.add_column('')
    for row in rows:
        table.add_column(row['name'].replace('_', '\n'), justify='right')
    for label, form in lines.items():
        cells = [_cell(form, row) for row in rows]
        if any(cells):
            table.add_row(label, *cells)
    return table


def _cell(form: str, row: dict[str, Any]) -> str:
    try:
        return form.format(**row)
    except KeyError:  # a case whose times were not taken
        return ''


def _stage(stages: dict[str, dict[str, float]], name: str) -> str:
    if not stages:
        return ''
    return '\n'.join(f'{stages[which].get(name, 0.0):.3g}' for which in ('reference', 'engine'))


def _show(table: Table, notes: str) -> None:
    console = Console()
    console.print(table)
    console.print(notes, style='dim')
