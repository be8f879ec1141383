"""A person-like figure: jointed, clothed from the room's palette, walking or standing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from page4d_ros.synthetic import paint
from page4d_ros.synthetic.paint import Paint, Palette, Part
from page4d_ros.synthetic.shapes import box, lathe, limb, sphere

FORWARD = (0.0, -1.0, 0.0)  # rotation about this axis swings a hanging limb forward
UPWARD = (0.0, 0.0, 1.0)


class Link(NamedTuple):
    """One rigid link of a body; x forward, z up in the rest pose.

    Attributes:
        parent: index of the parent link, -1 for the root.
        offset: origin of the link in its parent, (3,) metres.
        axis: hinge axis through that origin, None for the root.
        parts: painted meshes in the link's frame.
    """

    parent: int
    offset: tuple[float, float, float]
    axis: tuple[float, float, float] | None
    parts: list[Part]


# The figure's links after the pelvis, depth first as MuJoCo numbers the joints.
JOINTS = (
    'chest', 'head', 'shoulder_left', 'elbow_left', 'shoulder_right', 'elbow_right',
    'hip_left', 'knee_left', 'ankle_left', 'hip_right', 'knee_right', 'ankle_right',
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """Proportions of a person, fractions of the body height in metres."""

    height: float

    @property
    def thigh(self) -> float:
        """Length of the thigh and of the shank, metres."""
        return 0.235 * self.height

    @property
    def sole(self) -> float:
        """Height of the ankle above the ground, metres."""
        return 0.05 * self.height

    def root_height(self, angles: np.ndarray) -> float:
        """Height of the pelvis at which the lower foot stands on the ground, metres."""
        hips, knees = angles[[6, 9]], angles[[7, 10]]
        return float((self.thigh * (np.cos(hips) + np.cos(hips + knees))).max()) + self.sole

    def links(self, rng: np.random.Generator, palette: Palette) -> list[Link]:
        """Draw clothes and build the links: the pelvis, then those of JOINTS."""
        h = self.height
        skin = Paint('plaster', paint.shade(rng, (0.04, 0.08), (0.3, 0.6), (0.55, 1.0)))
        hair = Paint('wood', paint.shade(rng, (0.05, 0.1), (0.2, 0.7), (0.15, 0.6)))
        shirt, trousers, shoes = (palette.fabric(rng) for _ in range(3))
        pelvis = lathe(
            [(1e-4, -0.09), (0.075, -0.07), (0.1, 0), (0.085, 0.07), (1e-4, 0.09)], tile=0.6 / h
        )
        chest = lathe(
            [(1e-4, -0.01), (0.085, 0), (0.085, 0.05), (0.105, 0.17), (0.11, 0.22), (0.085, 0.265),
             (0.032, 0.285), (0.03, 0.33)], tile=0.6 / h)  # fmt: skip
        head = [
            Part(sphere(0.062 * h).scaled((1, 0.82, 1.2)).moved((0.012 * h, 0, 0.07 * h)), skin),
            Part(sphere(0.066 * h).scaled((1, 0.85, 0.9)).moved((-0.016 * h, 0, 0.1 * h)), hair),
            Part(sphere(0.012 * h).moved((0.075 * h, 0, 0.06 * h)), skin),
        ]
        links = [
            Link(-1, (0, 0, 0), None, [Part(pelvis.scaled((0.75 * h, h, h)), trousers)]),
            Link(0, (0, 0, 0.05 * h), UPWARD, [Part(chest.scaled((0.62 * h, h, h)), shirt)]),
            Link(1, (0, 0, 0.32 * h), UPWARD, head),
        ]
        upper_leg = Part(limb(self.thigh, 0.055 * h, 0.038 * h, tile=0.6), trousers)
        lower_leg = Part(limb(self.thigh, 0.038 * h, 0.026 * h, tile=0.6), trousers)
        foot = box((0.14 * h, 0.055 * h, 0.045 * h), (0.035 * h, 0, -self.sole), tile=0.4)
        upper_arm = Part(limb(0.165 * h, 0.032 * h, 0.025 * h, tile=0.6), shirt)
        bare = skin if rng.random() < 0.5 else shirt
        lower_arm = Part(limb(0.15 * h, 0.024 * h, 0.018 * h, tile=0.6), bare)
        hand = sphere(0.03 * h).scaled((0.9, 0.6, 1.3)).moved((0, 0, -0.18 * h))
        for side in (1, -1):
            shoulder = len(links)
            links += [
                Link(1, (0, 0.125 * side * h, 0.235 * h), FORWARD, [upper_arm]),
                Link(shoulder, (0, 0, -0.165 * h), FORWARD, [lower_arm, Part(hand, skin)]),
            ]
        for side in (1, -1):
            hip = len(links)
            links += [
                Link(0, (0, 0.052 * side * h, 0), FORWARD, [upper_leg]),
                Link(hip, (0, 0, -self.thigh), FORWARD, [lower_leg]),
                Link(hip + 1, (0, 0, -self.thigh), FORWARD, [Part(foot, shoes)]),
            ]
        return links

    def carry(self, links: list[Link], rng: np.random.Generator, palette: Palette) -> list[Link]:
        """Add a box in front of the chest, held by the arms of the posture `carrying`."""
        h, size = self.height, rng.uniform((0.2, 0.3, 0.2), (0.35, 0.5, 0.4))
        load = Part(
            box(size, (0.09 * h + size[0] / 2, 0, 0.02 * h), tile=0.7), palette.fabric(rng)
        )
        chest = links[1]._replace(parts=[*links[1].parts, load])
        return [links[0], chest, *links[2:]]


def carrying(angles: np.ndarray) -> np.ndarray:
    """Posture with both arms in front of the chest; angles (12,) as in JOINTS, radians."""
    return np.concatenate([[0.0], angles[1:2], [0.35, 1.2, 0.35, 1.2], angles[6:]])


def gait(phase: float, swing: float = 0.37) -> np.ndarray:
    """Joint angles of walking, in radians, in the order of JOINTS.

    Args:
        phase: radians, one turn is two steps.
        swing: amplitude of the thighs in radians.
    """
    legs, arms = [], []
    for leg in (phase, phase + np.pi):
        hip = swing * np.sin(leg) + 0.08
        knee = -0.12 - 2 * swing * max(0.0, np.cos(leg)) ** 2
        legs += [hip, knee, 0.6 * -(hip + knee)]
        arms += [-0.8 * swing * np.sin(leg), 0.35 - 0.2 * np.sin(leg)]
    return np.array([0.12 * np.sin(phase), -0.1 * np.sin(phase), *arms, *legs])


def stance(rng: np.random.Generator) -> np.ndarray:
    """Joint angles of a standing person, in radians, in the order of JOINTS."""
    legs = []
    for _ in range(2):
        hip = rng.uniform(-0.08, 0.15)
        legs += [hip, -rng.uniform(0.02, 0.12), 0.0]
    arms = [rng.uniform(-0.1, 0.3), rng.uniform(0.1, 1.2), rng.uniform(-0.1, 0.3), 0.25]
    return np.array([rng.uniform(-0.2, 0.2), rng.uniform(-0.5, 0.5), *arms, *legs])
