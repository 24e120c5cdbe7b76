"""A finished model as an ONNX file that other tools run, as QDQ or as QONNX."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.fx import GraphModule

from hwmodel.errors import InputError
from hwmodel.files import whole
from hwmodel.network import Network
from hwmodel.walk import operator_name

from ..integer.kernels import sizes_for
from ..integer.shapes import Sizes, sizes_of
from ..weights import WeightGrid
from .emission import OPSET, WIDE_OPSET, Emission, Style
from .pools import rounded_before_pools
from .rules import RULES
from .styles import QONNX_DOMAIN, STYLES


class Exportable(Protocol):
    """What is exported: `Finished`, or `Loaded` from files."""

    @property
    def model(self) -> GraphModule: ...

    @property
    def network(self) -> Network: ...

    @property
    def grids(self) -> dict[str, WeightGrid]: ...


PARTS = ("unbind", "chunk", "split", "split_with_sizes", "tensor_split")  # they return several tensors
IR_VERSION = 10


def onnx_model(
    model: GraphModule, grids: dict[str, WeightGrid], samples: tuple[Tensor, ...], style: Style, batch: int | None = None
) -> Any:
    """Return the ONNX model of a pruned graph, for one batch size or any. **Errors**: InputError for an operator without a rule."""
    from onnx import checker, helper

    model = rounded_before_pools(model)
    e = Emission(model, grids, sizes_of(model, samples), style, batch=batch)
    given = [node for node in model.graph.nodes if node.op == "placeholder"]
    e.taken.update(node.name for node in given)
    outputs: list[Any] = []
    for node in model.graph.nodes:
        if node.op == "placeholder":
            e.names[node] = node.name
        elif node.op == "get_attr":
            e.names[node] = e.attribute(str(node.target)).detach()
        elif node.op == "output":
            found: Any = node.args[0]
            outputs = list(found) if isinstance(found, (tuple, list)) else [found]
        else:
            e.names[node] = write(e, node)
    names = [e.add("Identity", [e.names[each]], f"output_{i}") if each in given else e.names[each] for i, each in enumerate(outputs)]
    graph = helper.make_graph(
        e.nodes, "djpq", [value_info(node.name, e.sizes[node], sample, batch) for node, sample in zip(given, samples, strict=True)],
        [value_info(name, e.sizes[node], samples[0], batch) for name, node in zip(names, outputs, strict=True)], list(e.initializers.values()),
    )  # fmt: skip
    domains = sorted({node.domain for node in e.nodes if node.domain})
    opsets = [helper.make_opsetid("", WIDE_OPSET if e.wide else OPSET), *(helper.make_opsetid(domain, 1) for domain in domains)]
    file = helper.make_model(graph, opset_imports=opsets, producer_name="djpq")
    file.ir_version = IR_VERSION
    if QONNX_DOMAIN in domains:
        return with_shapes(file)
    checker.check_model(file, full_check=True)
    return file


def with_shapes(file: Any) -> Any:
    """Return a QONNX model with the shapes of all tensors, which qonnx wants before it runs one."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    return ModelWrapper(file).transform(InferShapes()).model


def write(e: Emission, node: Any) -> Any:
    """Write one node; what is known before the network runs is computed now, sizes are read off the results."""
    if node.op == "call_module":
        module = e.module.get_submodule(str(node.target))
        return apply(e, node, RULES.of_module(module), type(module).__name__)
    name = operator_name(node)
    if node not in e.sizes and name not in PARTS:
        return None
    operands = [e.names[each] for each in node.all_input_nodes]
    if all(isinstance(each, Tensor) for each in operands):
        return node.target(*e.value(node.args), **e.value(node.kwargs))
    return apply(e, node, RULES.operators.get(name), name)


def apply(e: Emission, node: Any, rule: Callable[..., Any] | None, name: str) -> Any:
    """Apply a rule. **Errors**: InputError when there is none."""
    if rule is None:
        raise InputError(f"operator {name} ({node.name}) is not exported to ONNX; the integer program and the spec may hold it")
    return rule(e, node)


def value_info(name: str, sizes: Sizes, sample: Tensor, batch: int | None) -> Any:
    """Return the declaration of an input or output."""
    from onnx import TensorProto, helper

    kind = TensorProto.FLOAT if sample.is_floating_point() else TensorProto.INT64
    return helper.make_tensor_value_info(
        name, kind, sizes_for(sizes, batch) if batch else ["batch" if isinstance(size, str) else size for size in sizes]
    )


@torch.no_grad()
def export_onnx(finished: Exportable, path: str | Path, style: str = "qdq", *, batch: int | None = None) -> Path:
    """Write a finished model as ONNX: `style` is "qdq" or "qonnx". Without `batch` any batch runs, but for QONNX, whose tools want one: 1.

    **Errors**: InputError for an unknown style, an operator without ONNX form, or when `onnx` is not installed.
    """
    if style not in STYLES:
        raise InputError(f"style is {style!r}; the choices are {', '.join(STYLES)}")
    try:
        import onnx
    except ImportError:
        raise InputError("ONNX files need `pip install 'djpq[onnx]'`") from None
    samples = tuple(torch.zeros(shape, dtype=dtype) for shape, dtype in finished.network.example_inputs)
    file = onnx_model(finished.model, finished.grids, samples, STYLES[style](), batch or (1 if style == "qonnx" else None))
    path = Path(path)
    with whole(path) as partial:
        onnx.save(file, str(partial))
    return path
