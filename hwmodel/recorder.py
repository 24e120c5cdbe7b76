"""Writes down the aten calls of one run of a model as an fx graph.

In inference mode a dispatch mode sees `linear` or `lstm` whole, before they are taken apart, so the graph is made of the same
operators as one of `torch.export`. Nodes carry shapes and types alone: no data is kept.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

from .attention import FUSED
from .decompose import decomposition_of, rule_of
from .walk import schema_name


class Recorder(TorchDispatchMode):
    """Adds a node to `graph` for every aten call; a tensor that no call made is a placeholder."""

    def __init__(self, model: nn.Module, args: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.graph = Graph()
        self.parameters: dict[Node, str] = {}
        self.values: dict[Node, Tensor] = {}  # of placeholders that are no input
        self._nodes: Any = WeakIdKeyDictionary()  # Tensor -> Node
        self._names = {id(tensor): name for name, tensor in (*model.named_parameters(), *model.named_buffers())}
        self._stack: dict[str, tuple[str, str]] = {}
        for arg in args:
            self._nodes[arg] = self._placeholder(arg, "input")

    def _placeholder(self, tensor: Tensor, name: str) -> Node:
        """Add a placeholder: all of them stand before the calls."""
        first_call = next((node for node in self.graph.nodes if node.op != "placeholder"), self.graph._root)
        with self.graph.inserting_before(first_call):
            node = self.graph.placeholder(name)
        node.meta["val"] = without_data(tensor)
        return node

    def node_of(self, tensor: Tensor) -> Node:
        """Return the node that made a tensor; a parameter, buffer or constant is met here for the first time."""
        if tensor not in self._nodes:
            name = self._names.get(id(tensor))
            self._nodes[tensor] = node = self._placeholder(tensor, "constant" if name is None else f"p_{name.replace('.', '_')}")
            self.values[node] = tensor
            if name is not None:
                self.parameters[node] = name
        return self._nodes[tensor]  # type: ignore[no-any-return]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        has_rule = func is FUSED or rule_of(schema_name(func._schema)) is not None
        taken_apart = None if has_rule else decomposition_of(func)
        if taken_apart is not None:
            with self:
                return taken_apart(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            return result  # it asks about a tensor
        reads = tree_map(lambda value: self.node_of(value) if isinstance(value, Tensor) else value, (args, kwargs or {}))
        node = self.graph.call_function(func, *reads)
        node.meta["val"] = tree_map(lambda value: without_data(value) if isinstance(value, Tensor) else value, result)
        node.meta["nn_module_stack"] = dict(self._stack)
        if isinstance(result, Tensor):
            self._nodes[result] = node
        else:
            self._take_apart(node, result)
        return result

    def _take_apart(self, node: Node, result: Any) -> None:
        """Add a `getitem` for each tensor of a call that returns several."""
        for i, value in enumerate(result):
            if isinstance(value, Tensor):
                self._nodes[value] = part = self.graph.call_function(operator.getitem, (node, i))
                part.meta = {**node.meta, "val": without_data(value)}

    def watch(self, model: nn.Module) -> list[Any]:
        """Keep the stack of running modules; return the hooks that do it."""

        def enter(path: str) -> Callable[..., None]:
            def hook(module: nn.Module, _args: Any) -> None:
                self._stack[path] = (path, f"{type(module).__module__}.{type(module).__qualname__}")

            return hook

        def leave(path: str) -> Callable[..., None]:
            def hook(_module: nn.Module, _args: Any, _result: Any) -> None:
                self._stack.pop(path, None)

            return hook

        hooks: list[Any] = []
        for path, module in model.named_modules():
            hooks += [module.register_forward_pre_hook(enter(path)), module.register_forward_hook(leave(path))]
        return hooks


def without_data(tensor: Tensor) -> Tensor:
    """Return a tensor of the same shape and type on the meta device."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def record(model: nn.Module, args: tuple[Tensor, ...]) -> tuple[Graph, dict[Node, str], dict[Node, Tensor]]:
    """Run a model once; return the graph, its parameters and buffers by name, and the values of all placeholders that are no input."""
    recorder = Recorder(model, args)
    hooks = recorder.watch(model)
    try:
        with torch.inference_mode(), recorder:
            result = model(*args)
    finally:
        for hook in hooks:
            hook.remove()
    outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
    recorder.graph.output(tuple(recorder.node_of(leaf) for leaf in outputs))
    return recorder.graph, recorder.parameters, recorder.values
