"""Operators without a rule, taken apart by torch's own decompositions until rules cover them; and writes in place, made visible.

A model whose operators all have rules passes untouched. Else `run_decompositions` takes apart the ones without, and them alone, and
turns every write in place, also one through a view, into an operator that returns its result.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch._decomp import decomposition_table
from torch._ops import OpOverload
from torch.export import ExportedProgram, default_decompositions
from torch.fx import Graph, Node

from . import attention, operators
from .walk import Rule, operator_name

ROUNDS = 4  # a decomposition may itself hold operators without a rule


def covered(program: ExportedProgram) -> ExportedProgram:
    """Return the program in operators that have rules; as it was, if torch cannot take all others apart that far."""
    rename_in_place(program.graph)
    attention.spell_out(program.graph)
    found = program
    for _ in range(ROUNDS):
        missing, through_views = without_rule(found)
        if not missing and not through_views:
            return found
        table = {operator: decomposition for operator in missing if (decomposition := decomposition_of(operator)) is not None}
        if len(table) < len(missing):
            break
        try:
            found = found.run_decompositions(table)
        except Exception:  # decompositions fail in many ways; `trace` names the operators that stay without a rule
            break
        rename_in_place(found.graph)
    return program


def without_rule(program: ExportedProgram) -> tuple[set[OpOverload], bool]:
    """Return the operators on activations that no rule covers, and whether one writes through a view."""
    signature = program.graph_signature
    lifted = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    order = {node: i for i, node in enumerate(program.graph.nodes)}
    active: set[Node] = set()
    missing: set[OpOverload] = set()
    through_views = False
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name not in lifted:
            active.add(node)
        elif node.op == "call_function" and not active.isdisjoint(node.all_input_nodes) and tensors_of(node):
            rule = rule_of(operator_name(node))
            if rule is not operators.views.constant:
                active.add(node)
            if rule is None and isinstance(node.target, OpOverload):
                missing.add(node.target)
            through_views |= writes_through_a_view(node, order)
    return missing, through_views


def decomposition_of(operator: OpOverload) -> Callable[..., Any] | None:
    """Return torch's decomposition of an operator, if there is one."""
    table = default_decompositions()
    return table[operator] if operator in table else decomposition_table.get(operator)  # type: ignore[no-any-return]


def rule_of(name: str) -> Rule | None:
    """Return the rule of an operator."""
    return operators.MODELLED.get(name) or operators.ZERO.get(name)


def tensors_of(node: Node) -> list[Tensor]:
    """Return what a node computes, several tensors for an operator such as `lstm`."""
    value = node.meta.get("val")
    return [each for each in (value if isinstance(value, (tuple, list)) else (value,)) if isinstance(each, Tensor)]


# ---- operators that write over their operand -------------------------------------------------------------------------


def in_place(node: Node) -> bool:
    """Return whether an operator writes its result over its first operand."""
    schema = getattr(node.target, "_schema", None)
    written = schema is not None and schema.name.endswith("_") and not schema.name.endswith("__")
    return written and isinstance(node.args[0], Node)


def rename_in_place(graph: Graph) -> None:
    """Let readers after an in-place operator read its result, which is what they see at run time."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if not in_place(node):
            continue
        operand = node.args[0]
        later = {user for user in operand.users if order[user] > order[node]}
        operand.replace_all_uses_with(node, delete_user_cb=later.__contains__)


def writes_through_a_view(node: Node, order: dict[Node, int]) -> bool:
    """Return whether an in-place operator changes a part of a tensor that is read again: its readers would not know of it."""
    if not in_place(node):
        return False
    view = node.args[0]
    while isinstance(view, Node) and view.op == "call_function":
        schema = getattr(view.target, "_schema", None)
        aliases = schema is None or (bool(schema.arguments) and schema.arguments[0].alias_info is not None)
        if not aliases or not view.args:
            return False
        view = view.args[0]
        later = [user for user in view.users if order[user] > order[node]] if isinstance(view, Node) else []
        if any(user.op == "output" or tensors_of(user) for user in later):
            return True
    return False
