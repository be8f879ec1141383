"""Files of settings, weights, shards and graphs."""

import json
import math

import numpy as np
import torch
from training_cases import MICRO, plane_shard

from fuzz.target import target
from page4d_ros.backends.cache import FACTS, GraphCache
from page4d_ros.config import Config, default_yaml, file_values
from page4d_ros.errors import ConfigError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.model.checkpoint import load_network, save_network, untrained_network
from page4d_ros.model.config import CONFIG_KEY
from page4d_ros.model.weight_file import read_weights
from page4d_ros.perception.motion_classifier import DEFAULT, MotionClassifier
from page4d_ros.settings import parse_assignment
from page4d_ros.share import share_file
from page4d_ros.training.recipe import load_recipe
from page4d_ros.training.window_sampling import Shard

NUMBERS = [b'NaN', b'Infinity', b'-1', b'1e999', b'0', b'99999999999999999999', b'null', b'[]']
YAML_WORDS = [b'&a ', b'*a', b'<<: ', b'!!python/object:os.system ', b'!!binary ', b'? ', b'---\n']
KEY = {'graph': 'step', 'weights': 'abc'}
HEADER = 8  # bytes of the length of a safetensors header


def small_weights(folder):
    """Weight file of a network with few weights."""
    path = folder / 'micro.safetensors'
    save_network(untrained_network(MICRO), path, name='micro')
    return path


def split(data):
    """Header and body of a safetensors file."""
    end = HEADER + int.from_bytes(data[:HEADER], 'little')
    return data[HEADER:end], data[end:]


def header_only(path, take):
    """Input is the header of a file; the length before it and the body stay right."""
    _, body = split(path.read_bytes())

    def write(data):
        path.write_bytes(len(data).to_bytes(HEADER, 'little') + data + body)
        take(path)

    return write


@target(words=[*NUMBERS, b'"F32"', b'"I8"', b'"BOOL"', b'data_offsets', CONFIG_KEY.encode()])
def checkpoint_header(folder):
    """Header of a .safetensors weight file: names, shapes, types, sizes of the network."""
    path = small_weights(folder)
    header, _ = split(path.read_bytes())
    tree = json.loads(header)
    bare = {key: value for key, value in tree.items() if key != '__metadata__'}
    seeds = [header, json.dumps(bare).encode(), b'{}']
    return seeds, header_only(path, load_network)


@target(words=NUMBERS, heavy=True)
def checkpoint_sizes(folder):
    """Sizes of the network in the metadata of a .safetensors weight file."""
    path = small_weights(folder)
    header, body = split(path.read_bytes())
    tree = json.loads(header)
    seed = tree['__metadata__'][CONFIG_KEY].encode()
    changed = [json.dumps(json.loads(seed) | {'depth': n}).encode() for n in (1, 10**6)]

    def take(data):
        tree['__metadata__'][CONFIG_KEY] = data.decode('utf-8', 'replace')
        text = json.dumps(tree).encode()
        path.write_bytes(len(text).to_bytes(HEADER, 'little') + text + body)
        load_network(path)

    return [seed, *changed], take


@target(words=[b'ctorch._utils\n_rebuild_tensor_v2\n', b'cos\nsystem\n', b'R.', b'\x80\x02'])
def checkpoint_pickle(folder):
    """A .pt weight file: zip, pickle and storages."""
    path = folder / 'micro.pt'
    tensors = {'aggregator.a': torch.ones(3), 'aggregator.b': torch.zeros(2, 2)}
    torch.save(tensors, path)
    plain = path.read_bytes()
    torch.save({'model': tensors, 'epoch': 3}, path)
    wrapped = path.read_bytes()
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    seeds = [plain, wrapped, path.read_bytes()]

    def take(data):
        path.write_bytes(data)
        assert all(isinstance(value, torch.Tensor) for value in read_weights(path).state.values())

    return seeds, take


@target(words=NUMBERS)
def motion_classifier(folder):
    """A *.motion.json file."""
    path = folder / 'a.motion.json'
    DEFAULT.write(path)

    def take(data):
        path.write_bytes(data)
        found = MotionClassifier.read(path)
        for coefficients in found.sources.values():
            assert all(map(math.isfinite, coefficients.values()))

    return [path.read_bytes()], take


@target(words=[*YAML_WORDS, *NUMBERS])
def parameter_file(folder):
    """A parameter file of the node."""
    path = folder / 'a.yaml'
    some = (
        '/**:\n  ros__parameters:\n    window: {size: 4, stride: 2}\n    frames.base: base_link\n'
    )
    rig = 'page4d:\n  ros__parameters:\n    cameras: [left, right]\n    rig.offsets: [0.0, 0.1]\n'
    whole = default_yaml().encode()
    parts = [whole[i : i + 1500] for i in range(0, len(whole), 1500)]

    def take(data):
        path.write_bytes(data)
        Config().with_values(file_values(path))

    return [some.encode(), rig.encode(), *parts], take


@target(words=[*YAML_WORDS, *NUMBERS])
def assignment(folder):
    """NAME=VALUE of --set."""
    seeds = [f'{name}={json.dumps(leaf.default)}' for name, leaf in Config.leaves().items()]

    def take(data):
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise ConfigError('no text') from error
        Config().with_values(dict([parse_assignment(text)]))

    return [seed.encode() for seed in seeds], take


@target(words=[*YAML_WORDS, *NUMBERS], heavy=True)
def recipe(folder):
    """A training recipe."""
    path = folder / 'recipe.yaml'
    shipped = share_file('config/training/tiny.yaml').parent.glob('*.yaml')

    def take(data):
        path.write_bytes(data)
        load_recipe(path)

    return [file.read_bytes() for file in shipped], take


def small_shard(path):
    """Shard of two tiny frames."""
    camera = PinholeCamera(8, 6, 6.0, 6.0, 3.5, 2.5)
    return plane_shard(path, frames=2, camera=camera)


def read_shard(path):
    """Open a shard and read its frames."""
    shard = Shard.open(path)
    assert math.isfinite(shard.fov_x_deg)
    indices = np.arange(min(shard.frames, 3))
    for frame in shard.read(indices):
        assert frame.depth is None or not np.isinf(frame.depth).any()
    if shard.weighted:
        shard.read_weights(indices)


@target(words=NUMBERS)
def shard(folder):
    """A shard of training frames, header and numbers."""
    path = small_shard(folder / 'a.safetensors')
    seeds = [path.read_bytes()]
    header, body = split(seeds[0])
    tree = json.loads(header)
    for name in ('mask', 'depth', 'rgb'):
        rest = {key: value for key, value in tree.items() if key != name}
        text = json.dumps(rest).encode()
        seeds.append(len(text).to_bytes(HEADER, 'little') + text + body)

    count = 0

    def take(data):
        nonlocal count
        count += 1
        fresh = folder / f'{count}.safetensors'  # files that were read stay open for a while
        fresh.write_bytes(data)
        try:
            read_shard(fresh)
        finally:
            fresh.unlink()

    return seeds, take


@target(words=NUMBERS)
def shard_header(folder):
    """Header of a shard; the pixels stay."""
    path = small_shard(folder / 'a.safetensors')
    header, _ = split(path.read_bytes())
    count = 0

    def read(written):
        nonlocal count
        count += 1
        fresh = written.rename(folder / f'{count}.safetensors')
        try:
            read_shard(fresh)
        finally:
            fresh.unlink()

    return [header], header_only(path, read)


@target(words=[*NUMBERS, b'..', b'facts', b'files', b'key'])
def graph_facts(folder):
    """Description of a compiled graph in the cache."""
    cache = GraphCache(folder / 'cache')

    def write(new):
        (new / 'graph.bin').write_bytes(b'123')
        return {'outputs': ['pose_enc_iters', 'depth'], 'grid': [3, 4], 'seconds': 1.5}

    entry = cache.store(KEY, write)
    seed = (entry / FACTS).read_bytes()

    def take(data):
        entry.mkdir(exist_ok=True)
        (entry / 'graph.bin').write_bytes(b'123')
        (entry / FACTS).write_bytes(data)
        for facts in (cache.last({'weights': 'abc'}), (cache.find(KEY) or (0, None))[1]):
            assert facts is None or isinstance(facts, dict)

    return [seed], take
