"""Memory: said by shapes as it is measured, and what is free of it."""

import math
import resource
from dataclasses import replace

import numpy as np
import pytest
import torch

from page4d_ros.benchmark.meter import peak_bytes
from page4d_ros.config import Config, ModelConfig
from page4d_ros.errors import DeviceMemoryError, FrameError
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.model.checkpoint import untrained_network
from page4d_ros.model.config import FourDVGGTConfig, NetworkConfig
from page4d_ros.model.network import StepPlan, run_sequence
from page4d_ros.perception import memory
from page4d_ros.perception.build import build_perception
from page4d_ros.perception.clip import Clip
from page4d_ros.perception.types import Frame, FrameKey, FrameSet
from page4d_ros.perception.window_engine import WindowEngine

CPU = torch.device('cpu')
WIDE = replace(
    NetworkConfig.tiny(), embed_dim=256, dpt_features=128, dpt_channels=(64, 64, 96, 96)
)
POINTS = replace(NetworkConfig.tiny(), point_head=True)


def picture(index, size=(84, 112)):
    return np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)


def decoded(index, **_):
    return Frame(index * 10**8 + 1, 'camera', lambda: picture(index))


@pytest.mark.parametrize(
    ('config', 'frames', 'size', 'newest', 'precision', 'gram'),
    [
        (NetworkConfig.tiny(), 4, (84, 112), 2, 'fp32', False),  # the dense head needs most
        (NetworkConfig.tiny(), 8, (154, 210), 1, 'fp32', False),
        (NetworkConfig.tiny(), 32, (84, 112), 1, 'fp32', False),  # the blocks do
        (NetworkConfig.tiny(), 32, (84, 112), 2, 'fp32', True),
        (NetworkConfig.tiny(), 32, (84, 112), 1, 'bf16', False),
        (POINTS, 8, (84, 112), 1, 'fp32', False),
        (WIDE, 6, (84, 112), 2, 'fp32', False),
        (FourDVGGTConfig.tiny(), 4, (84, 112), 2, 'fp32', False),
        (FourDVGGTConfig.tiny(), 32, (84, 112), 2, 'fp32', True),
        (FourDVGGTConfig.tiny(), 32, (84, 112), 32, 'fp32', False),
    ],
)
def test_the_memory_of_a_step(config, frames, size, newest, precision, gram):
    network = untrained_network(config)
    settings = ModelConfig(
        device='cpu', resolution=size[1], precision=precision, point_head=config.point_head
    )
    engine = WindowEngine(network, settings, frames)
    for index in range(frames):
        engine.push(FrameSet.of(Frame(index, '', None)), [picture(index, size)])
    engine.step()
    engine.push(FrameSet.of(Frame(frames, '', None)), [picture(0, size)])
    anchor = FrameKey(frames + 1 - newest, 0)
    peak = peak_bytes(lambda: engine.step(anchor, gram=gram), CPU)
    said = network.memory(frames, size, newest, int(gram))
    assert said.cache == pytest.approx(engine.cache_bytes(), rel=0.01)
    assert said.working == pytest.approx(peak, rel=0.1)


def test_the_memory_of_weights_on_no_device():
    """As `page4d bench --plan` asks, for networks that would not fit here."""
    with torch.device('meta'):
        plain = untrained_network(NetworkConfig.tiny())
        half = untrained_network(NetworkConfig.tiny())
    plain.prepare(torch.device('meta'), None, points=False)
    half.prepare(torch.device('meta'), torch.bfloat16, points=False)
    real = untrained_network(NetworkConfig.tiny())
    real.prepare(CPU, None, points=False)
    weights = sum(p.numel() * p.element_size() for p in real.parameters())
    assert plain.memory(8, (84, 112), 1).weights == weights
    assert 0.5 * weights < half.memory(8, (84, 112), 1).weights < 0.8 * weights


@pytest.mark.parametrize('frames', [24, 48])
@pytest.mark.parametrize('family', [NetworkConfig, FourDVGGTConfig])
def test_the_memory_of_a_sequence(family, frames):
    network = untrained_network(family.tiny()).requires_grad_(False)
    images = torch.from_numpy(np.stack([picture(i) for i in range(frames)])).movedim(-1, 1)
    run = torch.inference_mode()(lambda: run_sequence(network, images))
    said = network.memory(frames, (84, 112), None).beside_weights
    assert said == pytest.approx(peak_bytes(run, CPU), rel=0.15)


@torch.inference_mode()
def test_frames_of_a_sequence_are_encoded_some_at_a_time():
    network = untrained_network().double()
    images = torch.from_numpy(np.stack([picture(i) for i in range(19)])).movedim(-1, 1)
    output, encoded = run_sequence(network, images)
    whole = network.encode(images / 255)
    assert torch.allclose(encoded[0], whole, rtol=1e-12, atol=1e-12)
    tokens = network.enter(whole[None], (6, 8), first=True)
    wanted = network.step(tokens, StepPlan((6, 8), 19))
    assert torch.allclose(output.depth, wanted.depth, rtol=1e-12, atol=1e-12)


def clip():
    config = Config().with_values({'model.checkpoint': 'untrained', 'window.stride': 1})
    return Clip(build_perception(config))


def test_a_clip_keeps_no_image_of_the_camera():
    held = clip()
    held.add(decoded(0), picture(0, (480, 640)))
    with pytest.raises(FrameError, match='is not kept'):
        held.frames[0].decode()
    with pytest.raises(FrameError, match=r'images of \(640, 480\) pixels .* one of \(112, 84\)'):
        held.add(decoded(1), picture(1))
    assert len(held.frames) == 1


def test_a_clip_says_what_it_takes_and_what_would_fit(monkeypatch):
    held = clip()
    held.add(decoded(0), picture(0))
    assert held.check(100).startswith('100 frames of 112x84 pixels in one pass need about ')
    needed = held._needed(100, held.fit)
    monkeypatch.setattr('page4d_ros.perception.clip.free_bytes', lambda _: needed // 2)
    with pytest.raises(DeviceMemoryError, match=r'set window.stride 3 or model.resolution 70'):
        held.check(100)  # half would need a little more than half
    held.check(34)
    fit = ImageTransform.crop(112, 84, 70, 14)
    assert held._needed(100, fit) <= needed // 2
    monkeypatch.setattr('page4d_ros.perception.clip.free_bytes', lambda _: 0)
    with pytest.raises(DeviceMemoryError, match='are free on cpu; estimate frame after frame'):
        held.check(100)


def test_what_is_free_on_a_cpu(tmp_path, monkeypatch):
    system, process = tmp_path / 'meminfo', tmp_path / 'statm'
    monkeypatch.setattr(memory, 'SYSTEM', system)
    monkeypatch.setattr(memory, 'CONTAINER', tmp_path)
    monkeypatch.setattr(memory, 'PROCESS', process)
    monkeypatch.setattr(resource, 'getrlimit', lambda _: (resource.RLIM_INFINITY,) * 2)
    assert memory.free_bytes(CPU) == math.inf
    system.write_text('MemTotal:  900 kB\nMemAvailable:  500 kB\n')
    assert memory.free_bytes(CPU) == 500 << 10
    (tmp_path / 'memory.current').write_text('1000\n')
    (tmp_path / 'memory.max').write_text('max\n')
    assert memory.free_bytes(CPU) == 500 << 10
    (tmp_path / 'memory.max').write_text('401000\n')
    assert memory.free_bytes(CPU) == 400_000
    process.write_text('20 10 5 1 0 3 0\n')
    limit = 30 * resource.getpagesize()
    monkeypatch.setattr(resource, 'getrlimit', lambda _: (limit, limit))
    assert memory.free_bytes(CPU) == 10 * resource.getpagesize()
