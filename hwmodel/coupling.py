"""Which channels can only be removed together.

Channels are numbered through the whole network, so the channel axis of a tensor is an array of numbers: a concatenation joins
arrays, a split cuts them, a shuffle permutes them, a flatten repeats every number. Rules record what ties numbers together and
what freezes them, each with its reason. At the end the connected components of the ties are the units that can be removed, and
units that every tensor holds alike form a group.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .layer import ChannelGroup, Pieces

Channels = NDArray[np.int64]
"""Numbers of the channels at the positions of one axis, or of several axes when a reshape spread them."""


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of a network; for every channel number its group (-1 when no tensor holds it) and its place in it."""

    groups: tuple[ChannelGroup, ...]
    group_of: NDArray[np.int64]
    place_of: NDArray[np.int64]

    def pieces(self, channels: Channels, count: int) -> Pieces:
        """Return `(group, repeat)` of a tensor with `count` channels whose numbers stand in `channels`, in order of appearance."""
        found, first, times = np.unique(self.group_of[channels.ravel()], return_index=True, return_counts=True)
        order = first.argsort()
        return tuple(
            (self.groups[g].name, int(n) * count // (channels.size * self.groups[g].channels))
            for g, n in zip(found[order], times[order], strict=True)
        )


class Coupling:
    """Channel numbers under construction."""

    def __init__(self) -> None:
        self._count = 0
        self._ties: list[tuple[Channels, Channels]] = []
        self._frozen: list[Channels] = []
        self._notes: list[tuple[Channels, str]] = []
        self._parts: list[Channels] = []
        self._boxes: list[Channels] = []

    def new(self, channels: int) -> Channels:
        """Return the numbers of new channels."""
        self._count += channels
        return np.arange(self._count - channels, self._count)

    def note(self, channels: Channels, reason: str) -> None:
        """Record a reason for coupling."""
        self._notes.append((channels.ravel(), reason))

    def freeze(self, channels: Channels, reason: str) -> None:
        """Forbid the removal of any of these channels."""
        self._frozen.append(channels.ravel())
        self.note(channels, reason)

    def unite(self, first: Channels, second: Channels, reason: str) -> None:
        """Couple two tensors channel by channel."""
        if first is second or (first == second).all():
            return
        self._ties.append((first.ravel(), second.ravel()))
        self.note(first, reason)

    def tie(self, channels: Channels, axis: int, reason: str) -> None:
        """Couple all channels along an axis, those of each of its lines with one another."""
        first = np.broadcast_to(channels.take([0], axis), channels.shape)
        self.unite(first, channels, reason)

    def part(self, channels: Channels) -> None:
        """Keep these channels in groups of their own, so that no removal empties the tensor that they make up."""
        self._parts.append(channels.ravel())

    def box(self, channels: Channels) -> None:
        """Let only whole lines of channels spread over several axes be removed: what stays must be a box again."""
        self._boxes.append(channels)

    def _units(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the unit of every channel, numbered in the order of their first channels, and whether each unit is frozen."""
        unit = np.arange(self._count)
        if self._ties:
            first, second = (np.concatenate(side) for side in zip(*self._ties, strict=True))
            edges = coo_array((np.ones(len(first), bool), (first, second)), shape=(self._count, self._count))
            _, seen, component = np.unique(connected_components(edges, directed=False)[1], return_index=True, return_inverse=True)
            unit = seen.argsort().argsort()[component]
        frozen = np.zeros(self._count, bool)
        for channels in self._frozen:
            frozen[unit[channels]] = True
        return unit, frozen

    def resolve(self, tensors: Iterable[tuple[str, Channels]]) -> Groups:
        """Return the groups, named after the first of the named tensors that holds them, in that order."""
        tensors = list(tensors)
        unit, frozen = self._units()
        for channels in self._boxes:
            if not frozen[unit[channels]].all() and not one_axis_decides(unit[channels]):
                for axis in range(1, channels.ndim):
                    self.tie(channels, axis, "reshape of channels")
                unit, frozen = self._units()

        kind, kinds = frozen.astype(np.int64), 2
        for channels in (*(channels for _, channels in tensors), *self._parts):
            kinds += refine(kind, unit[channels.ravel()], kinds)
        names: dict[int, str] = {}
        for tensor, channels in tensors:
            held, first = np.unique(kind[unit[channels.ravel()]], return_index=True)
            for each in held[first.argsort()].tolist():
                if each not in names:
                    taken = sum(name == tensor or name.startswith(f"{tensor}#") for name in names.values())
                    names[each] = tensor if not taken else f"{tensor}#{taken + 1}"
        number = np.full(kinds, -1)
        number[list(names)] = range(len(names))
        group = number[kind]  # of every unit
        place = np.zeros(self._count, np.int64)
        reasons: list[list[str]] = [[] for _ in names]
        for channels, reason in self._notes:
            for g in set(group[unit[channels]].tolist()) - {-1}:
                if reason not in reasons[g]:
                    reasons[g].append(reason)
        found = []
        for g, name in enumerate(names.values()):
            units = (group == g).nonzero()[0]
            place[units] = range(len(units))
            found.append(ChannelGroup(name, len(units), not frozen[units[0]], tuple(reasons[g])))
        return Groups(tuple(found), group[unit], place[unit])


def one_axis_decides(units: NDArray[np.int64]) -> bool:
    """Return whether the units vary along one axis alone, so that removing any of them removes whole lines."""
    return sum(bool((units != units.take([0], axis)).any()) for axis in range(units.ndim)) <= 1


def refine(kind: NDArray[np.int64], units: NDArray[np.int64], fresh: int) -> int:
    """Give new kinds, counted from `fresh`, to units of one kind that a tensor holds a different number of times; return how many."""
    touched, times = np.unique(units, return_counts=True)
    found, which = np.unique(np.stack([kind[touched], times]), axis=1, return_inverse=True)
    kind[touched] = fresh + which.ravel()
    return found.shape[1]
