"""An ONNX graph as it is written: nodes, initializers, and the name of what each node of the torch graph computes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from hwmodel.errors import InputError

from ..integer.shapes import Sizes
from ..quantizer import FixedQuantizer
from ..weights import WeightGrid

OPSET = 20  # onnxruntime 1.32 loses the integer type of a zero point of opset 21 when it moves quantizers past reshapes
WIDE_OPSET = 21  # the first whose QuantizeLinear writes 16-bit integers


class Style(Protocol):
    """How a file says that a tensor is rounded."""

    def activation(self, e: "Emission", x: str, quantizer: FixedQuantizer, name: str) -> str:
        """Write the rounding of a tensor; return what its readers read."""
        ...

    def weight(self, e: "Emission", name: str, tensor: Tensor, grid: WeightGrid) -> str:
        """Write a weight on its grid; return what its readers read."""
        ...


@dataclass
class Emission:
    """The state of one export. `sizes` are those of every tensor, the batch as "1n"; `wide` when 16-bit integers occur, `batch` if only one will do."""

    module: GraphModule
    grids: Mapping[str, WeightGrid]
    sizes: Mapping[Node, Sizes]
    style: Style
    nodes: list[Any] = field(default_factory=list)
    initializers: dict[str, Any] = field(default_factory=dict)
    names: dict[Node, Any] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    wide: bool = False
    batch: int | None = None

    def name(self, wanted: str) -> str:
        """Return a name that no tensor has yet."""
        name, count = wanted, 1
        while name in self.taken:
            count += 1
            name = f"{wanted}_{count}"
        self.taken.add(name)
        return name

    def add(self, op: str, inputs: Sequence[str], stem: str, *, domain: str = "", **attributes: Any) -> str:
        """Write a node; return the name of its output."""
        return self.add_parts(op, inputs, [stem], domain=domain, **attributes)[0]

    def add_parts(self, op: str, inputs: Sequence[str], stems: Sequence[str], *, domain: str = "", **attributes: Any) -> list[str]:
        """Write a node with several outputs; return their names."""
        from onnx import helper

        written = [self.name(stem) for stem in stems]
        self.nodes.append(helper.make_node(op, list(inputs), written, name=written[0], domain=domain, **attributes))
        return written

    def constant(self, value: Any, stem: str) -> str:
        """Write an initializer; return its name."""
        from onnx import numpy_helper

        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        name = self.name(stem)
        self.initializers[name] = numpy_helper.from_array(np.array(array, order="C"), name)
        return name

    def parameter(self, path: str, tensor: Tensor) -> str:
        """Return the name of a parameter, on its grid if it has one; it is written once."""
        if path not in self.weights:
            grid = self.grids.get(path)
            self.weights[path] = self.style.weight(self, path, tensor, grid) if grid else self.constant(tensor, path)
        return self.weights[path]

    def attribute(self, path: str) -> Tensor:
        """Return a parameter or buffer of the torch model."""
        owner, _, leaf = path.rpartition(".")
        found: Tensor = getattr(self.module.get_submodule(owner), leaf)
        return found

    def value(self, argument: Any) -> Any:
        """Return an argument of a node with nodes replaced by the names of what they compute, or constants."""
        return map_arg(argument, lambda node: self.names[node])

    def operand(self, argument: Any, stem: str) -> str:
        """Return the name of an operand; numbers and constants are written as initializers."""
        found = self.value(argument)
        if isinstance(found, str):
            return found
        if isinstance(found, Tensor):
            is_parameter = isinstance(argument, Node) and argument.op == "get_attr"
            return self.parameter(str(argument.target), found) if is_parameter else self.constant(found, f"{stem}_constant")
        return self.constant(np.asarray(found, np.float32), f"{stem}_constant")

    def shape(self, sizes: Sizes, stem: str) -> str:
        """Return the name of a shape for Reshape, whose one size that follows the batch is worked out."""
        free = [i for i, size in enumerate(sizes) if isinstance(size, str)]
        if len(free) > 1:
            raise InputError(f"{stem}: several sizes follow the batch, {sizes}; an ONNX file cannot say that")
        return self.constant(np.array([-1 if isinstance(size, str) else size for size in sizes], np.int64), f"{stem}_shape")


def module_of(e: Emission, node: Node) -> nn.Module:
    """Return the module that a node calls."""
    return e.module.get_submodule(str(node.target))
