"""The proof in integers: pruned model = integer program, stored value by stored value.

The pruned model is run in float64 with its weights exactly on their grids and its steps exact. Its values and those of the program can
differ where a real number lies within `2^-30` of a tie between two integers, because the program's multipliers have 31 bits; such values
are counted. The program itself, run by float64 kernels that are exact for it, must give the same integers bit for bit.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from hwmodel.errors import InputError

from ..quantizer import FixedQuantizer
from ..weights import WeightGrid
from .build import lower
from .executor import IntegerModel

SHARE = 1e-4  # of the stored values may differ: ties, and what follows from them


@dataclass(frozen=True)
class IntegerProof:
    """What was compared: `stored` values, of which `differing` differ between the pruned model and the program.

    `exact` says whether the program in integers and in float64 agree bit for bit. Outputs differ by `output_units` accumulator steps.
    """

    samples: int
    stored: int
    differing: int
    exact: bool
    output_units: float
    accumulator_bits: int
    widest_layer: str
    islands: tuple[str, ...]
    requantization: str

    @property
    def holds(self) -> bool:
        """Whether the integers are those of the pruned model; a shift changes the scales, so that only `exact` is asked of it."""
        return self.exact and (self.requantization == "shift" or self.differing <= SHARE * self.stored)

    def __str__(self) -> str:
        return (
            f"integers on {self.samples} samples, requantized by {self.requantization}: program = its float64 reference bit for bit: "
            f"{self.exact}; pruned - integers: {self.differing} of {self.stored} stored values differ, outputs by {self.output_units:.2g} "
            f"accumulator steps; accumulators need {self.accumulator_bits} of 32 bits ({self.widest_layer}); "
            f"islands: {', '.join(self.islands) or 'none'}"
        )


class ExactQuantizer(nn.Module):
    """A fixed quantizer in float64; `inputs` of the network are rounded in float32, as the finished model does."""

    def __init__(self, fixed: FixedQuantizer, inputs: bool) -> None:
        super().__init__()
        self.fixed, self.inputs = fixed, inputs
        self.exact_step = float(fixed.step)

    def forward(self, x: Tensor) -> Tensor:
        """Return the tensor on its grid."""
        if self.inputs:
            steps = torch.round(x.float() * (1 / torch.tensor(self.exact_step, dtype=torch.float32))).double()
        else:
            steps = torch.round(x / self.exact_step)
        return steps.clamp(self.fixed.lowest, self.fixed.highest) * self.exact_step


def exact_model(pruned: GraphModule, grids: Mapping[str, WeightGrid]) -> GraphModule:
    """Return the pruned model in float64, its weights and steps exact."""
    module = copy.deepcopy(pruned)
    whole = {name: grid.integers(module.get_parameter(name)).double() * grid.step.double() for name, grid in grids.items()}
    module = module.double()
    for name, weight in whole.items():
        module.get_parameter(name).data = weight
    for node in list(module.graph.nodes):
        if node.kwargs.get("dtype") is torch.float32:
            node.kwargs = {**node.kwargs, "dtype": torch.float64}
        fixed = module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(fixed, FixedQuantizer):
            source = node.args[0]
            name = f"exact_quantizers.{node.name}"
            module.add_submodule(name, ExactQuantizer(fixed, isinstance(source, Node) and source.op == "placeholder"))
            node.target = name
    module.recompile()
    return module.eval()


class Stored(Interpreter):
    """Runs an exact model and keeps the integers that its quantizers write.

    With `read`, what is stored is read from there instead: each quantizer is compared where both models read the same. Else one value
    that lies on a tie would make all layers after it differ.
    """

    def __init__(self, module: GraphModule, read: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(module)
        self.stored: dict[str, Tensor] = {}
        self.read = read or {}

    def run_node(self, n: Node) -> Any:
        found = super().run_node(n)
        module = self.module.get_submodule(str(n.target)) if n.op == "call_module" else None
        if isinstance(module, ExactQuantizer):
            self.stored[n.name] = torch.round(found / module.exact_step).to(torch.int32)
            if n.name in self.read:
                return self.read[n.name].double() * module.exact_step
        return found


@torch.no_grad()
def stored_values(
    pruned: GraphModule, grids: Mapping[str, WeightGrid], samples: tuple[Tensor, ...], read: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Return the integers that each quantizer of a pruned model writes, by node, and its outputs, all computed in float64.

    `read`: the integers that the layers after each quantizer read, by node, in the place of its own.
    """
    runner = Stored(exact_model(pruned, grids), read)
    result = runner.run(*(sample.double() if sample.is_floating_point() else sample for sample in samples))
    return runner.stored, [result] if isinstance(result, Tensor) else list(result)


@torch.no_grad()
def prove(pruned: GraphModule, grids: Mapping[str, WeightGrid], model: IntegerModel, samples: tuple[Tensor, ...]) -> IntegerProof:
    """Compare a pruned model with its integer program on samples."""
    program = model.program
    found, reference = model.run(*samples), model.run(*samples, exact=True)
    same = all(torch.equal(found[name].double(), reference[name]) for name in found)
    values, outputs = stored_values(pruned, grids, samples, {name: found[held] for name, held in program.stored.items()})
    stored = sum(each.numel() for each in values.values())
    differing = sum(int((value != found[program.stored[name]]).sum()) for name, value in values.items())
    units = max(
        float((real - found[out.name].double() * out.step).abs().max()) / out.unit
        for real, out in zip(outputs, program.outputs, strict=True)
    )
    bits, layer = program.accumulator
    return IntegerProof(len(samples[0]), stored, differing, same, units, bits, layer, program.islands, program.requantization)


def integers_of(
    pruned: GraphModule, grids: Mapping[str, WeightGrid], samples: tuple[Tensor, ...], requantization: str = "multiplier"
) -> tuple[IntegerModel | None, IntegerProof | str]:
    """Return the integer model and its proof, or None and the reason why the network has no integer form."""
    try:
        model = IntegerModel(lower(pruned, grids, samples, requantization))
    except InputError as error:
        return None, str(error)
    return model, prove(pruned, grids, model, samples)
