"""Manifests of a deployment: valid by the published schemas, and of this package."""

import json
import lzma
import re
import shlex
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from ruamel.yaml import YAML
from test_docs import check_command

ROOT = Path(__file__).parents[2]
DEPLOY, SCHEMAS = ROOT / 'deploy', ROOT / 'test' / 'data' / 'fleet'


def loaded(name):
    return YAML(typ='safe').load((DEPLOY / name).read_text())


def closed(schema):
    """The schema without room for fields that it does not know, as Kubernetes' strict check."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    out = {name: closed(each) for name, each in schema.items()}
    known = isinstance(schema.get('properties'), dict)
    if known and 'x-kubernetes-preserve-unknown-fields' not in schema:
        out.setdefault('additionalProperties', False)
    return out


def rayjob_schema():
    return closed(json.loads(lzma.decompress((SCHEMAS / 'rayjob_v1.json.xz').read_bytes())))


def errors(schema, document):
    return [error.message for error in Draft7Validator(schema).iter_errors(document)]


def cluster_schema():
    return json.loads((SCHEMAS / 'ray_cluster_schema.json').read_text())


def test_the_job_of_kuberay_is_valid():
    job = loaded('rayjob.yaml')
    assert (job['apiVersion'], job['kind']) == ('ray.io/v1', 'RayJob')
    assert errors(rayjob_schema(), job) == []


def test_the_cluster_is_valid():
    cluster = loaded('ray-cluster.yaml')
    assert errors(cluster_schema(), cluster) == []
    assert cluster['head_node_type'] in cluster['available_node_types']
    assert sum(t['max_workers'] for t in cluster['available_node_types'].values()) == 8


@pytest.mark.parametrize('harm', ['misspelt', 'type'])
def test_the_checks_can_fail(harm):
    job, cluster = loaded('rayjob.yaml'), loaded('ray-cluster.yaml')
    if harm == 'misspelt':
        job['spec']['rayClusterSpec']['workerGroupSpecs'][0]['maxReplica'] = 3
        cluster['max_worker'] = 3
    else:
        job['spec']['backoffLimit'] = 'two'
        cluster['max_workers'] = 'eight'
    assert errors(rayjob_schema(), job)
    assert errors(cluster_schema(), cluster)


def test_image_ray_and_commands_agree():
    text = {path.name: path.read_text() for path in DEPLOY.iterdir()}
    images = {
        image for each in text.values() for image in re.findall(r'\S+/page4d-fleet:\S+', each)
    }
    (image,) = images
    setup = (ROOT / 'setup.py').read_text()
    assert f"version='{image.rpartition(':')[2]}'" in setup
    (base,) = re.findall(r'rayproject/ray:([\d.]+)-', text['Dockerfile'])
    assert loaded('rayjob.yaml')['spec']['rayClusterSpec']['rayVersion'] == base
    assert "'fleet': [" in setup
    words = shlex.split(loaded('rayjob.yaml')['spec']['entrypoint'])
    assert words[0] == 'page4d'
    check_command(words[1:])
    (line,) = re.findall(
        r'"(page4d annotate .+?)"', text['ray-cluster.yaml'].replace('#', ''), re.S
    )
    check_command(shlex.split(line.replace('\\\n', ' '))[1:])
