"""One pass over an exported graph: which tensors are written to memory, by what, and how their channels hang together.

Every activation carries the axis of its channels (several when a reshape spread them, as attention does to its heads) and their
numbers: an add unites the numbers of its operands, a concatenation joins them, a flatten repeats them, a depthwise convolution
passes them on, and whatever cannot be followed freezes them (still costed, never pruned). An operator that only transforms
elements is fused into the row that writes its operand, as long as nobody else reads that operand; otherwise it is a row of its own.

Known special cases: the batch is read from the example, never from axis 0 (attention transposes it); an in-place operator
renames its operand for all later readers. One class, since all rules move the same state; the rules stand in `operators/`.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import FunctionSchema, Tensor
from torch.fx import Node

from .coupling import Channels, Coupling


@dataclass(frozen=True, eq=False)
class Flow:
    """What is known of one activation: the rows that store it, its channel axes in ascending order and the channels along them.

    `open`: it is the end of a chain with a single reader from the writer of its only row, so more can be fused into that row.
    """

    rows: tuple[int, ...]
    axes: tuple[int, ...]
    channels: Channels
    open: bool = True

    @property
    def axis(self) -> int:
        """The channel axis of a tensor that has one."""
        (axis,) = self.axes
        return axis


@dataclass
class Row:
    """A layer under construction; `writer` is the node whose value is stored (its flow tells the channel axis there).

    `moves`: its own operator writes only values that it read (a max-pool); `keeps_grid`: and so do all that are fused into it, `fused_operators`.
    `keeps_zero`: a channel of zeros stays zero.
    """

    name: str
    kind: str
    writer: Node
    inputs: tuple[int, ...] = ()
    second: int | None = None
    fused: list[int] = field(default_factory=list)
    weight: str | None = None
    weight_part: str = ""
    in_channels: int = 0
    out_channels: int = 0
    kernel: tuple[int, ...] = ()
    input_size: tuple[int, ...] = ()
    output_size: tuple[int, ...] = ()
    groups: int = 1
    reads: Channels = field(default_factory=lambda: np.zeros(0, np.int64))
    writes: Channels = field(default_factory=lambda: np.zeros(0, np.int64))
    signed: bool = True
    moves: bool = False
    keeps_grid: bool = True
    fused_operators: list[str] = field(default_factory=list)
    keeps_zero: bool = False
    filters_per_channel: int = 1
    steps: int = 1
    table_entries: int = 0
    second_parts: tuple[int, ...] = ()

    @property
    def keeps_width(self) -> bool:
        """Whether all that it writes is on the grid that it reads."""
        return self.moves and self.keeps_grid


class Walk:
    """State of the pass. Rules in `operators` read it through `flow` and `shape`, and write it through `emit`, `fuse` and `view`.

    `boxes`: tensors whose channels are spread over several axes. `selections`: tensors that are positions of the channel axis of
    another (a shuffle), whatever operators compute them.
    """

    def __init__(self, parameters: Mapping[Node, str], batch: int, values: Mapping[Node, Tensor]) -> None:
        self.parameters, self.values = parameters, values
        self.batch = batch
        self.coupling = Coupling()
        self.rows: list[Row] = []
        self.flows: dict[Node, Flow | list[Flow]] = {}
        self.shared_widths: list[tuple[int, ...]] = []
        self.boxes: dict[Node, Channels] = {}
        self.selections: dict[Node, tuple[Node, Channels]] = {}
        self.unknown: dict[str, int] = {}
        self.modelled = self.modelled_bytes = self.unknown_bytes = 0
        self._names: dict[str, int] = {}

    # ---- reading ----------------------------------------------------------------------------------------------------

    def flow(self, node: Any) -> Flow | None:
        """Return the flow of an activation, None for parameters and constants."""
        found = self.flows.get(node) if isinstance(node, Node) else None
        return found[0] if isinstance(found, list) else found

    def value(self, node: Any) -> Tensor | None:
        """Return the value of a constant operand, None when it is not known."""
        while isinstance(node, Node) and node.op == "call_function" and operator_name(node) in ("lift_fresh_copy", "detach"):
            node = node.args[0]
        return self.values.get(node) if isinstance(node, Node) else None

    def activations(self, node: Node) -> list[Node]:
        """Return the operands of a node that are activations, in order, repeated ones once."""
        return [operand for operand in node.all_input_nodes if operand in self.flows]

    def positions(self, shape: tuple[int, ...], *axes: int) -> tuple[int, ...]:
        """Return the sizes of the axes other than the channel axes, with the batch divided out of one that it is or is merged into.

        Where several qualify any will do: costs depend on the product alone.
        """
        rest, batch = [size for i, size in enumerate(shape) if i not in axes], self.batch
        whole = [i for i, size in enumerate(rest) if size == batch]
        merged = [i for i, size in enumerate(rest) if batch > 1 and size % batch == 0]
        for i in (*whole, *merged)[:1]:
            rest[i] //= batch
            return tuple(size for j, size in enumerate(rest) if j != i or size > 1)
        return tuple(rest)

    def extent(self, shape: tuple[int, ...], axes: tuple[int, ...], channels: Channels) -> tuple[int, tuple[int, ...]]:
        """Return the channels and positions of one sample; heads may share their axis with the batch, whose channels then recur."""
        count, rest = prod(shape[axis] for axis in axes), tuple(size for i, size in enumerate(shape) if i not in axes)
        size = len(channels) // self.batch
        recurs = (
            self.batch > 1
            and len(channels) == size * self.batch
            and bool((channels == np.concatenate([channels[:size]] * self.batch)).all())
        )
        return (count // self.batch, rest) if recurs and (axes[0] == 0 or self.batch not in rest) else (count, self.positions(shape, *axes))

    def weight(self, node: Any) -> dict[str, Any]:
        """Return as fields of a row the parameter that a weight operand is, or is computed from (a quantizer may stand between)."""
        parts: list[str] = []
        while isinstance(node, Node) and node not in self.parameters:
            if node in self.flows or not node.all_input_nodes:
                return {"weight": None}
            if operator_name(node) in ("getitem", "select", "slice", "narrow"):
                parts.append(f"{operator_name(node)}{node.args[1:]}")
            node = max(node.all_input_nodes, key=lambda operand: prod(shape_of(operand)))
        return {"weight": self.parameters.get(node) if isinstance(node, Node) else None, "weight_part": " of ".join(parts)}

    # ---- writing ----------------------------------------------------------------------------------------------------

    def name(self, wanted: str) -> str:
        """Return a name not used before."""
        count = self._names[wanted] = self._names.get(wanted, 0) + 1
        return wanted if count == 1 else f"{wanted}#{count}"

    def emit(self, node: Node, kind: str, operand: Node, channels: Channels, *axes: int, **geometry: Any) -> Row:
        """Add a row that reads `operand` and writes `node` with the given channels along `axes`."""
        read = self.flows[operand]
        assert isinstance(read, Flow)
        in_channels, input_size = self.extent(shape_of(operand), read.axes, read.channels)
        out_channels, output_size = self.extent(shape_of(node) or (1,), axes, channels)
        row = Row(
            name="", kind=kind, writer=node, inputs=read.rows, reads=read.channels, writes=channels,
            in_channels=in_channels, out_channels=out_channels, input_size=input_size, output_size=output_size,
            signed=any(self.rows[r].signed for r in read.rows),
        )  # fmt: skip
        row = replace(row, **geometry)
        wanted = row.weight.rsplit(".", 1)[0] if row.weight and "." in row.weight else row.weight or default_name(node)
        self.flows[node] = Flow((self.add(replace(row, name=row.name or wanted)),), axes, channels)
        if len(axes) > 1:
            self.boxes[node] = channels
        return self.rows[-1]

    def add(self, row: Row) -> int:
        """Add a finished row under a name not used before; return its index."""
        row.name = self.name(row.name)
        self.rows.append(row)
        return len(self.rows) - 1

    def view(self, node: Node, operand: Node, axes: tuple[int, ...] | None = None, channels: Channels | None = None) -> None:
        """Let `node` be the stored tensor of `operand` seen differently."""
        seen = self.flows[operand]
        assert isinstance(seen, Flow)
        axes, channels = seen.axes if axes is None else axes, seen.channels if channels is None else channels
        self.flows[node] = Flow(seen.rows, axes, channels, seen.open and len(operand.users) == 1)
        if len(axes) > 1:
            self.boxes[node] = channels

    def can_fuse(self, operand: Node) -> bool:
        """Return whether an element-wise reader of `operand` can be fused into the row that writes it."""
        seen = self.flow(operand)
        return bool(seen and seen.open and len(seen.rows) == 1 and len(operand.users) == 1 and self.rows[seen.rows[0]].kind != "input")

    def elementwise(self, node: Node, operand: Node, *, signed: bool, keeps_zero: bool, keeps_grid: bool = False) -> None:
        """Fuse an element-wise operator into the row before it, or give it a row of its own."""
        seen = self.flows[operand]
        assert isinstance(seen, Flow)
        if not self.can_fuse(operand):
            row = self.emit(node, "elementwise", operand, seen.channels, *seen.axes)
            row.signed, row.keeps_zero = signed, False
            return
        row = self.rows[seen.rows[0]]
        row.writer, row.signed = node, signed
        row.keeps_zero &= keeps_zero
        row.keeps_grid &= keeps_grid
        row.fused_operators.append(operator_name(node))
        self.flows[node] = Flow(seen.rows, seen.axes, seen.channels)

    # ---- channels ---------------------------------------------------------------------------------------------------

    def fresh(self, count: int, reason: str) -> Channels:
        """Return new channels of which none may be removed."""
        channels = self.coupling.new(count)
        self.coupling.freeze(channels, reason)
        return channels

    def hold(self, operand: Node, axis: int, reason: str) -> Flow:
        """Let nothing be removed along an axis of an operand: its lines are tied, or its channels frozen where it is their only axis."""
        seen = self.flow(operand)
        assert seen
        if axis not in seen.axes:
            return seen
        if len(seen.axes) == 1:
            self.coupling.freeze(seen.channels, reason)
            return seen
        place = seen.axes.index(axis)
        self.coupling.tie(seen.channels, place, reason)
        self.flows[operand] = found = replace(
            seen, axes=seen.axes[:place] + seen.axes[place + 1 :], channels=seen.channels.take([0], place).squeeze(place)
        )
        return found

    def one_axis(self, operand: Node) -> Flow:
        """Let channels be removed along one axis of an operand at the most, the first."""
        seen = self.flow(operand)
        assert seen
        while len(seen.axes) > 1:
            seen = self.hold(operand, seen.axes[-1], "reshape of channels")
        return seen

    def forget(self, operand: Node, axis: int, reason: str) -> Flow:
        """Freeze the channels of an operand that is read along another axis, and return how it is seen from then on."""
        seen = self.flow(operand)
        assert seen
        self.coupling.freeze(seen.channels, reason)
        self.flows[operand] = found = replace(seen, axes=(axis,), channels=self.fresh(shape_of(operand)[axis], reason))
        return found

    def lose(self, node: Node, operand: Node, reason: str) -> None:
        """Let `node` see `operand`, whose channels can no longer be followed."""
        seen = self.flow(operand)
        assert seen
        self.coupling.freeze(seen.channels, reason)
        axis = len(shape_of(node)) - 1
        self.view(node, operand, (axis,), self.fresh(shape_of(node)[axis], reason))


Rule = Callable[[Walk, Node], None]


def shape_of(node: Node) -> tuple[int, ...]:
    """Return the sizes of a node's (first) tensor as plain integers, also under a symbolic batch."""
    value = node.meta["val"]
    if isinstance(value, (tuple, list)):
        value = value[0]
    if not isinstance(value, Tensor):
        return ()
    return tuple(size.node.hint if isinstance(size, torch.SymInt) else int(size) for size in value.shape)


def operator_name(node: Node) -> str:
    """Return `conv2d` for aten::conv2d and `relu` for aten::relu_; other namespaces stay in front."""
    if node.target is operator.getitem:
        return "getitem"
    schema = getattr(node.target, "_schema", None)
    return getattr(node.target, "__name__", str(node.target)) if schema is None else schema_name(schema)


def schema_name(schema: FunctionSchema) -> str:
    """Return an operator's name as rules know it."""
    space, name = schema.name.split("::")
    return (name[:-1] if name.endswith("_") and not name.endswith("__") else name) if space == "aten" else f"{space}::{name}"


def module_path(node: Node) -> str:
    """Return the path of the innermost module that called the operator."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return stack[-1][0].split("@")[0] if stack else ""


def default_name(node: Node) -> str:
    """Return the module's path for an operator that is all its module does, else path and operator."""
    path, stack = module_path(node), list((node.meta.get("nn_module_stack") or {}).values())
    kind = str(stack[-1][1]).rsplit(".", 1)[-1].strip("'>").lower() if stack else ""
    alone = kind.replace("_", "") in operator_name(node).replace("_", "") or operator_name(node).replace("_", "") in kind
    return path if path and kind and alone else ".".join(filter(None, (path, operator_name(node))))
