from pathlib import Path

import pytest

from page4d_ros.config import Config, default_yaml
from page4d_ros.errors import ConfigError

ROOT = Path(__file__).parents[1]


def test_yaml_file_is_the_settings():
    text = (ROOT / 'config' / 'perception.yaml').read_text()
    assert text == default_yaml(), 'run: page4d parameters > config/perception.yaml'


def test_every_setting_is_documented_and_its_default_is_allowed():
    for name, leaf in Config.leaves().items():
        assert leaf.doc.endswith('.'), name
        Config().with_values({name: leaf.default})


@pytest.mark.parametrize(
    ('values', 'complaint'),
    [
        ({'window.size': 0}, r'window\.size: 0 is outside \[1, 64\]'),
        ({'window.size': 2.0}, r'window\.size: expected int'),
        ({'window.size': True}, r'window\.size: expected int'),
        ({'model.resolution': 500}, 'try 504'),
        ({'no.such': 1}, "unknown setting 'no.such'; there are node, model"),
        ({'window.sise': 1}, r"unknown setting 'window\.sise'; did you mean window\.size"),
        ({'window': 5}, 'window: expected settings by name, got 5'),
        ({'window': {'size': 0}}, r'window\.size: 0 is outside'),
        ({'depth.encoding': '64FC1'}, 'is not one of 32FC1, 16UC1'),
        ({'frames.base': '/base'}, 'starts with a slash'),
        ({'scale.mode': 'camera_height'}, 'needs scale.camera_height'),
        ({'points.rate': float('nan')}, 'outside'),
    ],
)
def test_impossible_values_are_refused_by_name(values, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Config().with_values(values)


def test_an_int_serves_for_a_float():
    assert Config().with_values({'points.rate': 3}).points.rate == 3.0
