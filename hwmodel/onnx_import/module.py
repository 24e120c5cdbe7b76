"""The steps of an ONNX graph as a torch module whose parameters are the initializers, under their own names."""

import re
from typing import Any

import torch
from torch import Tensor, nn

from .build import Constant, Step, Steps
from .grids import Grid
from .operands import RULES


class Call(nn.Module):
    """One ONNX node. The operands that are no activations are numbers, or paths of parameters of the whole module."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.op, self.attributes = step.op, step.attributes

    def forward(self, *operands: Any) -> Any:
        """Compute the node."""
        return RULES[self.op](list(operands), self.attributes)


class Quantize(nn.Module):
    """A quantizer of an activation: a mark on the tensor that is stored, or the rounding itself."""

    def __init__(self, grid: Grid, rounds: bool) -> None:
        super().__init__()
        self.grid, self.rounds = grid, rounds

    def forward(self, x: Tensor) -> Tensor:
        """Return the tensor, rounded when asked for."""
        return self.grid(x) if self.rounds else x.clone()


class OnnxModule(nn.Module):
    """Runs the steps in order.

    `weight_bits` maps parameters that the file stores on a grid to their width, `quantizers` paths of quantizers likewise.
    """

    def __init__(self, steps: Steps, *, fake_quantize: bool) -> None:
        super().__init__()
        self.weight_bits: dict[str, float] = {}
        self.quantizers: dict[str, float] = {}
        self._plan: list[tuple[str, list[tuple[str, Any]], list[str]]] = []
        self._inputs, self._outputs = steps.inputs, steps.outputs
        self._names: set[str] = set()
        self._stored: dict[tuple[Any, ...], str] = {}
        for step in steps.calls:
            operands = [self._operand(step, i) for i in range(len(step.operands))]
            call: nn.Module
            if step.grid is not None:
                call = Quantize(step.grid, fake_quantize or bool(step.attributes["alone"]))
            else:
                # the type's name is what layers are called by, as `conv` in an ordinary model
                call = type(step.op, (Call,), {})(step)
            path = self._put(step.name, call)
            if step.grid is not None:
                self.quantizers[path] = step.grid.bits
            self._plan.append((path, operands, step.outputs))

    def _operand(self, step: Step, index: int) -> tuple[str, Any]:
        each = step.operands[index]
        if not isinstance(each, Constant):
            return ("none", None) if each is None else ("activation", each)
        if not each.stored(step.op):
            return "number", each.value.numpy()
        value = each.value
        buffer = step.op == "BatchNormalization" and index > 2  # statistics; exporters store equal tensors once, whatever they mean
        identity = (value.data_ptr(), tuple(value.shape), tuple(value.stride()), buffer)
        if identity not in self._stored:
            self._stored[identity] = self._put(each.name, value if buffer else nn.Parameter(value))
        name = self._stored[identity]
        if each.bits is not None:
            self.weight_bits[name] = each.bits
        return "parameter", name

    def _put(self, name: str, member: Any) -> str:
        """Register a member under a name with dots, in plain modules nested as the dots say; return its path."""
        words = [re.sub(r"\W", "_", word) for word in re.split(r"[./]+", name) if word] or ["node"]
        path = ".".join(words)
        while path in self._names or any(taken.startswith(f"{path}.") for taken in self._names) or hasattr(nn.Module, words[-1]):
            words[-1] += "_"
            path = ".".join(words)
        holder: nn.Module = self
        for i, word in enumerate(words[:-1]):
            prefix = ".".join(words[: i + 1])
            if prefix in self._names or (hasattr(holder, word) and word not in holder._modules):
                return self._put("_".join(words), member)
            if word not in holder._modules:
                holder.add_module(word, nn.Module())
            holder = holder._modules[word]  # type: ignore[assignment]
        self._names.add(path)
        if isinstance(member, nn.Module):
            holder.add_module(words[-1], member)
        elif isinstance(member, nn.Parameter):
            holder.register_parameter(words[-1], member)
        else:
            holder.register_buffer(words[-1], member)
        return path

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the outputs of the graph; a single one alone."""
        known: dict[str, Any] = dict(zip(self._inputs, inputs, strict=True))
        for path, operands, outputs in self._plan:
            values = [self._value(kind, each, known) for kind, each in operands]
            result = self.get_submodule(path)(*values)
            known.update(zip(outputs, result if isinstance(result, (tuple, list)) else (result,), strict=False))
        found = tuple(known[name] for name in self._outputs)
        return found[0] if len(found) == 1 else found

    def _value(self, kind: str, each: Any, known: dict[str, Any]) -> Any:
        if kind == "activation":
            return known[each]
        if kind != "parameter":
            return each
        holder, _, name = each.rpartition(".")
        return getattr(self.get_submodule(holder) if holder else self, name)


def examples(shapes: dict[str, tuple[tuple[int, ...], Any]]) -> tuple[Tensor, ...]:
    """Return zeros for every input."""
    import numpy as np

    return tuple(torch.from_numpy(np.zeros(shape, dtype)) for shape, dtype in shapes.values())
