"""Labels by a teacher that knows the truth and errs as networks do.

    python test/training/noisy_teacher.py DRIVE... --output labels

DRIVE is a recording with ground truth. Poses, depth and masks pass through the whole perception,
as those of `page4d label` do.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from page4d_ros.bags.replay import OFFLINE, replay
from page4d_ros.config import Config
from page4d_ros.datasets.bag import read
from page4d_ros.datasets.simulator import TRUE_GAUGE, Noise, SequenceWorld, SimulatedEngine
from page4d_ros.model.config import NetworkConfig
from page4d_ros.perception.build import SMALL, classifier_file
from page4d_ros.perception.dynamics import Dynamics
from page4d_ros.perception.motion_classifier import MotionClassifier
from page4d_ros.perception.pipeline import Perception
from page4d_ros.training.labels import LabelShards
from page4d_ros.units import NS_PER_S

LIKE = NetworkConfig.small()
NOISE = Noise(position=0.02, rotation=0.005, scale=0.04)  # of each view in each window
LASTING = SOON = 0.08  # of log depth, over parts of the image: for good, and for PERIOD
PERIOD = NS_PER_S // 2
BLEEDING = 1.5  # pixels that depth bleeds over edges
UNSURE = 0.2  # error of log depth at which confidence is 1/e
CELLS = 4, 3  # parts of an image that err together
MISSED, INVENTED = 1.3, 2.0  # deviations beyond which motion is: 10 % and 2 % of the image
DOUBT = 0.3, 0.7  # score of motion that was missed and of motion that was invented


class NoisyTeacher(SimulatedEngine):
    """A network in metres whose poses drift and whose depth and masks err over whole regions.

    Depth is off by a factor per frame and window, by another one per region of the image, half of
    it for as long as the teacher lives, and bleeds over edges. Half of what confidence tells is
    true. Motion is missed in some regions and invented in others.

    Args:
        world: the truth.
        size: frames per window.
        seed: of all errors.
    """

    name = 'oracle-with-noise'

    def __init__(self, world, size, seed=0):
        super().__init__(
            world,
            size,
            noise=NOISE,
            seed=seed,
            gauge=TRUE_GAUGE,
            resolution=LIKE.img_size,
            patch_size=LIKE.patch_size,
        )
        self.seed = seed

    def _disturbed(self, window):
        window = super()._disturbed(window)
        stamps = [frame.stamp_ns for frame in window.frames]
        newest = stamps[len(stamps) - len(window.depth) :]
        told = [self._told(*each) for each in zip(newest, window.depth, strict=True)]
        depth, sure = (np.stack(each).astype(np.float32) for each in zip(*told, strict=True))
        scores = window.dynamic
        if scores is not None:
            pairs = zip(stamps, scores, strict=True)
            scores = np.stack([self._mistaken(*pair) for pair in pairs]).astype(np.float32)
        known = window.confidence > 0
        return replace(window, depth=depth, confidence=np.where(known, sure, 0), dynamic=scores)

    def _told(self, stamp_ns, true):
        """Depth (h, w) with its errors, and confidence that tells half of them."""
        shape = true.shape
        smooth = LASTING * region(shape, self.seed) + SOON * self._region(shape, stamp_ns, 0)
        depth = cv2.GaussianBlur(true, (0, 0), BLEEDING) * np.exp(smooth)
        error = np.abs(np.log(depth / true))
        guess = np.hypot(LASTING, SOON) * np.abs(self._region(shape, stamp_ns, 1))
        return depth, np.exp(-(error + guess) / 2 / UNSURE)

    def _mistaken(self, stamp_ns, scores):
        """Motion scores (h', w') with what is missed and what is invented."""
        missed, invented = DOUBT
        scores = np.where(
            self._region(scores.shape, stamp_ns, 2) > MISSED, np.minimum(scores, missed), scores
        )
        return np.where(
            self._region(scores.shape, stamp_ns, 3) > INVENTED,
            np.maximum(scores, invented),
            scores,
        )

    def _region(self, shape, stamp_ns, kind):
        return region(shape, [self.seed, kind, stamp_ns // PERIOD])


def region(shape, seed):
    """Smooth noise (h, w) of mean 0 and deviation 1."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(
        rng.normal(size=CELLS[::-1]), tuple(shape)[::-1], interpolation=cv2.INTER_CUBIC
    )
    return (coarse - coarse.mean()) / coarse.std()


def label(recording, folder, seed=0, **values):
    """Label a recording; returns its `LabelShards`.

    Args:
        recording: path of one with ground truth.
        folder: receives the shards.
        seed: of the errors.
        values: parameters of the node, with __ for a dot.
    """
    given = {name.replace('__', '.'): value for name, value in values.items()}
    config = Config().with_values(OFFLINE | given)
    engine = NoisyTeacher(SequenceWorld(read(recording, complete=True)), config.window.size, seed)
    classifier = MotionClassifier.of(classifier_file(SMALL))
    perception = Perception(config, engine, Dynamics(config.mask, classifier))
    shards = LabelShards(folder, recording.stem)
    shards.teacher = engine.name
    with tempfile.TemporaryDirectory() as scratch:
        replay(
            recording,
            Path(scratch) / 'replay',
            config,
            perception=perception,
            topics=['odom'],
            seen=shards.add,
        )
    shards.close()
    return shards


def main():
    """Label the recordings of the command line, each with errors of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('recordings', type=Path, nargs='+')
    parser.add_argument('--output', type=Path, required=True)
    given = parser.parse_args()
    for seed, recording in enumerate(given.recordings):
        shards = label(recording, given.output, seed)
        left_out = dict(shards.left_out)
        print(
            f'{recording}: {shards.kept} frames in {len(shards.paths)} shards; left out {left_out}'
        )


if __name__ == '__main__':
    main()
