"""Encoder and step become graphs that give the same numbers."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from page4d_ros.model.checkpoint import untrained_network
from page4d_ros.model.config import FourDVGGTConfig, NetworkConfig
from page4d_ros.model.network import StepPlan, full_cells

FRAMES, GRID, NEWEST = 4, (3, 4), (3,)


class Step(nn.Module):
    def __init__(self, network, plan):
        super().__init__()
        self.network, self.plan = network, plan

    def forward(self, tokens, hidden=None):
        return tuple(x for x in self.network.step(tokens, self.plan, hidden) if x is not None)


class Encode(nn.Module):
    def __init__(self, network, *, first):
        super().__init__()
        self.network, self.first = network, first

    def forward(self, images):
        encoded = self.network.encode(images)[None]
        return encoded, self.network.enter(encoded, GRID, first=self.first)


def network_of(family):
    """A network in float64 whose every part matters."""
    network = untrained_network(replace(family.tiny(), point_head=True)).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.05 * noise)
    return network.requires_grad_(False)


@pytest.fixture(scope='module')
def network():
    return network_of(NetworkConfig)


def images(first, count=FRAMES):
    """Noise of frames that follow each other, (count, 3, 42, 56)."""
    each = [torch.Generator().manual_seed(first + index) for index in range(count)]
    return torch.stack([torch.rand(3, 42, 56, generator=g, dtype=torch.float64) for g in each])


def tokens(network, first):
    encoded = network.encode(images(first))[None]
    return network.enter(encoded, GRID, first=True)


def same(found, wanted):
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(('mask', 'references', 'strict'), [
    (False, (), False),
    (False, NEWEST, False),
    (True, (), False),
    (True, NEWEST, False),
    (True, NEWEST, True),  # Dynamo reads the bytecode, and fails where it would break the graph
])  # fmt: skip
def test_a_step_is_one_graph(network, mask, references, strict):
    network = network.with_mask_in_attention(on=mask)
    step = Step(network, StepPlan(GRID, 1, references))
    graph = torch.export.export(step, (tokens(network, 0),), strict=strict).module()
    for first in (0, 1, 7):  # the window it was made from, one that slid, and another
        given = tokens(network, first)
        wanted = step(given)
        assert len(wanted) == 7 + bool(references)
        same(graph(given), wanted)


@pytest.mark.parametrize(
    ('cells', 'strict'),
    [((), False), (full_cells(2, 2), True), (((0, 0), (0, 1), (1, 1), (1, 2)), False)],
)
def test_a_step_over_views_and_times_is_one_graph(cells, strict):
    network = network_of(FourDVGGTConfig)
    step = Step(network, StepPlan(GRID, 1, cells=cells))
    graph = torch.export.export(step, (tokens(network, 0),), strict=strict).module()
    for first in (0, 1):
        given = tokens(network, first)
        same(graph(given), step(given))


def test_a_step_that_hides_what_moves_is_one_graph(network):
    step = Step(network, StepPlan(GRID, 1, NEWEST))
    hidden = torch.zeros(1, FRAMES, *GRID, dtype=torch.bool)
    graph = torch.export.export(step, (tokens(network, 0), hidden)).module()
    hidden[0, 1, 1, 2] = hidden[0, 0, 2, :2] = True
    given = tokens(network, 1)
    same(graph(given, hidden), step(given, hidden))
    assert not torch.equal(graph(given, hidden)[0], step(given)[0])


@pytest.mark.parametrize(('first', 'strict'), [(False, False), (True, False), (False, True)])
def test_the_encoder_is_one_graph(network, first, strict):
    encode = Encode(network, first=first)
    graph = torch.export.export(encode, (images(0, 1),), strict=strict).module()
    same(graph(images(5, 1)), encode(images(5, 1)))


def test_statistics_are_not_computed_when_nobody_asks(network):
    """Operations of the graph without statistics are a part of those with them."""

    def count(references):
        step = Step(network, StepPlan(GRID, 1, references))
        return len(torch.export.export(step, (tokens(network, 0),)).graph.nodes)

    assert network.step(tokens(network, 0), StepPlan(GRID, 1)).gram is None
    assert count(()) < count(NEWEST)
