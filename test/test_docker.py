"""Container files agree with the package and share what DDS needs; no image is built here."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from test_docs import check_command

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / 'docker'
DOCKERFILE = (DOCKER / 'Dockerfile').read_text()
COMPOSE = YAML(typ='safe').load((DOCKER / 'compose.yaml').read_text())
SERVICES = COMPOSE['services']
LAUNCH = (ROOT / 'launch' / 'perception.launch.py').read_text()


def lines():
    """Instructions of the Dockerfile, a line each."""
    joined = re.sub(r'\\\n', ' ', DOCKERFILE)
    return [line for line in joined.splitlines() if line and not line.startswith('#')]


@pytest.mark.parametrize('name', SERVICES)
def test_containers_share_memory_and_network(name):
    service = SERVICES[name]
    assert service['network_mode'] == 'host'
    assert service['ipc'] == 'host'
    assert service['user'].startswith('${UID')  # shared memory of another user cannot be opened
    assert 'ROS_DOMAIN_ID' in service['environment']


@pytest.mark.parametrize('name', SERVICES)
def test_the_health_check_is_a_command_of_ours(name):
    kind, entry, program, *words = SERVICES[name]['healthcheck']['test']
    assert (kind, entry, program) == ('CMD', '/entrypoint.sh', 'page4d')
    check_command(words)
    assert words[0] == 'health'


def test_launch_arguments_exist():
    for service in SERVICES.values():
        given = [word.partition(':=')[0] for word in service['command'] if ':=' in word]
        assert given
        assert all(f"'{name}'" in LAUNCH for name in given)


def test_build_arguments_are_declared_and_only_a_gpu_is_asked_for_one():
    declared = set(re.findall(r'^ARG (\w+)', DOCKERFILE, re.MULTILINE))
    for service in SERVICES.values():
        assert set(service['build']['args']) <= declared
        assert (DOCKER / service['build']['context'] / service['build']['dockerfile']).exists()
    assert '/cpu' in SERVICES['cpu']['build']['args']['TORCH_INDEX']
    assert '/cu' in SERVICES['cuda']['build']['args']['TORCH_INDEX']
    assert 'deploy' not in SERVICES['cpu']
    (device,) = SERVICES['cuda']['deploy']['resources']['reservations']['devices']
    assert device['capabilities'] == ['gpu']


def test_copied_files_exist_and_are_not_ignored():
    ignored = [line for line in (ROOT / '.dockerignore').read_text().split() if line[0] != '!']
    copied = [line.split()[1] for line in lines() if line.startswith('COPY ')]
    assert {'package.xml', '.', 'docker/entrypoint.sh'} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists()
        assert not set(Path(name).parts) & set(ignored)
    assert {'.git', '.venv', '.ws'} <= set(ignored)
    assert (DOCKER / 'entrypoint.sh').stat().st_mode & 0o111


def test_the_image_installs_what_the_readme_does():
    recipe = re.search(r'^pip install torch (.+?) {2,}#', (ROOT / 'README.md').read_text(), re.M)
    assert recipe[1] in DOCKERFILE


def test_the_entrypoint_becomes_its_command(tmp_path):
    """In place of the distribution's files stand some that leave a trace."""
    script = (DOCKER / 'entrypoint.sh').read_text()
    for number, name in enumerate(re.findall(r'source "?([^"\n]+)"?', script)):
        inside = tmp_path / name.replace('$ROS_DISTRO', 'jazzy').lstrip('/')
        inside.parent.mkdir(parents=True)
        inside.write_text(f'export STEP_{number}=done\n')
    moved = script.replace('"/opt', f'"{tmp_path}/opt').replace(' /ws', f' {tmp_path}/ws')
    path = tmp_path / 'entrypoint.sh'
    path.write_text(moved)
    done = subprocess.run(
        ['bash', path, 'bash', '-c', 'echo $STEP_0 $STEP_1 $STEP_2; exit 7'],
        capture_output=True, text=True, check=False, env=os.environ | {'ROS_DISTRO': 'jazzy'},
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ('done done done\n', 7)


def test_compose_accepts_it():
    docker = shutil.which('docker')
    if docker is None or subprocess.run([docker, 'compose', 'version'], check=False).returncode:
        pytest.skip('docker compose is not installed')
    done = subprocess.run(
        [docker, 'compose', '-f', DOCKER / 'compose.yaml', '--profile', 'cuda', 'config', '-q'],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
