"""The table of rules, and what several rules share."""

from torch.fx import Node

from ..walk import Rule, Walk, shape_of

MODELLED: dict[str, Rule] = {}
ZERO: dict[str, Rule] = {}


def register(*names: str, zero: bool = False):  # type: ignore[no-untyped-def]
    """Return a decorator that makes a function `(walk, node) -> None` the rule of the named operators."""

    def add(rule: Rule) -> Rule:
        for name in names:
            (ZERO if zero else MODELLED)[name] = rule
        return rule

    return add


def argument(node: Node, index: int, name: str, default):  # type: ignore[no-untyped-def]
    """Return a positional or keyword argument of an aten call."""
    return node.args[index] if len(node.args) > index else node.kwargs.get(name, default)


def rows_of(walk: Walk, node: Node) -> tuple[int, ...]:
    """Return the rows that store an activation."""
    seen = walk.flow(node)
    assert seen
    return seen.rows


def freeze_at_constants(walk: Walk, node: Node) -> None:
    """Freeze the channels of a result that meet a constant computed in the graph: a parameter can be cut, what is computed cannot."""
    seen, rank = walk.flow(node), len(shape_of(node))
    assert seen
    for constant in node.all_input_nodes:
        if constant.op != "call_function" or constant in walk.flows:
            continue
        shape = shape_of(constant)
        axis = seen.axis - (rank - len(shape))
        if axis >= 0 and shape[axis] > 1:
            walk.coupling.freeze(seen.pieces, "constant computed over channels")
