"""Sums, means, extremes along axes: a pool where the channels stay, else the channels are lost. And what sorts or adds up along one."""

from collections.abc import Iterable

from torch.fx import Node

from ..walk import Flow, Walk, shape_of
from .elementwise import binary
from .rules import argument, register


@register("mean", "amax", "amin", "sum", "logsumexp", "prod", "any", "all", "argmax", "argmin", "nansum", "nanmean", "count_nonzero")
def mean(walk: Walk, node: Node) -> None:
    """Mean, sum, largest, smallest or its place over axes."""
    name = name_of(node)
    reduce(walk, node, argument(node, 1, "dim", None), bool(argument(node, 2, "keepdim", False)), f"{name} over channels")
    if name in ("any", "all", "argmax", "argmin"):
        walk.rows[-1].signed = False
    if name in ("logsumexp", "prod"):
        walk.rows[-1].signed = True


@register("max", "min", "median")
def extreme(walk: Walk, node: Node) -> None:
    """Largest or smallest of all, along an axis (with its places, which are not stored unless read), or of two tensors."""
    if len(node.args) > 1 and isinstance(node.args[1], Node):
        binary(walk, node)
        return
    reduce(walk, node, argument(node, 1, "dim", None), bool(argument(node, 2, "keepdim", False)), f"{name_of(node)} over channels")


@register("var", "std", "var_mean", "std_mean")
def spread(walk: Walk, node: Node) -> None:
    """Variance or deviation over axes, with or without the mean."""
    keep = bool(argument(node, 3, "keepdim", False))
    reduce(walk, node, argument(node, 1, "dim", None), keep, f"{name_of(node)} over channels")
    walk.rows[-1].signed = "mean" in name_of(node)


@register("linalg_vector_norm", "norm")
def vector_norm(walk: Walk, node: Node) -> None:
    """Length of the vectors along axes."""
    reduce(walk, node, argument(node, 2, "dim", None), bool(argument(node, 3, "keepdim", False)), "norm over channels")
    walk.rows[-1].signed = False


def name_of(node: Node) -> str:
    """Return the operator's name without its overload."""
    return str(node.target).split(".")[-2]


def reduce(walk: Walk, node: Node, dim: int | Iterable[int] | None, keep: bool, reason: str) -> None:
    """Emit a reduction over axes (all when none are given): a pool when the channel axis stays, else the channels are lost."""
    operand = walk.activations(node)[0]
    seen, rank = walk.flow(operand), len(shape_of(operand))
    assert seen
    given = (dim,) if isinstance(dim, int) else tuple(dim or ())
    axes = {axis % max(1, rank) for axis in (given or range(rank))}
    if seen.axis in axes:
        walk.coupling.freeze(seen.channels, reason)
        shape = shape_of(node) or (1,)
        walk.emit(node, "pool", operand, walk.fresh(shape[-1], reason), len(shape) - 1)
        return
    walk.emit(node, "pool", operand, seen.channels, seen.axis - (0 if keep else sum(axis < seen.axis for axis in axes))).keeps_zero = True


@register("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "sort", "topk", "argsort", "flip", "kthvalue")
def along_an_axis(walk: Walk, node: Node) -> None:
    """Values added up, put in order or turned round along an axis; along channels they are frozen."""
    operand, name = walk.activations(node)[0], name_of(node)
    seen, rank = walk.flow(operand), len(shape_of(operand))
    assert seen
    given = argument(node, 2, "dim", -1) if name in ("topk", "kthvalue") else argument(node, 1, "dims" if name == "flip" else "dim", -1)
    axes = {int(axis) % rank for axis in (given if isinstance(given, (list, tuple)) else (given,))}
    channels = seen.channels
    if seen.axis in axes:
        reason = f"{name} over channels"
        walk.coupling.freeze(channels, reason)
        channels = walk.fresh(shape_of(node)[seen.axis], reason)
    row = walk.emit(node, "copy", operand, channels, seen.axis)
    row.keeps_zero = row.moves = name == "flip"
    value = node.meta["val"]
    if isinstance(value, (tuple, list)):
        walk.flows[node] = [Flow((len(walk.rows) - 1,), seen.axes, channels, open=False) for _ in value]
