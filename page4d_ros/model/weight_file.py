"""Reading weight files, with one clear message for each way a file can be wrong."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from page4d_ros.errors import CheckpointError

HOW_TO_GET_WEIGHTS = (
    'download one, such as checkpoint_mask.pt, as the README\'s section "Weights" says'
)
# Neither is part of a network: the tracker is optional, the wrapper is of distributed training.
IGNORED_PREFIX = 'track_head.'
WRAPPER_PREFIX = 'module.'
MOST_COPIED = 1 << 28  # bytes of a file that is copied before it is read


class WeightFile(NamedTuple):
    """Content of a weight file.

    Attributes:
        path: of the file.
        state: tensors by name.
        metadata: all else: the texts in the header of a `.safetensors`; of a `.pt` that holds its
            tensors as "model", the entries beside them.
    """

    path: Path
    state: dict[str, Tensor]
    metadata: dict[str, Any]


def read_weights(path: Path) -> WeightFile:
    """Read a published `.pt` or `.pth`, or a `.safetensors`.

    Raises:
        CheckpointError: the file is missing, damaged or holds no weights.
    """
    _check_file(path)
    read = _read_safetensors if path.suffix == '.safetensors' else _read_torch
    with _kept(path) as file:
        state, metadata = read(file, path)
    state = {
        name: value
        for key, value in state.items()
        if not (name := key.removeprefix(WRAPPER_PREFIX)).startswith(IGNORED_PREFIX)
    }
    return WeightFile(path, state, metadata)


def _check_file(path: Path) -> None:
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise CheckpointError(f'{path}: is a device or a pipe; give a file')  # reading may block
    if path.is_dir():
        raise CheckpointError(f'{path}: is a directory; name the weight file inside it')
    if not path.exists():
        raise CheckpointError(f'{path}: no such weight file; {HOW_TO_GET_WEIGHTS}')
    if path.suffix not in {'.pt', '.pth', '.safetensors'}:
        raise CheckpointError(f'{path}: weight files end in .pt, .pth or .safetensors')
    try:
        with path.open('rb') as file:
            head = file.read(256).lstrip().lower()
    except OSError as error:
        raise CheckpointError(f'{path}: cannot be read: {error}') from error
    if not head:
        raise CheckpointError(f'{path}: is empty; download it again')
    if head.startswith((b'<!doctype', b'<html', b'<?xml')):
        raise CheckpointError(f'{path}: is a web page, not weights; {HOW_TO_GET_WEIGHTS}')
    if head.startswith(b'version https://git-lfs'):
        raise CheckpointError(f'{path}: is a Git LFS pointer, not weights; run `git lfs pull`')


@contextmanager
def _kept(path: Path) -> Iterator[Path]:
    """File of the same content that nobody can cut short while it is mapped.

    That would end the process. Large files are used as they are, as are all where the system has
    no files in memory.

    Raises:
        CheckpointError: the file cannot be read.
    """
    if path.stat().st_size > MOST_COPIED or not hasattr(os, 'memfd_create'):
        yield path
        return
    copy = os.memfd_create(path.name)
    try:
        try:
            with path.open('rb') as source, open(copy, 'wb', closefd=False) as target:
                shutil.copyfileobj(source, target)
        except OSError as error:
            raise CheckpointError(f'{path}: cannot be read: {error}') from error
        yield Path(f'/proc/self/fd/{copy}')
    finally:
        os.close(copy)


def _read_safetensors(file: Path, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a file that came from a path."""
    try:
        with safe_open(file, 'pt') as content:
            state = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118
            return state, content.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f'{path}: is damaged or incomplete; get it again ({error})'
        ) from error


def _read_torch(file: Path, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file that came from a path."""
    try:
        try:
            content = torch.load(file, map_location='cpu', weights_only=True, mmap=True)
        except RuntimeError as error:
            if 'mmap' not in str(error):
                raise
            content = torch.load(file, map_location='cpu', weights_only=True)
    # torch's own messages advise loading without its safeguard, so they are not passed on.
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f'{path}: is damaged, or holds Python objects, which are never run; '
            'get a file that holds tensors only'
        ) from error
    except Exception as error:  # torch.load raises whatever its readers meet in a broken file
        raise CheckpointError(
            f'{path}: is damaged, incomplete or no file of tensors; download it again'
        ) from error
    metadata = {}
    if isinstance(content, Mapping) and isinstance(content.get('model'), Mapping):
        metadata = {key: value for key, value in content.items() if key != 'model'}
        content = content['model']
    tensors = isinstance(content, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    )
    if not tensors or not content:
        raise CheckpointError(
            f'{path}: holds no state dict; expected tensors by name, or {{"model": such}}'
        )
    return dict(content), metadata


def is_finite(tensor: Tensor) -> bool:
    """True if no number is NaN or infinite; needs no memory beside the tensor's.

    A sum is not finite either where a number is not, and may overflow only beyond any weights.
    """
    if not tensor.is_floating_point():
        return True
    return bool(torch.isfinite(tensor.sum(dtype=torch.float64)))


def check_keys(file: WeightFile, wanted: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not exactly those of a network.

    Args:
        file: the file.
        wanted: the network's tensors by name; only their shapes count.

    Raises:
        CheckpointError: a tensor is missing, of a wrong shape, or one too many.
    """
    found = file.state
    problems = {
        'missing': sorted(wanted.keys() - found.keys()),
        'unexpected': sorted(found.keys() - wanted.keys()),
        'of a wrong shape': [
            f'{key} {tuple(found[key].shape)} instead of {tuple(wanted[key].shape)}'
            for key in sorted(wanted.keys() & found.keys())
            if found[key].shape != wanted[key].shape
        ],
    }
    lines = [
        f'{len(names)} {problem}: {", ".join(names[:3])}{", ..." if len(names) > 3 else ""}'
        for problem, names in problems.items()
        if names
    ]
    if lines:
        raise CheckpointError(
            f'{file.path}: tensors do not fit the network; {"; ".join(lines)}; '
            f'{HOW_TO_GET_WEIGHTS}'
        )
