"""From a checked ONNX graph to steps: shape arithmetic folded to constants, weights dequantized, products brought to torch's form.

The graph is run once on the meta device, so that every shape is known and no activation is computed. One pass over
one state, hence one file; what each operator computes stands in `operators.py`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from . import operators, windows  # noqa: F401  (their rules register themselves)
from .grids import QUANTIZERS, Grid, bits_between, dequantize, grid_of, integer_range
from .operands import RULES
from .reading import array, attributes

KEEPS_GRID = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Slice", "Split", "Gather", "Expand", "Relu")
HOST = ("Resize", "Upsample", "Pad", "Clip")
WEIGHTED = ("Linear", "Conv", "ConvTranspose", "BatchNormalization", "LayerNormalization", "PRelu")
INTEGER_TYPES = {2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 12: "uint32"}  # of TensorProto
OTHER = (*QUANTIZERS, "DequantizeLinear", "Constant", "Shape", "Size")


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor known before the network runs: the initializer it stems from, and its width when it lies on a grid."""

    value: Tensor
    name: str
    bits: float | None = None
    integer_type: Any = None

    def stored(self, op: str) -> bool:
        """Return whether a step keeps it as a parameter; other constants are numbers of the step."""
        return self.value.is_floating_point() and op not in HOST and (self.value.numel() > 1 or op in WEIGHTED)


@dataclass
class Step:
    """One call: operands are names of activations, constants, or None where left out."""

    op: str
    name: str
    operands: list[str | Constant | None]
    attributes: dict[str, Any]
    outputs: list[str]
    grid: Grid | None = None


@dataclass(frozen=True)
class Steps:
    """The whole network as calls in order; `inputs` and `outputs` are names of activations."""

    calls: list[Step]
    inputs: list[str]
    outputs: list[str]


def unsupported(graph: Any) -> None:
    """Refuse operators without a rule, all in one line."""
    missing = Counter(node.op_type for node in graph.node if node.op_type not in RULES and node.op_type not in OTHER)
    if missing:
        listed = ", ".join(f"{name} (x{count})" for name, count in sorted(missing.items()))
        raise InputError(f"no rule for the ONNX operators {listed}; write the model without them")


def build(model: Any, folder: Path, shapes: Mapping[str, tuple[tuple[int, ...], Any]]) -> Steps:
    """Return the steps of a graph. **Errors**: InputError for operators or forms of them that have no rule."""
    unsupported(model.graph)
    builder = _Builder(model, folder, shapes)
    for node in model.graph.node:
        try:
            builder.node(node)
        except InputError as error:
            raise InputError(f"node {node.name or node.output[0]}: {error}") from error
        except (RuntimeError, IndexError, ValueError, TypeError, KeyError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(f"node {node.name or node.output[0]} ({node.op_type}) cannot be read: {reason}") from error
    outputs = [builder.alias.get(value.name, value.name) for value in model.graph.output]
    constant = [name for name in outputs if isinstance(builder.values[name], Constant)]
    if constant:
        raise InputError(f"outputs {', '.join(constant)} do not depend on an input")
    return Steps(builder.steps, list(shapes), outputs)


class _Builder:
    def __init__(self, model: Any, folder: Path, shapes: Mapping[str, tuple[tuple[int, ...], Any]]) -> None:
        self.steps: list[Step] = []
        self.alias: dict[str, str] = {}
        self.values: dict[str, Constant | Tensor] = {}
        self.readers = Counter(name for node in model.graph.node for name in node.input)
        self.readers.update(value.name for value in model.graph.output)
        self.rounded: dict[str, Step] = {}
        self.quantized = Counter(node.input[0] for node in model.graph.node if node.op_type in QUANTIZERS)
        self.pending = {each.name: each for each in model.graph.initializer}
        self.folder = folder
        for name, (shape, dtype) in shapes.items():
            self.values[name] = torch.empty(shape, dtype=torch.from_numpy(np.zeros(1, dtype)).dtype, device="meta")
        self.batch = next((shape[0] for shape, _ in shapes.values() if len(shape) > 1), 1)

    def value(self, name: str) -> Constant | Tensor | None:
        """Return what is known of an operand; an initializer is read when first asked for."""
        if not name:
            return None
        name = self.alias.get(name, name)
        if name not in self.values:
            if name not in self.pending:
                raise InputError(f"operand {name!r} is written by no node; the file is not a valid model")
            proto = self.pending.pop(name)
            kind = {21: "uint4", 22: "int4"}.get(proto.data_type)
            found = array(proto, self.folder)
            self.values[name] = Constant(torch.from_numpy(found), name, integer_type=kind or found.dtype)
        return self.values[name]

    def node(self, node: Any) -> None:
        """Fold a node to a constant, or append its step."""
        op, a, outputs = node.op_type, attributes(node), list(node.output)
        operands = [self.value(name) for name in node.input]
        if op == "Constant":
            raw = next(value for key, value in a.items() if key != "outputs")
            values = np.array(raw)
            if not isinstance(raw, np.ndarray) and values.dtype == np.float64:
                values = values.astype(np.float32)  # value_float and value_floats
            self.values[outputs[0]] = Constant(torch.from_numpy(values), outputs[0], integer_type=values.dtype)
        elif op in ("Shape", "Size"):
            shape = list((operands[0].value if isinstance(operands[0], Constant) else operands[0]).shape)  # type: ignore[union-attr]
            sizes = shape[a.get("start", 0) : a.get("end", len(shape))] if op == "Shape" else int(np.prod(shape))
            self.values[outputs[0]] = Constant(torch.tensor(sizes, dtype=torch.int64), outputs[0])
        elif op in QUANTIZERS:
            self.quantize(node, op, a, operands)
        elif op == "DequantizeLinear":
            self.dequantize(node, a, operands)
        elif op in ("Clip", "Cast") and self.limit(node, op, a, operands):
            pass
        elif all(each is None or isinstance(each, Constant) for each in operands):
            self.fold(op, a, operands, outputs)  # type: ignore[arg-type]
        else:
            self.append(op, node.name or outputs[0], self.named(node, operands), a, outputs)

    def named(self, node: Any, operands: list[Any]) -> list[str | Constant | None]:
        """Return operands with activations by name."""
        pairs = zip(node.input, operands, strict=True)
        return [each if each is None or isinstance(each, Constant) else self.alias.get(name, name) for name, each in pairs]

    def fold(self, op: str, a: dict[str, Any], operands: list[Constant | None], outputs: list[str]) -> None:
        """Compute a node of constants."""
        host = [
            None if each is None else each.value if each.value.is_floating_point() and op not in HOST else each.value.numpy()
            for each in operands
        ]
        result = RULES[op](host, a)
        source = next((each for each in operands if each is not None), None)
        for name, value in zip(outputs, result if isinstance(result, tuple) else (result,), strict=False):
            keeps = source is not None and value.is_floating_point() and source.value.is_floating_point()
            bits = source.bits if source is not None and keeps and op in KEEPS_GRID else None
            origin = source.name if source is not None and keeps and source.value.numel() > 1 else name
            self.values[name] = Constant(torch.as_tensor(value), origin, bits)

    def append(self, op: str, name: str, operands: list[str | Constant | None], a: dict[str, Any], outputs: list[str]) -> None:
        """Add a step, in torch's form, and run it on the meta device."""
        if op == "MatMul" and isinstance(operands[1], Constant) and operands[1].value.dim() == 2:
            op, operands = "Linear", [operands[0], replace(operands[1], value=operands[1].value.t())]
        elif op == "Gemm" and isinstance(operands[1], Constant) and not a.get("transA"):
            bias = operands[2] if len(operands) > 2 else None
            if a.get("alpha", 1.0) == 1 and a.get("beta", 1.0) == 1 and (bias is None or isinstance(bias, Constant)):
                matrix = operands[1] if a.get("transB") else replace(operands[1], value=operands[1].value.t())
                if isinstance(bias, Constant):
                    bias = replace(bias, value=bias.value.expand(1, matrix.value.shape[0]).reshape(-1))
                op, operands = "Linear", [operands[0], matrix, bias]
        elif op == "Reshape" and isinstance(operands[1], Constant) and isinstance(operands[0], str):
            operands[1] = self.free_batch(operands[1], self.values[operands[0]], bool(a.get("allowzero")))
        step = Step(op, name, operands, a, [output for output in outputs if output])
        host = [
            None if each is None else self.values[each] if isinstance(each, str)
            else each.value.to("meta") if each.stored(op) else each.value.numpy()
            for each in operands
        ]  # fmt: skip
        result = RULES[op](host, a)
        self.values.update(zip(step.outputs, result if isinstance(result, tuple) else (result,), strict=False))
        self.steps.append(step)

    def free_batch(self, sizes: Constant, operand: Any, allowzero: bool) -> Constant:
        """Let a reshape that keeps the first axis copy its size (0 in ONNX), so that the module takes any batch."""
        target, shape = sizes.value.tolist(), list(operand.shape)
        if target and shape and not allowzero and target[0] in (shape[0], -1) and target[0] != 0 and self.batch == shape[0]:
            rest = int(np.prod(shape[1:]))
            if target[0] == shape[0] or (-1 not in target[1:] and int(np.prod(target[1:])) == rest):
                return replace(sizes, value=torch.tensor([0, *target[1:]]))
        return sizes

    def quantize(self, node: Any, op: str, a: dict[str, Any], operands: list[Any]) -> None:
        """Round a constant now; mark an activation with a step that rounds it."""
        x, *rest = operands
        dtype: Any = rest[1].integer_type if len(rest) > 1 and isinstance(rest[1], Constant) else "uint8"
        if a.get("output_dtype"):
            dtype = {2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 21: "uint4", 22: "int4"}.get(a["output_dtype"], "float8")
        shape = (x.value if isinstance(x, Constant) else x).shape
        grid = grid_of(op, a, [each.value if isinstance(each, Constant) else None for each in rest], len(shape), dtype)
        if isinstance(x, Constant):
            self.values[node.output[0]] = Constant(grid(x.value), x.name, grid.bits)
            return
        a["alone"] = self.readers[node.input[0]] > self.quantized[node.input[0]]
        source, output = self.alias.get(node.input[0], node.input[0]), node.output[0]
        self.values[output] = torch.empty(shape, device="meta")
        self.steps.append(Step("Quantize", node.name or output, [source], a, [output], grid))
        if op == "QuantizeLinear":
            self.rounded[output] = self.steps[-1]

    def limit(self, node: Any, op: str, a: dict[str, Any], operands: list[Any]) -> bool:
        """Narrow integers between their quantizer and DequantizeLinear: a Clip to fewer values is a narrower width (no type has 5 bits).

        Return whether the node is one of these; a Cast between integer types there changes nothing.
        """
        x, (source, output) = operands[0], (node.input[0], node.output[0])
        step = self.rounded.get(source)
        stored = isinstance(x, Constant) and x.integer_type is not None and not x.value.is_floating_point()
        if step is None and not stored:
            return False
        if op == "Cast":
            if a["to"] not in INTEGER_TYPES:
                return False
            limits: tuple[int, int] | None = None
        else:
            ends = [int(each.value.item()) for each in operands[1:3] if isinstance(each, Constant)]
            if len(ends) < 2:
                return False
            limits = ends[0], ends[1]
        if isinstance(x, Constant):
            if limits is None:
                self.values[output] = replace(x, integer_type=INTEGER_TYPES[a["to"]])
            else:
                self.values[output] = replace(x, value=x.value.clamp(*limits), bits=bits_between(*limits))
            return True
        assert step is not None
        assert step.grid is not None
        if limits is not None:
            low, high = max(limits[0], step.grid.low), min(limits[1], step.grid.high)
            step.grid = replace(step.grid, low=low, high=high, bits=min(step.grid.bits, bits_between(low, high)))
        self.alias[output], self.rounded[output] = self.alias.get(source, source), step
        return True

    def dequantize(self, node: Any, a: dict[str, Any], operands: list[Any]) -> None:
        """Turn stored integers into real values; an activation has been rounded by its quantizer already."""
        x, scale = operands[0], operands[1]
        zero = operands[2] if len(operands) > 2 else None
        if isinstance(x, Constant) and not x.value.is_floating_point():
            if not isinstance(scale, Constant) or not (zero is None or isinstance(zero, Constant)):
                raise InputError("DequantizeLinear with a computed scale is not read; it must be a constant")
            bits = x.bits if x.bits is not None else integer_range(x.integer_type)[0]
            values = dequantize(x.value, scale.value, None if zero is None else zero.value, a)
            self.values[node.output[0]] = Constant(values, x.name, bits)
        elif isinstance(x, Constant):
            self.values[node.output[0]] = x
        elif node.input[0] in self.values and not x.is_floating_point():
            raise InputError(f"input {node.input[0]} holds integers; give the network real inputs and quantize them in it")
        else:
            self.alias[node.output[0]] = self.alias.get(node.input[0], node.input[0])
