"""Motion classifier: a logistic model per source of evidence, fitted to certain weights."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from page4d_ros.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SUFFIX = '.motion.json'
FEATURES = 'head', 'gram', 'depth', 'colour', 'seen', 'flow', 'traced', 'carried'
SOURCES: dict[str, tuple[str, ...]] = {
    'fused': FEATURES,
    'head': ('head', 'carried'),
    'gram': ('gram', 'carried'),
    'geometry': ('depth', 'colour', 'seen', 'flow', 'traced', 'carried'),
}
Coefficients = dict[str, float]  # of the features, and 'bias'


@dataclass(frozen=True)
class MotionClassifier:
    """Log-odds that a pixel moves = bias + sum of coefficient * feature, for each source.

    Attributes:
        sources: coefficients by name of the source.
        facts: facts about the fit, for people.
    """

    sources: Mapping[str, Coefficients]
    facts: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> MotionClassifier:
        """Classifier of a file, or the default if there is none.

        Raises:
            CheckpointError: the file is damaged.
        """
        return cls.read(path) if path.is_file() else DEFAULT

    @classmethod
    def read(cls, path: Path) -> MotionClassifier:
        """Read a file of `write`.

        Raises:
            CheckpointError: the file cannot be read, or holds something else.
        """
        try:
            tree = json.loads(path.read_text(encoding='utf-8'))
            given = {
                source: {name: float(value) for name, value in tree['sources'][source].items()}
                for source in SOURCES
            }
            facts = dict(tree['facts'])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                f'{path}: is no motion classifier ({error!r}); make it anew with page4d '
                'calibrate, or take the file away'
            ) from error
        for source, coefficients in given.items():
            wanted = {'bias', *SOURCES[source]}
            if coefficients.keys() != wanted:
                raise CheckpointError(
                    f'{path}: {source} needs exactly {sorted(wanted)}; make it anew with page4d '
                    'calibrate, or take the file away'
                )
            if not all(map(math.isfinite, coefficients.values())):
                raise CheckpointError(
                    f'{path}: {source} has a coefficient that is not finite; make it anew with '
                    'page4d calibrate, or take the file away'
                )
        return cls(given, facts)

    def write(self, path: Path) -> None:
        """Write as JSON.

        Raises:
            CheckpointError: the file cannot be written.
        """
        tree = {
            'facts': dict(self.facts),
            'sources': {k: dict(v) for k, v in self.sources.items()},
        }
        try:
            path.write_text(json.dumps(tree, indent=1) + '\n', encoding='utf-8')
        except OSError as error:
            raise CheckpointError(f'{path}: cannot be written: {error.strerror}') from error


DEFAULT = MotionClassifier(
    {
        'fused': {
            'bias': -3.0,
            'head': 0.5,
            'gram': 1.0,
            'depth': 2.0,
            'colour': 0.5,
            'seen': -1.0,
            'flow': 1.8,
            'traced': -0.5,
            'carried': 0.5,
        },
        'head': {'bias': 0.0, 'head': 1.0, 'carried': 0.0},
        'gram': {'bias': -3.0, 'gram': 5.0, 'carried': 0.3},
        'geometry': {
            'bias': -2.0,
            'depth': 3.0,
            'colour': 0.5,
            'seen': -1.0,
            'flow': 1.3,
            'traced': -0.5,
            'carried': 0.5,
        },
    }
)
