"""Networks and fixtures that the tests of the network share."""

from dataclasses import replace
from functools import lru_cache

import parity
import pytest
import torch
from data_folders import PARITY, parity_file

from page4d_ros.model.checkpoint import untrained_network
from page4d_ros.model.config import NetworkConfig


@pytest.fixture(scope='session')
def network_of():
    """The small published network, filled for a salt; built once for each."""
    return lru_cache(maxsize=2)(parity.build_network)


@pytest.fixture(scope='session')
def small(network_of):
    """The network of the folder's first fixture, so that no other need be built."""
    salts = [
        data['salt'] for path in PARITY.glob('*.npz') if 'salt' in (data := parity.read(path))
    ]
    return network_of(salts[0] if salts else '')


@pytest.fixture
def piece():
    """Read one small fixture by name, or skip."""

    def read(name: str) -> dict:
        return parity.read(parity_file(f'{name}.npz'))

    return read


@pytest.fixture(scope='session')
def tiny():
    """The tiny network with a point head besides, so that every part runs."""
    return untrained_network(replace(NetworkConfig.tiny(), point_head=True))


@pytest.fixture
def window():
    """Four random images of 112 x 84."""
    return torch.rand(4, 3, 84, 112, generator=torch.Generator().manual_seed(1))
