"""The weights that ship are those of the model card, and do what it says."""

import hashlib

import pytest
from ruamel.yaml import YAML

from page4d_ros.config import ModelConfig
from page4d_ros.datasets.rendered_plan import Options
from page4d_ros.errors import SceneError
from page4d_ros.evaluation.scenes.checkpoints import load
from page4d_ros.evaluation.scenes.run import measure
from page4d_ros.model.checkpoint import load_network
from page4d_ros.perception.build import SMALL, SMALL_FILE, build_network, classifier_file
from page4d_ros.perception.motion_classifier import MotionClassifier
from page4d_ros.synthetic.scene import import_mujoco

CARD = SMALL_FILE.with_suffix('.md')
LARGEST = 20e6  # bytes
# Sixteen windows scatter about the card's means over seventy; twice as bad is another network.
SLACK = {'abs_rel': 2.0, 'rotation_deg': 2.0, 'translation': 2.0, 'called_moving': 3.0}
LEAST = {'delta': 0.85, 'motion_ap': 0.6}


@pytest.fixture(scope='module')
def card():
    head = CARD.read_text(encoding='utf-8').split('---\n')[1]
    return YAML(typ='safe').load(head)


def test_the_file_is_the_one_of_the_card(card):
    content = SMALL_FILE.read_bytes()
    assert len(content) < LARGEST
    assert hashlib.sha256(content).hexdigest() == card['sha256']


def test_its_evidence_of_motion_is_calibrated(card):
    path = classifier_file(SMALL)
    assert path.is_file()
    assert MotionClassifier.of(path).facts['sha256'] == card['sha256']


def test_it_is_the_default_and_says_what_it_is_for():
    config = ModelConfig()
    assert config.checkpoint == SMALL
    network = build_network(config)
    assert network.name == SMALL
    assert 'rendered rooms' in network.purpose
    assert network.state_dict().keys() == load_network(SMALL_FILE).state_dict().keys()


def test_the_figures_of_the_card_hold_on_fresh_drives(card):
    try:
        import_mujoco()
    except SceneError as error:
        pytest.skip(str(error))
    networks = [network for network, _ in load([SMALL])]
    results, _ = measure(
        networks,
        Options(seeds=1, drives=8, unseen=0, stream_frames=0, prior_drives=2),
    )
    figures, label = results.tree()['figures'], results.methods[0]
    found = {
        name: row[label]['mean']
        for group in ('known', 'static')
        for name, row in figures[group].items()
    }
    for name, factor in SLACK.items():
        assert found[name] <= factor * card['figures'][name], (name, found)
    for name, factor in LEAST.items():
        assert found[name] >= factor * card['figures'][name], (name, found)
