"""Union-find over channel groups: what is coupled, what is frozen, and the reasons that are told."""

from hypothesis import given
from hypothesis import strategies as st

from hwmodel.coupling import Coupling
from hwmodel.network import ChannelGroup


def test_groups_start_apart_and_free() -> None:
    coupling = Coupling()
    a, b = coupling.new(8), coupling.new(8)
    assert coupling.find(a) != coupling.find(b)
    assert not coupling.frozen(a)
    assert coupling.size(a) == 8


def test_unite_merges_what_lines_up_and_records_the_reason() -> None:
    coupling = Coupling()
    a, b, c, d = (coupling.new(size) for size in (8, 4, 8, 4))
    coupling.unite(((a, 1), (b, 2)), ((c, 1), (d, 2)), "add")
    assert coupling.find(a) == coupling.find(c)
    assert coupling.find(b) == coupling.find(d)
    assert coupling.find(a) != coupling.find(b)
    _, groups = coupling.resolve([("x", ((a, 1), (b, 2))), ("y", ((c, 1), (d, 2)))])
    assert groups == (ChannelGroup("x", 8, True, ("add",)), ChannelGroup("x#2", 4, True, ("add",)))


def test_unite_freezes_what_does_not_line_up() -> None:
    for first, second in (((8, 1), (4, 2)), ((8, 1), (8, 2))):
        coupling = Coupling()
        a, b = coupling.new(first[0]), coupling.new(second[0])
        coupling.unite(((a, first[1]),), ((b, second[1]),), "add")
        assert coupling.frozen(a)
        assert coupling.frozen(b)
        assert coupling.find(a) != coupling.find(b)
        assert coupling.resolve([("x", ((a, 1),))])[1][0].reasons == ("add of differently grouped channels",)


def test_one_frozen_member_freezes_all_and_keeps_every_reason_once() -> None:
    coupling = Coupling()
    a, b = coupling.new(8), coupling.new(8, "output of the network")
    coupling.note(((a, 1),), "depthwise")
    coupling.unite(((a, 1),), ((b, 1),), "add")
    coupling.unite(((b, 1),), ((a, 1),), "add")
    assert coupling.frozen(a)
    assert coupling.resolve([("x", ((b, 1),))])[1] == (ChannelGroup("x", 8, False, ("depthwise", "output of the network", "add")),)


def test_a_tensor_united_with_itself_changes_nothing() -> None:
    coupling = Coupling()
    a = coupling.new(8)
    coupling.unite(((a, 1),), ((a, 1),), "add")
    assert coupling.resolve([("x", ((a, 1),))])[1] == (ChannelGroup("x", 8, True, ()),)


def test_groups_are_named_after_their_first_writer_in_order() -> None:
    coupling = Coupling()
    a, b, c = (coupling.new(size) for size in (1, 2, 3))
    coupling.unite(((b, 1),), ((b, 1),), "add")
    names, groups = coupling.resolve([("late", ((c, 1),)), ("early", ((a, 1), (b, 1))), ("again", ((c, 1),))])
    assert [group.name for group in groups] == ["late", "early", "early#2"]
    assert names == {coupling.find(c): "late", coupling.find(a): "early", coupling.find(b): "early#2"}


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30), st.sets(st.integers(0, 11)))
def test_any_sequence_of_unions_gives_the_connected_components(pairs: list[tuple[int, int]], frozen: set[int]) -> None:
    coupling = Coupling()
    numbers = [coupling.new(5, "frozen" if i in frozen else None) for i in range(12)]
    component = {i: {i} for i in range(12)}
    for a, b in pairs:
        coupling.unite(((numbers[a], 1),), ((numbers[b], 1),), "add")
        merged = component[a] | component[b]
        component.update(dict.fromkeys(merged, merged))
    for a in range(12):
        assert {b for b in range(12) if coupling.find(b) == coupling.find(a)} == component[a]
        assert coupling.frozen(a) == bool(component[a] & frozen)
