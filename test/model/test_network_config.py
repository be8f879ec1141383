"""What a network's configuration accepts, refuses and writes."""

import json

import pytest

from page4d_ros.errors import ConfigError
from page4d_ros.model.config import NetworkConfig


@pytest.mark.parametrize('config', [NetworkConfig.published(), NetworkConfig.tiny()])
def test_json_round_trip(config):
    assert NetworkConfig.from_json(config.to_json()) == config


def test_mask_is_off_unless_asked_for():
    assert not NetworkConfig().mask_enabled


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('{', 'not JSON'),
        ('[1]', 'not a JSON object'),
        ('{"depth": 24}', "lacks ['camera_depth'"),
        (json.dumps({**json.loads(NetworkConfig().to_json()), 'wings': 2}), "fields ['wings']"),
        (json.dumps({**json.loads(NetworkConfig().to_json()), 'depth': 'deep'}), 'depth must be'),
    ],
)
def test_bad_json(text, said):
    with pytest.raises(ConfigError) as error:
        NetworkConfig.from_json(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'num_heads': 15}, 'not a multiple of num_heads'),
        ({'encoder_heads': 7}, 'not a multiple of encoder_heads'),
        ({'camera_heads': 17}, 'not a multiple of camera_heads'),
        ({'embed_dim': 36, 'num_heads': 6, 'encoder_heads': 6, 'camera_heads': 6}, 'rotary'),
        ({'img_size': 500}, 'patch_size'),
        ({'dpt_taps': (4, 11, 17)}, 'four levels'),
        ({'dpt_channels': (255, 512, 1024, 1024)}, 'multiples of 4'),
        ({'dpt_taps': (4, 11, 17, 24)}, 'below depth = 24'),
        ({'dpt_taps': (11, 4, 17, 23)}, 'rise strictly'),
        ({'masked_layers': (8, 9)}, 'not after the first'),
        ({'masked_layers': (20, 30)}, 'below depth'),
        ({'mask_layer': 24, 'masked_layers': ()}, 'below depth'),
        ({'mask_head': False, 'mask_enabled': True}, 'needs mask_head'),
        ({'camera_depth': 0}, 'must be positive'),
        ({'dpt_taps': (-1, 11, 17, 23)}, 'must be positive'),
        ({'depth': 24.0}, 'must be a int'),
        ({'mask_enabled': 1}, 'must be a bool'),
        ({'dpt_taps': [4, 11, 17, 23]}, 'tuple of int'),
    ],
)
def test_impossible_sizes(change, said):
    with pytest.raises(ConfigError) as error:
        NetworkConfig(**change)
    assert said in str(error.value)
