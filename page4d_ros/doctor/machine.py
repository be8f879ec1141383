"""Checks of interpreter, libraries, GPU, backend and weights; none of them needs ROS."""

from __future__ import annotations

import importlib
import math
import platform
import shutil
import sys
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from page4d_ros.doctor.result import ERROR, OK, WARN, Check, Finding, ok
from page4d_ros.errors import BackendError

if TYPE_CHECKING:
    from page4d_ros.config import Config

PYTHONS = (3, 10), (3, 14)
# module -> name in the registry
LIBRARIES = {
    'cv2': 'opencv-python-headless',
    'lz4': 'lz4',
    'numpy': 'numpy',
    'PIL': 'pillow',
    'rich': 'rich',
    'rosbags': 'rosbags',
    'ruamel.yaml': 'ruamel.yaml',
    'safetensors': 'safetensors',
    'scipy': 'scipy',
}
GPUS = '/dev/nvidia0', '/dev/nvgpu', '/dev/nvhost-gpu', '/dev/nvhost-ctrl-gpu'  # the last: Jetson
BOARDS = 'docs/onboard.md says which torch a board takes'
PROCESS = 400 << 20  # bytes of a process without its network
GIB = 1 << 30
VIEW = 4 / 3  # width to height of the images that memory is computed for


def checks(config: Config) -> list[Check]:
    """Checks of a node with these settings."""
    return [
        Check('python', _python),
        Check('libraries', _libraries),
        Check('torch', _torch, ('libraries',)),
        Check('gpu', _gpu, ('torch',)),
        Check('device', partial(_device, config), ('torch',)),
        Check('backend', partial(_backend, config), ('device',)),
        Check('weights', partial(_weights, config), ('torch',)),
        Check('memory', partial(_memory, config), ('device', 'weights')),
        Check('cores', _cores, ('libraries',)),
    ]


def _python() -> Finding:
    lowest, beyond = PYTHONS
    where = f'{platform.python_version()} on {platform.system()} {platform.machine()}'
    where += f', {sys.prefix}'
    if lowest <= sys.version_info[:2] < beyond:
        return ok(where)
    return ERROR, where, 'take Python 3.10 to 3.13'


def _libraries() -> Finding:
    errors = {package: _import_error(module) for module, package in LIBRARIES.items()}
    absent = [p for p, error in errors.items() if isinstance(error, ModuleNotFoundError)]
    broken = [f'{p} ({e})' for p, e in errors.items() if e is not None and p not in absent]
    if broken:
        return ERROR, f'do not load: {"; ".join(broken)}', 'install them anew'
    if absent:
        return ERROR, f'not installed: {", ".join(absent)}', f'pip install {" ".join(absent)}'
    return ok(', '.join(f'{p} {_version(p, module)}' for module, p in LIBRARIES.items()))


def _import_error(module: str) -> Exception | None:
    try:
        importlib.import_module(module)
    except Exception as error:  # built for another NumPy, for example
        return error
    return None


def _version(package: str, module: str) -> str:
    """Version of a package, which distributions call by other names."""
    try:
        return version(package)
    except PackageNotFoundError:
        return getattr(importlib.import_module(module), '__version__', '')


def _torch() -> Finding:
    try:
        import torch
    except ModuleNotFoundError:
        return ERROR, 'not installed', f'install the torch that fits your GPU; {BOARDS}'
    except (ImportError, OSError) as error:
        return ERROR, f'does not load: {error}', f'install it anew; {BOARDS}'
    cuda = f'CUDA {torch.version.cuda}' if torch.version.cuda else 'without CUDA'
    return ok(f'{torch.__version__}, {cuda}')


def _gpu() -> Finding:
    import torch

    there = [name for name in GPUS if Path(name).exists()]
    if not torch.cuda.is_available():
        if not there:
            return ok('none; the CPU runs the network')
        why = 'has no CUDA' if not torch.version.cuda else 'cannot use it'
        return (
            WARN,
            f'{there[0]} is there, and this torch {why}',
            f'install the driver, and a torch that fits both; {BOARDS}',
        )
    found = [_one_gpu(index) for index in range(torch.cuda.device_count())]
    return max(found, key=lambda each: each[0] == ERROR)


def _one_gpu(index: int) -> Finding:
    import torch

    major, minor = torch.cuda.get_device_capability(index)
    text = f'cuda:{index} {torch.cuda.get_device_name(index)}, sm_{major}{minor}'
    if runs(major, minor, torch.cuda.get_arch_list()):
        return ok(text)
    return (
        ERROR,
        f'{text}; this torch is for {", ".join(torch.cuda.get_arch_list())}',
        'install a torch for this GPU (a Jetson Thor needs the wheels of cu130, a Jetson Orin '
        f"NVIDIA's); {BOARDS}",
    )


def runs(major: int, minor: int, built_for: list[str]) -> bool:
    """True if a GPU of this compute capability runs code that was built for such architectures.

    Machine code (sm) runs on later minor versions of its major one, PTX (compute) on all later.
    """
    for name in built_for:
        kind, _, digits = name.partition('_')
        digits = digits.rstrip('af')  # of an architecture's own features
        theirs = int(digits[:-1]), int(digits[-1])
        later = theirs <= (major, minor)
        if later and (kind == 'compute' or theirs[0] == major):
            return True
    return False


def _device(config: Config) -> Finding:
    from page4d_ros.perception.devices import choose_device, choose_precision

    device = choose_device(config.model.device)
    half = choose_precision(config.model.precision, device)
    return ok(f'{device}, {str(half or "float32").removeprefix("torch.")}')


def _backend(config: Config) -> Finding:
    from page4d_ros.perception.graphs import usable_backend

    try:
        return ok(usable_backend(config.model))
    except BackendError as error:
        return WARN, f'torch runs the network: {error}', 'install it, or set model.backend: torch'


def _weights(config: Config) -> Finding:
    from page4d_ros.perception.build import SMALL, UNTRAINED, inspect_network, weight_file

    name = config.model.checkpoint
    network = inspect_network(config.model)
    if name == UNTRAINED:
        return WARN, 'random weights: numbers mean nothing', 'give model.checkpoint a weight file'
    if name == SMALL:
        return ok(f'{name}, Apache-2.0, for {network.purpose}')
    path = weight_file(name)
    return (
        OK,
        f'{path}, {path.stat().st_size / GIB:.2f} GiB, whole ({network.architecture})',
        'clear the licence of these weights before any commercial use (README.md, "Weights")',
    )


def _memory(config: Config) -> Finding:
    from page4d_ros.perception.build import NOWHERE, inspect_network
    from page4d_ros.perception.devices import choose_device, choose_precision
    from page4d_ros.perception.graphs import WITH_ANCHOR
    from page4d_ros.perception.memory import free_bytes

    network = inspect_network(config.model)
    device = choose_device(config.model.device)
    half = choose_precision(config.model.precision, device)
    network.prepare(NOWHERE, half, points=config.model.point_head)
    width = config.model.resolution or network.image_size
    patch, views = network.config.patch_size, max(1, len(config.cameras))
    size = max(1, round(width / VIEW / patch)) * patch, width
    at_once = 1 if config.apart else views
    frames = config.window.size * at_once
    memory = network.memory(frames, size, min(WITH_ANCHOR * at_once, frames))
    needed = memory.weights + memory.cache * (views // at_once) + memory.working + PROCESS
    free = free_bytes(device)
    text = f'{needed / GIB:.1f} GiB needed for {frames} frames of {size[1]}x{size[0]}, '
    text += 'free memory is not told' if math.isinf(free) else f'{free / GIB:.1f} GiB free'
    if needed < free:
        return ok(text)
    return ERROR, text, 'set window.size or model.resolution lower, or end other processes'


def _cores() -> Finding:
    from page4d_ros.process import allowed_cores, free_cores

    allowed, free = allowed_cores(), free_cores()
    text = f'{free} of {allowed} are free'
    disk = shutil.disk_usage(Path.home()) if Path.home().exists() else None
    if disk is not None and disk.free < GIB:
        return WARN, f'{text}; {disk.free / GIB:.1f} GiB of disk', 'make room for graphs and logs'
    if allowed > 1 and free == 1:
        return WARN, text, 'end other processes, or give the node fewer images (window.stride)'
    return ok(text)
