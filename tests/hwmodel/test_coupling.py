"""Coupled channels are the connected components of their ties; what every tensor holds alike is one group."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodel.coupling import Channels, Coupling, Groups
from hwmodel.layer import ChannelGroup


def resolved(coupling: Coupling, *tensors: Channels) -> Groups:
    return coupling.resolve((f"t{i}", tensor) for i, tensor in enumerate(tensors))


def test_channels_of_two_tensors_are_two_free_groups() -> None:
    coupling = Coupling()
    a, b = coupling.new(8), coupling.new(4)
    found = resolved(coupling, a, b)
    assert found.groups == (ChannelGroup("t0", 8, True), ChannelGroup("t1", 4, True))
    assert (found.group_of.tolist(), found.place_of.tolist()) == ([0] * 8 + [1] * 4, [*range(8), *range(4)])


def test_united_tensors_are_one_group_and_tell_the_reason_once() -> None:
    coupling = Coupling()
    a, b, c, d = (coupling.new(size) for size in (8, 4, 8, 4))
    for _ in range(2):
        coupling.unite(np.concatenate([a, b]), np.concatenate([c, d]), "add")
    found = resolved(coupling, np.concatenate([a, b]), np.concatenate([c, d]), a)
    assert found.groups == (ChannelGroup("t0", 8, True, ("add",)), ChannelGroup("t0#2", 4, True, ("add",)))
    assert found.pieces(np.concatenate([c, d]), 12) == (("t0", 1), ("t0#2", 1))


def test_one_frozen_channel_freezes_what_it_is_tied_to_and_no_more() -> None:
    coupling = Coupling()
    a, b = coupling.new(4), coupling.new(4)
    coupling.freeze(b[:2], "output of the network")
    coupling.unite(a, b, "add")
    assert resolved(coupling, a).groups == (
        ChannelGroup("t0", 2, False, ("output of the network", "add")),
        ChannelGroup("t0#2", 2, True, ("add",)),
    )


def test_a_tensor_united_with_itself_changes_nothing() -> None:
    coupling = Coupling()
    a = coupling.new(8)
    coupling.unite(a, a.copy(), "add")
    assert resolved(coupling, a).groups == (ChannelGroup("t0", 8, True),)


def test_groups_are_told_apart_by_the_tensors_that_hold_them_and_how_often() -> None:
    coupling = Coupling()
    a = coupling.new(6)
    found = resolved(coupling, a, a[:2], np.repeat(a[2:4], 3))
    assert [(group.name, group.channels) for group in found.groups] == [("t0", 2), ("t0#2", 2), ("t0#3", 2)]
    assert found.pieces(np.repeat(a[2:4], 3), 6) == (("t0#2", 3),)
    assert found.pieces(a, 60) == (("t0", 10), ("t0#2", 10), ("t0#3", 10))  # six numbers stand for sixty channels


def test_parts_are_groups_of_their_own() -> None:
    coupling = Coupling()
    a = coupling.new(6)
    coupling.part(a[:4])
    assert [group.channels for group in resolved(coupling, a).groups] == [4, 2]


def test_tied_lines_go_together() -> None:
    coupling = Coupling()
    a = coupling.new(6).reshape(2, 3)
    coupling.tie(a, 0, "grouped convolution")
    found = resolved(coupling, a)
    assert found.groups == (ChannelGroup("t0", 3, True, ("grouped convolution",)),)
    assert found.place_of.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(("tied", "units"), [(None, 2), (0, 3), (1, 2)])
def test_a_box_loses_whole_lines(tied: int | None, units: int) -> None:
    coupling = Coupling()
    a = coupling.new(6).reshape(2, 3)
    if tied is not None:
        coupling.tie(a, tied, "attention head")
    coupling.box(a)
    coupling.box(a.T)
    assert [group.channels for group in resolved(coupling, a).groups] == [units]


def test_a_frozen_box_stays_as_it_is() -> None:
    coupling = Coupling()
    a = coupling.new(6).reshape(2, 3)
    coupling.freeze(a, "matrix product")
    coupling.box(a)
    assert resolved(coupling, a).groups == (ChannelGroup("t0", 6, False, ("matrix product",)),)


def test_channels_that_no_tensor_holds_have_no_group() -> None:
    coupling = Coupling()
    a, b = coupling.new(2), coupling.new(3)
    assert resolved(coupling, b).group_of.tolist() == [-1, -1, 0, 0, 0]
    assert resolved(coupling).groups == ()
    assert a.tolist() == [0, 1]


def by_hand(pairs: list[tuple[int, int]], frozen: set[int], tensors: list[list[int]], count: int) -> dict[frozenset[int], bool]:
    """Groups as sets of channels, with whether each may be pruned: merge sets one pair at a time, then compare signatures."""
    component = {i: {i} for i in range(count)}
    for a, b in pairs:
        merged = component[a] | component[b]
        component.update(dict.fromkeys(merged, merged))
    signature = {}
    for i in range(count):
        held = tuple(sum(tensor.count(j) for j in component[i]) for tensor in tensors)
        signature[i] = (bool(component[i] & frozen), held)
    alike: dict[tuple[bool, tuple[int, ...]], set[int]] = {}
    for i, found in signature.items():
        if any(found[1]):
            alike.setdefault(found, set()).add(i)
    return {frozenset(members): not found[0] for found, members in alike.items()}


CHANNEL = st.integers(0, 11)


@given(
    st.lists(st.tuples(CHANNEL, CHANNEL), max_size=20), st.sets(CHANNEL), st.lists(st.lists(CHANNEL, min_size=1, max_size=8), max_size=4)
)
def test_groups_equal_a_slow_oracle(pairs: list[tuple[int, int]], frozen: set[int], tensors: list[list[int]]) -> None:
    coupling = Coupling()
    channels = coupling.new(12)
    for a, b in pairs:
        coupling.unite(channels[[a]], channels[[b]], "add")
    if frozen:
        coupling.freeze(channels[sorted(frozen)], "frozen")
    found = resolved(coupling, *(channels[tensor] for tensor in tensors))
    groups = {frozenset((found.group_of == g).nonzero()[0].tolist()): group.prunable for g, group in enumerate(found.groups)}
    assert groups == by_hand(pairs, frozen, tensors, 12)
