"""The table of rules, and what several rules share."""

from torch.fx import Node

from ..walk import Rule, Walk

MODELLED: dict[str, Rule] = {}
ZERO: dict[str, Rule] = {}
SPREAD: set[str] = set()
"""Operators whose rule takes channels that are spread over several axes; before any other rule they are held along all but one."""


def register(*names: str, zero: bool = False, spread: bool = False):  # type: ignore[no-untyped-def]
    """Return a decorator that makes a function `(walk, node) -> None` the rule of the named operators."""

    def add(rule: Rule) -> Rule:
        for name in names:
            (ZERO if zero else MODELLED)[name] = rule
            (SPREAD.add if spread else SPREAD.discard)(name)
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
