"""Where the channels of a tensor are after it is seen differently: pure functions of shapes, channel axes and numbers.

`axes` are in ascending order and `channels` has one dimension for each of them.
"""

from collections.abc import Sequence

import numpy as np

from .coupling import Channels

Layout = tuple[tuple[int, ...], Channels]


def permuted(order: Sequence[int], axes: tuple[int, ...], channels: Channels) -> Layout:
    """Return the layout after a permutation: axis `order[i]` becomes axis `i`."""
    where = [order.index(axis) for axis in axes]
    by_place = np.argsort(where)
    return tuple(where[i] for i in by_place), channels.transpose(by_place)


def reshaped(old: tuple[int, ...], new: tuple[int, ...], axes: tuple[int, ...], channels: Channels) -> Layout | None:
    """Return the layout after a reshape, None when no axis holds the channels any more.

    The shapes fall into blocks of equal size. A block that holds channels is filled with their numbers and reshaped; an axis
    along which the numbers change is a channel axis of the result.
    """
    found: list[int] = []
    for old_axes, new_axes in blocks(old, new):
        inside = [axis for axis in axes if axis in old_axes]
        if not inside:
            continue
        start = len(found)  # dimensions of `channels` before the block
        spread = (old[axis] if axis in inside else 1 for axis in old_axes)
        before, after = channels.shape[:start], channels.shape[start + len(inside) :]
        filled = np.broadcast_to(channels.reshape((*before, *spread, *after)), (*before, *(old[a] for a in old_axes), *after))
        channels = filled.reshape((*before, *(new[a] for a in new_axes), *after))
        varying = [i for i in range(len(new_axes)) if (channels != channels.take([0], start + i)).any()]
        if not varying:  # one channel: the widest axis holds it
            varying = sorted(range(len(new_axes)), key=lambda i: -new[new_axes[i]])[:1]
        for i in reversed(range(len(new_axes))):
            if i not in varying:
                channels = channels.take([0], start + i).squeeze(start + i)
        found += [new_axes[i] for i in varying]
    return (tuple(found), channels) if found else None


def blocks(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[range, range]]:
    """Return the axes of both shapes in the smallest runs whose sizes multiply to the same number."""
    found, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        start_i, start_j = i, j
        left = right = 1
        if i < len(old):
            left, i = left * old[i], i + 1
        if j < len(new):
            right, j = right * new[j], j + 1
        while left != right:
            if left < right:
                left, i = left * old[i], i + 1
            else:
                right, j = right * new[j], j + 1
        found.append((range(start_i, i), range(start_j, j)))
    return found
