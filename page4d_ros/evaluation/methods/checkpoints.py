"""Weight files as methods."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from page4d_ros.config import Config
from page4d_ros.datasets.rendered_plan import WINDOW
from page4d_ros.errors import ConfigError
from page4d_ros.evaluation.methods.network import Network
from page4d_ros.perception.build import build_engine, classifier_file, digest
from page4d_ros.perception.devices import EIGHT_BITS
from page4d_ros.perception.motion_classifier import MotionClassifier

if TYPE_CHECKING:
    from collections.abc import Sequence

SETTINGS = {'window.size': WINDOW, 'window.stride': 1}
WINDOWS = Config().with_values(SETTINGS)  # of a robot that sees every frame


class Loaded(NamedTuple):
    """A network, and what is known of its weights, for JSON."""

    network: Network
    facts: dict[str, Any]


def load(checkpoints: Sequence[str], base: Config = WINDOWS) -> list[Loaded]:
    """Load weights.

    Args:
        checkpoints: files, ``page4d-small`` or ``untrained``; what is named twice counts once.
        base: all settings but the weights.

    Raises:
        CheckpointError: weights cannot be used.
        ConfigError: the precision is one that torch, which runs here, does not have.
    """
    if base.model.precision in EIGHT_BITS:
        raise ConfigError(
            f'model.precision {base.model.precision} is not for evaluations, which run in torch'
        )
    given = list(dict.fromkeys(checkpoints))
    configs = [base.with_values({'model.checkpoint': name}) for name in given]
    engines = [build_engine(c) for c in configs]
    names = Counter(engine.name for engine in engines)
    out = []
    for name, config, engine in zip(given, configs, engines, strict=True):
        label = engine.name if names[engine.name] == 1 else f'{engine.name} ({name})'
        facts = {
            'label': label,
            'file': name,
            'sha256': digest(name),
            'purpose': engine.purpose,
            'parameters': engine.parameter_count,
            'width': engine.resolution,
        }
        out.append(
            Loaded(
                Network(label, engine, config, MotionClassifier.of(classifier_file(name))), facts
            )
        )
    return out
