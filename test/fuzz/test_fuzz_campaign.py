"""Every target takes its seeds and some mutations; a finding is told as one."""

import random

import pytest

from fuzz.mutate import mutated
from fuzz.registry import TARGETS
from fuzz.target import Judge, Skip
from page4d_ros.errors import BagError

LIGHT, HEAVY = 150, 15  # inputs


@pytest.mark.parametrize('name', TARGETS)
def test_mutations_are_read_or_refused_by_name(name, tmp_path):
    target, rng = TARGETS[name], random.Random(0)
    seeds, take = target.prepare(tmp_path)
    judge = Judge(take)
    for data in seeds:
        judge.one(data)
    assert judge.refused + judge.skipped < len(seeds), 'all seeds are refused'
    for _ in range(HEAVY if target.heavy else LIGHT):
        judge.one(mutated(rng.choice(seeds), seeds, target.words, rng))
    judge.findings.pop('slow', None)  # never a time on a shared machine
    assert judge.findings == {}


def test_a_finding_is_told_once_with_its_input():
    def take(data):
        raise {b'a': ZeroDivisionError, b'b': BagError, b'c': Skip, b'd': MemoryError}[data](
            'why\n' if data == b'b' else ''
        )

    found = []
    judge = Judge(take, lambda *item: found.append(item))
    for data in b'a', b'a', b'b', b'c', b'd':
        judge.one(data)
    assert (judge.inputs, judge.refused, judge.skipped) == (5, 1, 1)
    assert [(key.split()[0], data) for key, _, data in found] == [
        ('ZeroDivisionError', b'a'),
        ('MemoryError', b'd'),
    ]


def test_a_refusal_without_a_reason_is_a_finding():
    def take(data):
        raise BagError('')

    judge = Judge(take)
    judge.one(b'')
    assert 'without a printable reason' in next(iter(judge.findings.values()))
