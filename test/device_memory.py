"""A stand-in for a GPU's memory: tensors of a type of their own, and the rules of mixing them.

With `Device` entered, whatever is moved or made with a device named is a `DeviceTensor`; only
``cpu()`` gives it back to the host. What would fail on a GPU, or silently make the host wait for
it, is a `BrokenRule`. Inside `computing`, which a CUDA graph may record, not even ``cpu()`` and
uploads are allowed.
"""

from contextlib import contextmanager
from itertools import chain

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from page4d_ros.model.dpt_head import axis_embedding
from page4d_ros.model.rope import rope_table

Tensor = torch.Tensor
READS = {
    Tensor.item,
    Tensor.tolist,
    Tensor.numpy,
    Tensor.__array__,
    Tensor.__bool__,
    Tensor.__int__,
    Tensor.__float__,
    Tensor.__index__,
    Tensor.__contains__,
    Tensor.equal,
    torch.equal,
    torch.allclose,
}
# the size of the result depends on values, so that a GPU has to be waited for
SIZED_BY_VALUES = {
    Tensor.nonzero,
    torch.nonzero,
    Tensor.masked_select,
    torch.masked_select,
    Tensor.unique,
    torch.unique,
}
MOVES = {Tensor.to, Tensor.cuda}
MIXING = {torch._has_compatible_shallow_copy_type}  # as modules do when they move
TABLES = rope_table, axis_embedding


class BrokenRule(AssertionError):
    """A GPU would refuse this, or make the host wait."""


class DeviceTensor(torch.Tensor):
    """Tensor in the memory of a device."""


def on_device(x):
    return isinstance(x, DeviceTensor)


class Device(TorchFunctionMode):
    """Context in which the rules hold; cached tables are made anew, inside and after it.

    Attributes:
        uploads, downloads: how many tensors were moved.
    """

    def __init__(self):
        super().__init__()
        self.uploads = self.downloads = 0
        self._computing = False

    def __enter__(self):
        for table in TABLES:
            table.cache_clear()
        self._overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # keeps our type
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        torch.__future__.set_overwrite_module_params_on_conversion(self._overwrite)
        for table in TABLES:
            table.cache_clear()

    @contextmanager
    def computing(self):
        self._computing = True
        try:
            yield
        finally:
            self._computing = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        ours = [x for x in tensors if on_device(x)]
        if ours:
            self._check(func, args, tensors)
        if func is Tensor.cpu and ours:
            self.downloads += 1
            return args[0].as_subclass(Tensor).clone()
        named = any(isinstance(x, torch.device) for x in chain(args[1:], kwargs.values()))
        if func in MOVES and named and not ours:
            if self._computing:
                raise BrokenRule('an upload in the middle of a step')
            self.uploads += 1
            return func(*args, **kwargs).as_subclass(DeviceTensor)
        out = func(*args, **kwargs)
        if kwargs.get('device') is not None and isinstance(out, Tensor):
            return out.as_subclass(DeviceTensor)
        return out

    def _check(self, func, args, tensors):
        name = getattr(func, '__name__', str(func))
        if func in READS:
            raise BrokenRule(f'{name} reads the device silently')
        if func in SIZED_BY_VALUES or (func is torch.where and len(args) == 1):
            raise BrokenRule(f'{name} waits for the device')
        if func in {Tensor.__getitem__, Tensor.__setitem__}:
            parts = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(part, list) for part in parts):
                raise BrokenRule('a list as index is uploaded')
            masks = [x for x in pytree.tree_leaves(args[1]) if on_device(x)]
            if any(x.dtype == torch.bool for x in masks):
                raise BrokenRule('a mask as index waits for the device')
        if func is Tensor.cpu and self._computing:
            raise BrokenRule('cpu() waits for the device in the middle of a step')
        if func not in MIXING and any(x.ndim and not on_device(x) for x in tensors):
            raise BrokenRule(f'{name} mixes tensors of device and host')


@contextmanager
def watched(device, network):
    """Let no part of a network read from the device."""
    names = 'encode', 'enter', 'step'
    originals = {name: getattr(network, name) for name in names}

    def guarded(run):
        def call(*args, **kwargs):
            with device.computing():
                out = run(*args, **kwargs)
            assert all(on_device(x) for x in pytree.tree_leaves(out) if isinstance(x, Tensor))
            return out

        return call

    for name, run in originals.items():
        setattr(network, name, guarded(run))
    try:
        yield
    finally:
        for name in names:
            delattr(network, name)
