"""Running an integer program on integers, and again on float64 for the proof."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hwmodel.errors import InputError

from .kernels import run
from .program import ACCUMULATORS, Program


@dataclass(frozen=True, eq=False)
class IntegerModel:
    """A finished network in integers: called with float inputs it returns float outputs, as the torch model does."""

    program: Program

    def __call__(self, *samples: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the outputs, float32; a single one alone."""
        values = self.run(*samples)
        found = tuple((values[each.name].double() * each.step).float() for each in self.program.outputs)
        return found[0] if len(found) == 1 else found

    @torch.no_grad()
    def run(self, *samples: Tensor, exact: bool = False) -> dict[str, Tensor]:
        """Return what is stored, by name: int32; with `exact` the same program on float64 numbers that are integers.

        **Errors**: InputError when the number of inputs is wrong.
        """
        program = self.program
        if len(samples) != len(program.inputs):
            raise InputError(f"{len(samples)} inputs are given; the network has {len(program.inputs)}")
        values: dict[str, Tensor] = dict(zip(program.inputs, samples, strict=True))
        last = {name: i for i, instruction in enumerate(program.instructions) for name in instruction.inputs}
        keep = {*program.stored.values(), *(each.name for each in program.outputs)}
        for i, instruction in enumerate(program.instructions):
            operands = [values[name] for name in instruction.inputs] or [samples[0]]
            values[instruction.output] = run(instruction, operands, len(samples[0]), exact)
            for name in instruction.inputs:
                if last[name] == i and name not in keep:
                    values.pop(name, None)
        return {name: values[name] for name in keep}

    def __str__(self) -> str:
        bits, layer = self.program.accumulator
        counted = sum(i.op in ACCUMULATORS for i in self.program.instructions)
        return (
            f"{counted} accumulations of at most {bits} bits ({layer}), {len(self.program.stored)} stored tensors, requantized by "
            f"{self.program.requantization}; islands: {', '.join(self.program.islands) or 'none'}"
        )
