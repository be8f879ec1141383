"""Links, file names, commands and settings in the documentation exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from page4d_ros.cli import app
from page4d_ros.config import Config
from page4d_ros.training.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / f'{name}.md' for name in ('README', 'CONTRIBUTING', 'QUALITY_DECLARATION')]
PAGES += [ROOT / 'page4d_ros/data/page4d-small.md']
PAGES += sorted((ROOT / 'docs').rglob('*.md'))
CODE = re.compile(r'^```.*?^```$', re.DOTALL | re.MULTILINE)
LINK = re.compile(r'\[[^\]]*\]\(([^)\s]+)\)')
# a file of ours: a path with a slash, or a Python file
FILE = re.compile(r'`([\w./-]+/[\w.-]+\.(?:py|yaml|json|md|msg|sh|html|xml|toml|yml)|\w+\.py)`')
PLACEHOLDERS = ('out/', 'run/', 'results/', 'frames/')

pages = pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page):
    """Anchors of a page's headings, as GitHub makes them."""
    text = CODE.sub('', page.read_text())
    for heading in re.findall(r'^#+ (.+)$', text, re.MULTILINE):
        plain = re.sub(r'[^\w\- ]', '', LINK.sub('', heading).lower())
        yield plain.replace(' ', '-')


@pages
def test_links_and_anchors_resolve(page):
    for link in LINK.findall(CODE.sub('', page.read_text())):
        if '://' in link:
            continue
        path, _, anchor = link.partition('#')
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in set(anchors(target)), link


@pages
def test_files_that_are_named_exist(page):
    folders = (ROOT, ROOT / 'page4d_ros', ROOT / 'test', page.parent)
    for name in FILE.findall(page.read_text()):
        if name.startswith(PLACEHOLDERS):
            continue
        known = any((folder / name).exists() for folder in folders)
        if '/' not in name:
            known = known or any((ROOT / room).rglob(name) for room in ('page4d_ros', 'test'))
        assert known, name


def commands(page):
    """Words of each ``page4d`` command line: in blocks of code, and between backticks."""
    text = page.read_text()
    lines = []
    for block in re.findall(r'^```(?:bash|sh)?\n(.*?)^```$', text, re.DOTALL | re.MULTILINE):
        lines += block.replace('\\\n', ' ').splitlines()
    lines += re.findall(r'`(page4d [^`]+)`', CODE.sub('', text).replace('\n', ' '))
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] == ['page4d']:
            yield words[1:]


def check_command(words):
    """Find the command of a line, and each of its options and settings."""
    command = typer.main.get_command(app)
    while words and words[0] in getattr(command, 'commands', {}):
        command, words = command.commands[words[0]], words[1:]
    assert not hasattr(command, 'commands') or not words or words[0].startswith('-'), words
    known = {name for parameter in command.params for name in parameter.opts} | {'--help'}
    options = [word.partition('=')[0] for word in words if re.match(r'--?[a-z]', word)]
    assert set(options) <= known
    tree = Recipe if command.name == 'train' else Config
    given = [words[i + 1] for i, word in enumerate(words) if word == '--set']
    assert {assignment.partition('=')[0] for assignment in given} <= set(tree.leaves())


@pages
def test_commands_have_the_options_and_settings_that_are_shown(page):
    for words in commands(page):
        check_command(words)


@pytest.mark.parametrize(
    'line',
    [
        'replay drive.bag --no-such-option',
        'evaluate no-such-command',
        'replay drive.bag --set no.such=1',
        'train tiny --set no.such=1',
    ],
)
def test_a_mistake_in_a_command_is_found(line):
    with pytest.raises(AssertionError):
        check_command(line.split())


def test_commands_are_found():
    assert sum(len(list(commands(page))) for page in PAGES) > 40
