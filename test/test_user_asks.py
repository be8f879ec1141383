"""docs/user_asks.md and docs/features.md name tests that exist, in each row that needs one."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'user_asks.md'
FEATURES = ROOT / 'docs' / 'features.md'
ASKS, DEMANDS = 20, 10
NAMED = re.compile(r'`(test/[\w/]+\.py)::(\w+)`')
UNTESTED = 'no test in the suite'


def rows(text):
    """Text of the numbered rows of each table, by number."""
    tables = []
    for line in text.splitlines():
        found = re.match(r'\| (\d+) \|', line)
        if found and int(found[1]) == 1:
            tables.append({})
        if found:
            tables[-1][int(found[1])] = line
    return tables


def absent(text):
    """Named tests that are in no file."""
    found = []
    for path, name in NAMED.findall(text):
        file = ROOT / path
        there = file.exists() and re.search(rf'^def {name}\(', file.read_text(), re.MULTILINE)
        found += [] if there else [f'{path}::{name}']
    return found


def unheld(text):
    """Rows that name no test and do not say so."""
    return [
        row for table in rows(text) for row in table.values()
        if not NAMED.search(row) and UNTESTED not in row
    ]  # fmt: skip


def test_every_ask_and_every_demand_has_a_row():
    asks, demands = rows(PAGE.read_text())
    assert sorted(asks) == list(range(1, ASKS + 1))
    assert sorted(demands) == list(range(1, DEMANDS + 1))


@pytest.mark.parametrize('page', [PAGE, FEATURES], ids=lambda page: page.name)
def test_every_named_test_exists(page):
    text = page.read_text()
    assert len(NAMED.findall(text)) > ASKS + DEMANDS
    assert absent(text) == []


def test_every_feature_that_is_claimed_names_a_test():
    rows = re.findall(r'^\| (.+?) \| ([●◐○]) \| (.*)$', FEATURES.read_text(), re.MULTILINE)
    assert len(rows) > 40
    assert {mark for _, mark, _ in rows} == set('●◐○')
    for feature, mark, rest in rows:
        assert bool(NAMED.search(rest)) == (mark != '○'), feature


def test_every_row_is_held_or_says_that_it_is_not():
    assert unheld(PAGE.read_text()) == []


def test_the_count_at_the_top_is_right():
    text = PAGE.read_text()
    open_rows = sum(UNTESTED in row for table in rows(text) for row in table.values())
    partly = len(re.findall(r'In part: ', text))
    assert open_rows == 1
    assert f'{partly} in part' in text


@pytest.mark.parametrize('name', ['test/test_docs.py::test_nobody_wrote', 'test/none.py::test_x'])
def test_a_test_that_does_not_exist_is_found(name):
    assert absent(f'| 1 | `{name}` |') == [name]
    assert unheld('| 1 | nothing |\n') == ['| 1 | nothing |']
