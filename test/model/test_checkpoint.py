"""Weight files: round trips, and one clear message for each way a file can be wrong."""

import json
import os
import pickle

import parity
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from page4d_ros.errors import CheckpointError
from page4d_ros.model import families, weight_file
from page4d_ros.model.checkpoint import load_network, save_network
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.families import Family
from page4d_ros.model.page4d import Page4D
from page4d_ros.model.page4d_weights import infer_config
from page4d_ros.perception.motion_classifier import DEFAULT, MotionClassifier

PUBLISHED_LIKE = NetworkConfig(
    img_size=56,
    embed_dim=64,
    num_heads=1,
    encoder_depth=1,
    encoder_heads=1,
    camera_depth=1,
    mask_hidden=8,
    dpt_features=8,
    dpt_channels=(4, 8, 8, 8),
    dpt_head_channels=4,
)


@pytest.fixture(scope='module')
def narrow():
    """A network of the published depth, whose sizes a .pt file shows."""
    torch.manual_seed(0)
    return Page4D(PUBLISHED_LIKE).eval()


@pytest.fixture
def write(tmp_path):
    def write(content, name='weights.pt', **options):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path, **options)
        return path

    return write


def assert_same_weights(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def message(path, **options):
    with pytest.raises(CheckpointError) as error:
        load_network(path, **options)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('wrap', [dict, lambda state: {'model': state, 'steps': {'train': 1}}])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_published_files(narrow, write, wrap, prefix):
    state = {prefix + key: value for key, value in narrow.state_dict().items()}
    state[prefix + 'track_head.anything'] = torch.zeros(1)
    path = write(wrap(state), 'checkpoint_mask.pt')
    loaded = load_network(path)
    assert_same_weights(loaded, narrow)
    assert loaded.config == PUBLISHED_LIKE
    assert loaded.name == 'checkpoint_mask'
    assert not loaded.training
    assert load_network(path, mask_enabled=True).config.mask_enabled


def test_old_file_format(narrow, write):
    path = write(narrow.state_dict(), 'old.pth', _use_new_zipfile_serialization=False)
    assert_same_weights(load_network(path), narrow)


def test_half_precision_files_become_float32(narrow, write):
    path = write({key: value.half() for key, value in narrow.state_dict().items()})
    assert all(p.dtype == torch.float32 for p in load_network(path).parameters())


def test_the_file_is_not_needed_after_loading(narrow, write):
    path = write(narrow.state_dict())
    loaded = load_network(path)
    path.write_bytes(b'gone')
    assert_same_weights(loaded, narrow)


@pytest.mark.parametrize('config', [NetworkConfig.published(), parity.SMALL])
def test_sizes_are_read_off_the_shapes(config):
    with torch.device('meta'):
        state = Page4D(config).state_dict()
    assert infer_config(state) == config


def test_without_mask_head(narrow, write):
    state = {k: v for k, v in narrow.state_dict().items() if 'spatial_mask_head' not in k}
    path = write(state)
    network = load_network(path)
    assert not network.config.mask_head
    with torch.no_grad():
        assert network(torch.rand(1, 3, 28, 28)).mask_score is None
    assert 'no mask head' in message(path, mask_enabled=True)


def test_half_a_mask_head_is_refused(narrow, write):
    state = narrow.state_dict()
    del state['aggregator.spatial_mask_head.head0.2.weight']
    del state['aggregator.spatial_mask_head.head0.2.bias']
    assert 'missing' in message(write(state))


def test_safetensors_round_trip(tiny, window, tmp_path):
    path = tmp_path / 'tiny.safetensors'
    save_network(tiny, path, name='page4d-tiny', steps=12)
    loaded = load_network(path)
    assert_same_weights(loaded, tiny)
    assert loaded.name == 'page4d-tiny'
    assert loaded.config == tiny.config
    with safe_open(path, 'pt') as file:
        assert file.metadata()['steps'] == '12'
    assert [entry.name for entry in tmp_path.iterdir()] == ['tiny.safetensors']
    with torch.no_grad():
        assert torch.equal(loaded(window).depth, tiny(window).depth)


def test_safetensors_without_sizes(narrow, tmp_path):
    path = tmp_path / 'plain.safetensors'
    save_file(narrow.state_dict(), path)
    assert_same_weights(load_network(path), narrow)


def test_safetensors_with_foreign_sizes(tiny, tmp_path):
    path = tmp_path / 'foreign.safetensors'
    save_file(tiny.state_dict(), path, metadata={'page4d_config': '{"depth": 4}'})
    assert 'another version' in message(path)


def test_saving_elsewhere_than_to_safetensors(tiny, tmp_path):
    with pytest.raises(CheckpointError, match='safetensors'):
        save_network(tiny, tmp_path / 'tiny.pt', name='tiny')
    with pytest.raises(CheckpointError, match='cannot be written'):
        save_network(tiny, tmp_path / 'nowhere' / 'tiny.safetensors', name='tiny')


def test_missing_file(tmp_path):
    assert 'section "Weights"' in message(tmp_path / 'checkpoint_mask.pt')


def test_directory(tmp_path):
    assert 'is a directory' in message(tmp_path)


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (b'', 'is empty'),
        (b'<!DOCTYPE html><html>Sign in</html>', 'web page'),
        (b'\n<html lang="en">', 'web page'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n', 'Git LFS pointer'),
        (b'\x00\x01\x02' * 100, 'damaged'),
    ],
)
@pytest.mark.parametrize('name', ['weights.pt', 'weights.safetensors'])
def test_no_weights_at_all(write, name, content, said):
    assert said in message(write(content, name))


def test_other_suffix(write):
    assert 'end in .pt' in message(write(b'onnx', 'weights.onnx'))


def test_truncated_files(narrow, write, tmp_path):
    whole = write(narrow.state_dict()).read_bytes()
    assert 'damaged, incomplete' in message(write(whole[: len(whole) // 2], 'half.pt'))
    path = tmp_path / 'half.safetensors'
    save_file(narrow.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert 'damaged or incomplete' in message(path)


@pytest.mark.parametrize('name', ['weights.pt', 'weights.safetensors'])
def test_a_file_that_is_cut_short_meanwhile_is_read_whole(narrow, tmp_path, monkeypatch, name):
    path, state = tmp_path / name, narrow.state_dict()
    (torch.save if path.suffix == '.pt' else save_file)(state, path)
    reader = '_read_torch' if path.suffix == '.pt' else '_read_safetensors'
    read = getattr(weight_file, reader)

    def cut(file, path):
        os.truncate(path, 1000)
        return read(file, path)

    monkeypatch.setattr(weight_file, reader, cut)
    found = weight_file.read_weights(path).state
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())
    assert 'damaged' in message(path)


def test_a_large_file_is_not_copied(narrow, tmp_path, monkeypatch):
    path, state = tmp_path / 'weights.safetensors', narrow.state_dict()
    save_file(state, path)
    monkeypatch.setattr(weight_file, 'MOST_COPIED', 1000)
    monkeypatch.setattr(os, 'memfd_create', None)
    assert weight_file.read_weights(path).state.keys() == state.keys()


class Exploit:
    def __reduce__(self):
        return eval, ('open("/dev/null")',)


@pytest.mark.parametrize('content', [{'model': Exploit()}, pickle.dumps(Exploit(), protocol=2)])
def test_code_is_never_run(write, content):
    assert 'Python objects' in message(write(content))


@pytest.mark.parametrize('content', [{}, {'model': {}}, [1, 2], {'a': 1}, torch.zeros(3)])
def test_no_state_dict(write, content):
    assert 'no state dict' in message(write(content))


def test_foreign_weights(write):
    assert 'not PAGE-4D or 4D-VGGT weights' in message(write({'conv1.weight': torch.zeros(3)}))


def test_another_family_is_named(narrow, write):
    state = {f'spatial.{key}': value for key, value in narrow.state_dict().items()}
    said = message(write({'model': state, 'architecture': '5d-vggt-v1'}))
    assert "not PAGE-4D or 4D-VGGT weights (they say architecture '5d-vggt-v1')" in said


def test_a_family_is_one_entry(monkeypatch, narrow, write):
    """A file goes to the first family that recognises its metadata or keys."""

    def build(file, mask_enabled):
        assert file.metadata == {'architecture': 'other-v1'}
        assert mask_enabled is None
        return torch.nn.Linear(2, 1)

    other = Family('Other', lambda file: file.metadata.get('architecture') == 'other-v1', build)
    monkeypatch.setattr(families, 'FAMILIES', (other, *families.FAMILIES))
    weights = torch.nn.Linear(2, 1).state_dict()
    loaded = load_network(write({'model': weights, 'architecture': 'other-v1'}, 'other.pt'))
    assert torch.equal(loaded.weight, weights['weight'])
    assert loaded.name == 'other'
    assert isinstance(load_network(write(narrow.state_dict(), 'page4d.pt')), Page4D)


def test_a_part_is_missing_altogether(narrow, write):
    state = {k: v for k, v in narrow.state_dict().items() if not k.startswith('camera_head.')}
    assert 'camera_head.trunk' in message(write(state))


def test_another_depth(tiny, write):
    assert 'alternating blocks' in message(write(tiny.state_dict()))


def test_wrong_keys_are_counted_and_named(narrow, tmp_path):
    path = tmp_path / 'wrong.safetensors'
    save_network(narrow, path, name='narrow')
    with safe_open(path, 'pt') as file:
        metadata = file.metadata()
    state = load_file(path)
    del state['camera_head.embed_pose.bias']
    state['camera_head.extra'] = torch.zeros(1)
    state['camera_head.token_norm.bias'] = torch.zeros(3)
    save_file(state, path, metadata=metadata)
    text = message(path)
    assert '1 missing: camera_head.embed_pose.bias' in text
    assert '1 unexpected: camera_head.extra' in text
    assert '1 of a wrong shape: camera_head.token_norm.bias (3,) instead of (128,)' in text


# -- files that somebody made to hurt ---------------------------------------------------------


@pytest.mark.parametrize(
    ('field', 'value'),
    [('encoder_depth', 10**7), ('camera_depth', 10**6), ('embed_dim', 2**40), ('depth', 10**9)],
)
def test_absurd_sizes_are_refused_before_anything_is_built(
    tiny, tmp_path, monkeypatch, field, value
):
    monkeypatch.setattr(Page4D, '__init__', lambda *_: pytest.fail('built'))
    tree = json.loads(tiny.config.to_json()) | {field: value}
    path = tmp_path / 'a.safetensors'
    save_file({'a': torch.zeros(1)}, path, metadata={'page4d_config': json.dumps(tree)})
    with pytest.raises(CheckpointError, match=f'{field} may be'):
        load_network(path)


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / 'weights.pt')
    with pytest.raises(CheckpointError, match='a device or a pipe'):
        load_network(tmp_path / 'weights.pt')


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_refused(tiny, tmp_path, bad):
    state = {key: value.clone() for key, value in tiny.state_dict().items()}
    name = next(key for key, value in state.items() if value.is_floating_point())
    state[name].view(-1)[-1] = bad
    path = tmp_path / 'a.safetensors'
    save_file(state, path, metadata={'page4d_config': tiny.config.to_json()})
    with pytest.raises(CheckpointError, match=f'1 tensors hold NaN or infinite.*{name}'):
        load_network(path)


def test_a_name_forges_no_line_of_a_log(tiny, tmp_path):
    save_network(tiny, tmp_path / 'a.safetensors', name='a\n[ERROR] forged\x1b[2J')
    assert load_network(tmp_path / 'a.safetensors').name == r'a\n[ERROR] forged\x1b[2J'


@pytest.mark.parametrize('bad', ['NaN', 'Infinity', '1e999'])
def test_a_motion_classifier_that_is_not_finite_is_refused(tmp_path, bad):
    path = tmp_path / 'a.motion.json'
    DEFAULT.write(path)
    path.write_text(path.read_text().replace('-3.0', bad))
    with pytest.raises(CheckpointError, match='not finite'):
        MotionClassifier.read(path)
