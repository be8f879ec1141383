"""Commands that show what the package does and how well."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from page4d_ros.errors import Page4dError

SAMPLE = Path(__file__).parents[1] / 'data' / 'sample_room'
IMAGE_TOPIC = '/camera/image/compressed'
SAMPLE_SIZE = '320x240'  # of its images
# small enough for two CPU cores; a robot's settings are in config/perception.yaml
DEMO_SETTINGS: dict[str, object] = {
    'use_sim_time': True,
    'node.autostart': True,
    'window.size': 4,
    'window.stride': 1,
    'scale.mode': 'fixed',  # page4d-small answers in metres
    'input.transport': 'compressed',
    'publish.only_if_subscribed': True,
}
REPORT_NEEDS = ('evo', 'jinja2', 'matplotlib', 'plotly')


def need_report() -> None:
    """Refuse politely where a report cannot be made.

    Raises:
        Page4dError: a library is not installed.
    """
    if missing := ' '.join(name for name in REPORT_NEEDS if find_spec(name) is None):
        raise Page4dError(f'reports need {missing}: pip install {missing}')


def report(
    recording: Annotated[Path, Argument(help='What the node or `page4d replay` published.')],
    *,
    source: Annotated[Path, Option(help='What it was given; ground truth is looked for there.')],
    output: Annotated[Path, Option('--output', '-o', help='Folder for the report.')],
) -> None:
    """Measure a recording against its source: report.html and metrics.json.

    A rig gets one report, and one for each camera in a folder of its name.
    """
    need_report()
    write_report(recording, source, output)


def demo(
    *,
    output: Annotated[Path, Option('--output', '-o', help='Folder for recording and report.')],
    checkpoint: Annotated[str, Option(help='Weight file (model.checkpoint).')] = 'page4d-small',
) -> None:
    """Play the sample drive through the real node on a real ROS 2 graph, and report."""
    from page4d_ros.commands.graph import need_ros

    need_ros()
    need_report()
    from page4d_ros.evaluation.run import evaluate_recording
    from page4d_ros.ros.demo import run_graph

    settings = DEMO_SETTINGS | {'model.checkpoint': checkpoint}
    _build_ahead(settings)
    print(f'playing {SAMPLE.name} through the node, weights: {checkpoint}')
    run_graph(SAMPLE, output, image_topic=IMAGE_TOPIC, parameters=settings)
    metrics = evaluate_recording(output / 'perception', SAMPLE, output, checkpoint=checkpoint)
    print_verdict(metrics, output)


def _build_ahead(settings: dict[str, object]) -> None:
    """Build the graphs of the node's backend, so that even a first demo shows its speed."""
    from page4d_ros.config import Config
    from page4d_ros.errors import BackendError
    from page4d_ros.perception.graph_building import build_missing

    given = {name: value for name, value in settings.items() if name != 'use_sim_time'}
    try:  # in float32, which needs no images
        build_missing(Config().with_values(given), SAMPLE_SIZE, images=list, say=print)
    except BackendError as error:
        print(f'torch runs the network: {error}')


def parameters() -> None:
    """Print config/perception.yaml: every parameter with default, meaning and range."""
    from page4d_ros.config import default_yaml

    print(default_yaml(), end='')


def reference() -> None:
    """Print docs/reference.md: tables of topics, services and parameters."""
    from page4d_ros.reference import reference as text

    print(text(), end='')


def write_report(
    recording: Path, source: Path, output: Path, *, checkpoint: str = '', quiet: bool = False
) -> None:
    """Report on a recording, and print the verdict.

    Args:
        recording: what the node published.
        source: what it was given.
        output: folder for the report, and for one of each camera of a rig.
        checkpoint: weight file that made the recording, if known.
        quiet: print nothing.
    """
    from page4d_ros.evaluation.run import evaluate_recording

    metrics = evaluate_recording(recording, source, output, checkpoint=checkpoint)
    if not quiet:
        print_verdict(metrics, output)


def print_verdict(metrics: dict[str, Any], output: Path) -> None:
    """Print what a report says at the first look, and where it is."""
    verdict = metrics['verdict']
    lines = [verdict['headline'], verdict['detail'], verdict['banner'], *metrics['remarks']]
    print('\n'.join(line for line in lines if line))
    print(f'{output / "report.html"}')
