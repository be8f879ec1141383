"""The frames with the largest errors."""

from __future__ import annotations

WORST = 4  # frames
APART, LEAST = 1 / 20, 2  # of all frames, and frames at least: neighbours look the same


def worst(errors: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most `WORST` frames (stamp, error), the largest error first, none beside another."""
    apart = max(APART * len(errors), LEAST)
    chosen: list[int] = []
    for index in sorted(range(len(errors)), key=lambda i: -errors[i][1]):
        if all(abs(index - other) >= apart for other in chosen):
            chosen.append(index)
    return [errors[index] for index in chosen[:WORST]]
