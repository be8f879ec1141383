"""Workflows of .github: they parse, and cover every distribution with commands that exist."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / '.github' / 'workflows').glob('*.y*ml'))


def jobs(path):
    return YAML(typ='safe').load(path.read_text(encoding='utf-8'))['jobs']


def commands(job):
    return '\n'.join(step.get('run', '') for step in job['steps'])


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.name)
def test_every_job_has_a_machine_and_steps(path):
    document = YAML(typ='safe').load(path.read_text(encoding='utf-8'))
    assert {'name', 'on', 'jobs'} <= document.keys()
    for job in document['jobs'].values():
        assert job['runs-on'].startswith('ubuntu')
        assert all(('run' in step) != ('uses' in step) for step in job['steps'])
        assert any(step.get('uses', '').startswith('actions/checkout@') for step in job['steps'])


def test_make_targets_exist():
    makefile = (ROOT / 'Makefile').read_text()
    for path in WORKFLOWS:
        for job in jobs(path).values():
            for target in re.findall(r'^\s*make ([\w-]+)', commands(job), re.MULTILINE):
                assert re.search(rf'^{target}:', makefile, re.MULTILINE), target


def test_the_suite_runs_in_every_distribution_and_without_one():
    every = [job for path in WORKFLOWS for job in jobs(path).values()]
    (matrix,) = (job for job in every if 'container' in job)
    assert matrix['strategy']['matrix']['ros'] == ['humble', 'jazzy', 'kilted']
    assert matrix['container'] == 'ros:${{ matrix.ros }}'
    lines = commands(matrix)
    # setup.sh takes a distribution only where one is sourced
    assert re.search(r'^source /opt/ros/.+/setup\.bash\s+make test$', lines, re.MULTILINE)
    assert 'rosdep install' in lines
    plain = '\n'.join(commands(job) for job in every if 'container' not in job)
    for command in ('make test', 'make demo', 'ruff check'):
        assert command in plain
