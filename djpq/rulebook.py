"""One rule an operator or module: how a form of the network (integers, ONNX) says what each node of a pruned graph is."""

from collections.abc import Callable
from typing import Generic, TypeVar

from torch import nn

Rule = TypeVar("Rule", bound=Callable[..., object])


class Rulebook(Generic[Rule]):
    """Rules by operator name (`operators`) and by class of module."""

    def __init__(self) -> None:
        self.operators: dict[str, Rule] = {}
        self._modules: dict[type[nn.Module], Rule] = {}

    def operator(self, *names: str) -> Callable[[Rule], Rule]:
        """Make a function the rule of the operators named."""

        def add(function: Rule) -> Rule:
            self.operators.update(dict.fromkeys(names, function))
            return function

        return add

    def module(self, *kinds: type[nn.Module]) -> Callable[[Rule], Rule]:
        """Make a function the rule of modules of these classes."""

        def add(function: Rule) -> Rule:
            self._modules.update(dict.fromkeys(kinds, function))
            return function

        return add

    def of_module(self, module: nn.Module) -> Rule | None:
        """Return the rule of a module, the first whose class it is; None without one."""
        return next((rule for kind, rule in self._modules.items() if isinstance(module, kind)), None)
