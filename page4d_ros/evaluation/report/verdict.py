"""Verdict on the numbers, in words."""

from __future__ import annotations

from typing import Any, NamedTuple

from page4d_ros.messages.status import UNKNOWN_PLACE
from page4d_ros.perception.trust import TRUSTED

GOOD, FAIR, BAD, PLAIN = 'good', 'fair', 'bad', 'plain'
POSE = 'pose'
UNTRAINED = (
    'The weights are untrained: poses, depth, masks and every error below mean nothing; '
    'they show that the plumbing works.'
)
TRIVIAL = 'Trivial answers: standing still, a flat wall, everything static or everything moving.'
UNKNOWN_WEIGHTS = (
    'The recording has no status messages, so it is not known whether the weights were trained.'
)


class Verdict(NamedTuple):
    """The answer to "does it work here?".

    Attributes:
        level: good, fair, bad, or plain where accuracy is not known.
        headline: one sentence.
        detail: what it rests on.
        banner: a warning that concerns every number; "" without.
    """

    level: str
    headline: str
    detail: str
    banner: str = ''


def judge(metrics: dict[str, Any], better: dict[str, bool]) -> Verdict:
    """Judge settled metrics.

    Args:
        metrics: facts of the run are used.
        better: whether each thing that is known is better than its baselines.
    """
    run = metrics['run']
    counts = f'{run["estimates"]} estimates'
    if run['images'] is not None:
        counts += f' from {run["images"]} images'
    if not run['estimates']:
        return Verdict(BAD, 'No: the recording holds not one estimate.', f'{counts}.')
    if run['trained'] is False:
        return Verdict(FAIR, 'The plumbing works.', f'{counts}.', UNTRAINED)
    banner = UNKNOWN_WEIGHTS if run['trained'] is None else ''
    if run['purpose']:
        banner = f'The weights {run["checkpoint"]} are for {run["purpose"]}.'
    if run['network_trust'] is not None and run['network_trust'] < TRUSTED:
        banner = f'{banner} {UNKNOWN_PLACE[0].upper()}{UNKNOWN_PLACE[1:]}.'.lstrip()
    if not better:
        detail = f'{counts}; without ground truth, accuracy is not known.'
        return Verdict(PLAIN, 'It runs.', detail, banner)
    return Verdict(*answer(better), f'{counts}. {TRIVIAL}', banner)


def answer(better: dict[str, bool]) -> tuple[str, str]:
    """Level and headline, by whether each thing is better than its baselines."""
    won = [name for name, wins in better.items() if wins]
    lost = [name for name, wins in better.items() if not wins]
    if not lost:
        return GOOD, f'Yes: {_listed(won)} beat the trivial answers.'
    if won:
        return FAIR, f'Partly: {_listed(won)} beat the trivial answers, {_listed(lost)} did not.'
    return BAD, f'No: {_listed(lost)} did not beat the trivial answers.'


def comparisons(metrics: dict[str, Any]) -> dict[str, bool]:
    """True or false for pose, depth and mask: better than their baselines; only where known."""
    out: dict[str, bool] = {}
    trajectory, depth, mask = (metrics[name] for name in ('trajectory', 'depth', 'mask'))
    if trajectory:
        ours, still = trajectory['sim3'], trajectory['standing_still']
        out[POSE] = bool(ours) and all(
            ours[name] < still[name] for name in ('ate_m', 'rpe_translation_m')
        )
    if depth:
        wall = depth['per_sequence_flat_wall']['abs_rel']
        out['depth'] = depth['per_sequence']['abs_rel'] < wall
    if mask and mask['moving_share']:
        out['motion mask'] = mask['estimate']['iou'] > mask['all_moving']['iou']
    return out


def _listed(names: list[str]) -> str:
    return ' and '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)


def remarks(metrics: dict[str, Any]) -> list[str]:
    """Remarks on lost poses, what poses rely on, dropped frames and silent topics."""
    run, out = metrics['run'], []
    if run['lost']:
        out.append(f'The pose of {run["lost"]} of {run["estimates"]} frames is not known (lost).')
    if shares := {kind: share for kind, share in (run['relies_on'] or {}).items() if share}:
        listed = ', '.join(f'{kind} {share:.0%}' for kind, share in shares.items())
        out.append(f'Evidence that poses rely on, by share of frames: {listed}.')
    if run['dropped']:
        out.append(f'{run["dropped"]} images were dropped.')
    if silent := [name for name, row in metrics['topics'].items() if not row['count']]:
        out.append(f'Not recorded: {", ".join(silent)}.')
    if run['estimates'] and run['calibrated'] is False:
        out.append("No calibration reached the node: intrinsics are the network's own.")
    return out
