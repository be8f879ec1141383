"""Tables in the documentation are those of the code."""

import re
from pathlib import Path

from page4d_ros.config import Config
from page4d_ros.messages.topics import ON_REQUEST, OPTIONAL, OUTPUTS, SERVICES
from page4d_ros.reference import reference

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
TOPICS = README.partition('### Topics')[2].partition('### Parameters')[0]


def names_in(rows):
    return {name for row in rows for name in re.findall(r'`([^` ]+)`', row.split('|')[2])}


def test_the_reference_is_printed_by_the_command():
    assert (ROOT / 'docs/reference.md').read_text() == reference()


def test_the_reference_has_a_row_for_everything():
    text = reference()
    names = [topic.name for topic in (*OUTPUTS, *ON_REQUEST, *OPTIONAL)]
    names += [f'~/{service.name}' for service in SERVICES] + list(Config.leaves())
    assert [name for name in names if f'| `{name}` |' not in text] == []
    widths = {}
    for line in text.splitlines():  # each table keeps its number of columns
        if line.startswith('|'):
            bars = len(re.findall(r'(?<!\\)\|', line))
            widths.setdefault(line.split('|')[1].strip(' `').partition('.')[0], bars)
    assert set(widths.values()) == {4, 6, 7}


def test_the_readme_names_every_output_and_no_other():
    rows = [line for line in TOPICS.splitlines() if line.startswith('| out |')]
    expected = {topic.name for topic in (*OUTPUTS, *ON_REQUEST, *OPTIONAL)}
    assert names_in(rows) == expected | {'/tf', '/diagnostics'}


def test_the_readme_names_every_service_with_its_type():
    rows = dict(re.findall(r'^\| `~/(\w+)` \| `([\w/]+)` \|', TOPICS, re.MULTILINE))
    assert rows.keys() == {service.name for service in SERVICES}
    for service in SERVICES:
        assert rows[service.name].rpartition('/')[2] == service.type.rpartition('/')[2]
