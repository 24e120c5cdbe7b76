"""Where channels are after views: followed on numbers, and equal to what torch does to a tensor that holds them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwmodel.layout import blocks, permuted, reshaped


@pytest.mark.parametrize(
    ("old", "new", "axes", "found"),
    [
        ((2, 6, 4, 4), (2, 96), (1,), ((1,), np.repeat(np.arange(6), 16))),
        ((2, 5, 6), (2, 5, 2, 3), (2,), ((2, 3), np.arange(6).reshape(2, 3))),
        ((2, 6, 8, 8), (2, 6, 64), (1,), ((1,), np.arange(6))),
        ((2, 6), (2, 6, 1, 1), (1,), ((1,), np.arange(6))),
        ((2, 5, 6), (2, 30), (2,), ((1,), np.tile(np.arange(6), 5))),
        ((2, 1, 8, 8), (2, 64), (1,), ((1,), np.zeros(64))),
        ((2, 3, 5), (6, 5), (1,), ((0,), np.tile(np.arange(3), 2))),
    ],
)
def test_reshape(old, new, axes, found) -> None:  # type: ignore[no-untyped-def]
    result = reshaped(old, new, axes, np.arange(old[axes[0]]))
    assert result is not None
    assert result[0] == found[0]
    assert np.array_equal(result[1], found[1])


def test_a_squeezed_channel_axis_is_gone() -> None:
    assert reshaped((2, 1), (2,), (1,), np.zeros(1, np.int64)) is None


def spread(shape: tuple[int, ...], axes: tuple[int, ...], channels: np.ndarray) -> torch.Tensor:
    """A tensor that holds at every place the number of its channel."""
    view = [shape[axis] if axis in axes else 1 for axis in range(len(shape))]
    return torch.from_numpy(channels.reshape(view).copy()).expand(shape)


@given(st.lists(st.integers(1, 4), min_size=2, max_size=4), st.data())
def test_a_chain_of_views_equals_torch(shape: list[int], data: st.DataObject) -> None:
    axes: tuple[int, ...] = (data.draw(st.integers(0, len(shape) - 1)),)
    channels = np.arange(shape[axes[0]])
    tensor = spread(tuple(shape), axes, channels)
    for _ in range(3):
        old = tuple(tensor.shape)
        if data.draw(st.booleans()):
            order = data.draw(st.permutations(range(len(old))))
            tensor, (axes, channels) = tensor.permute(order), permuted(order, axes, channels)
        else:
            new = [1]
            for size in old:  # any way of splitting and merging the sizes
                factor = data.draw(st.sampled_from([f for f in range(1, size + 1) if size % f == 0]))
                new[-1] *= factor
                new.append(size // factor)
            tensor, found = tensor.reshape(new), reshaped(old, tuple(new), axes, channels)
            if found is None:
                return
            axes, channels = found
        assert list(axes) == sorted(axes)
        assert torch.equal(tensor, spread(tuple(tensor.shape), axes, channels))


@given(st.lists(st.integers(1, 5), max_size=5), st.lists(st.integers(1, 5), max_size=5))
def test_blocks_multiply_to_the_same_number(first: list[int], second: list[int]) -> None:
    old, new = (*first, int(np.prod(second))), (int(np.prod(first)), *second)
    found = blocks(old, new)
    assert [axis for run, _ in found for axis in run] == list(range(len(old)))
    assert [axis for _, run in found for axis in run] == list(range(len(new)))
    assert all(np.prod([old[a] for a in left]) == np.prod([new[a] for a in right]) for left, right in found)
