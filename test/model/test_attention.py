"""Which attention kernel is taken, and that the answer stays the same."""

import pytest
import torch
from torch.nn.attention import SDPBackend
from torch.nn.functional import scaled_dot_product_attention

from page4d_ros.model.attention import KERNELS, by_speed, preferring, quickest

CPU = torch.device('cpu')


def test_the_quickest_comes_first_and_what_cannot_run_never():
    seconds = dict(zip(KERNELS, (3.0, 1.0, 2.0), strict=False))

    def measure(kernel):
        if seconds[kernel] == 3.0:
            raise RuntimeError('no kernel for this type')
        return seconds[kernel]

    order = by_speed(measure)
    assert order[0] is SDPBackend.EFFICIENT_ATTENTION
    assert order[-1] is SDPBackend.MATH
    assert SDPBackend.FLASH_ATTENTION not in order


def test_where_nothing_runs_the_plain_one_is_left():
    def fails(_kernel):
        raise torch.OutOfMemoryError

    assert by_speed(fails) == [SDPBackend.MATH]


def test_on_a_cpu_torch_chooses():
    assert quickest((1, 2, 8, 16), torch.float32, CPU) == []


@pytest.mark.parametrize('masked', [False, True])
def test_preferring_changes_no_answer(masked):
    q, k, v = torch.randn(3, 1, 2, 40, 16, generator=torch.Generator().manual_seed(0)).double()
    mask = torch.ones(1, 1, 1, 40, dtype=torch.bool) if masked else None
    wanted = scaled_dot_product_attention(q, k, v, attn_mask=mask)
    for order in ([], [SDPBackend.MATH], [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
        with preferring(order):
            found = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        torch.testing.assert_close(found, wanted)
