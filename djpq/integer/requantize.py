"""Roundings: an expression times a real factor becomes integer operations and one shift.

Every leaf is multiplied by `round(scale x factor x 2^fraction)`, a signed 32-bit integer a channel, or by the power of two nearest to
it; the sums are wide integers in `2^-fraction` steps of the result, and one shift a channel rounds them, ties to even. `fraction` is the largest
for which multipliers fit 32 bits and wide values 52, so that float64 repeats them exactly.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from hwmodel.errors import InputError

from .expressions import Add, Affine, Clip, Concat, Constant, Expression, Island, Leaf, MaxPool, View
from .program import ACCUMULATOR_BITS, ACCUMULATORS, Instruction, signed_bits

MULTIPLIER_BITS, WIDE_BITS, MOST_FRACTION = 31, 52, 48
ONE = torch.ones((), dtype=torch.float64)


class Snap(Protocol):
    """How a real multiplier becomes an integer."""

    def __call__(self, multiplier: Tensor) -> Tensor: ...


def fixed_point(multiplier: Tensor) -> Tensor:
    """Return the nearest integers."""
    return torch.round(multiplier).to(torch.int64)


def power_of_two(multiplier: Tensor) -> Tensor:
    """Return the powers of two nearest on a log scale, so that the product is a shift; what rounds to nothing stays 0."""
    size = multiplier.abs()
    nearest = torch.exp2(torch.round(torch.log2(size.clamp(min=1e-300)))) * multiplier.sign()
    return torch.where(size < 0.5, torch.zeros_like(size), nearest).to(torch.int64)


SNAPS: dict[str, Snap] = {"multiplier": fixed_point, "shift": power_of_two}


@dataclass
class Builder:
    """Instructions as they are made, and the bounds of what they write."""

    snap: Snap
    instructions: list[Instruction] = field(default_factory=list)
    bounds: dict[str, tuple[int, int]] = field(default_factory=dict)

    def emit(
        self, op: str, stem: str, inputs: tuple[str, ...], bounds: tuple[int, int],
        attributes: dict[str, Any] | None = None, tensors: dict[str, Tensor] | None = None,
    ) -> str:  # fmt: skip
        """Add an instruction; return the name of what it writes. **Errors**: InputError for an accumulator over 32 bits."""
        name = stem
        while name in self.bounds:
            name = f"{stem}#{len(self.instructions)}"
        low, high = (int(each) for each in bounds)
        if op in ACCUMULATORS and signed_bits(low, high) > ACCUMULATOR_BITS:
            raise InputError(
                f"{stem} needs an accumulator of {signed_bits(low, high)} bits; {ACCUMULATOR_BITS} is the most: lower the widths of its operands"
            )
        self.instructions.append(Instruction(op, name, inputs, attributes or {}, tensors or {}))
        self.bounds[name] = low, high
        return name

    def size(self, name: str) -> int:
        """Return the largest absolute value of a tensor."""
        low, high = self.bounds[name]
        return max(-low, high, 1)

    # ---- how large an expression gets --------------------------------------------------------------------------------

    def reach(self, e: Expression, factor: Tensor) -> tuple[Tensor, Tensor]:
        """Return the largest multiplier that an expression times a factor needs at a leaf, and the largest value on the way.

        Both broadcast against the tensor: by channel where scales are.
        """
        if isinstance(e, Leaf):
            multiplier = (e.scale * factor).abs()
            return multiplier, multiplier * self.size(e.name)
        if isinstance(e, Constant):
            return ONE * 0, (e.value.double() * factor).abs()
        if isinstance(e, Affine):
            multiplier, value = self.reach(e.x, factor * e.scale)
            return multiplier, value if e.offset is None else value + (e.offset * factor).abs()
        if isinstance(e, Add):
            first, second = self.reach(e.first, factor), self.reach(e.second, factor)
            return torch.maximum(first[0], second[0]), first[1] + second[1]
        if isinstance(e, Concat):
            parts = [self.reach(part, of_every_part(factor, e)) for part in e.parts]
            return torch.stack([part[0].max() for part in parts]).max(), torch.stack([part[1].max() for part in parts]).max()
        if isinstance(e, Island):
            return ONE * 0, factor.abs().max() * (e.gain * self.reach(e.x, ONE)[1].max() + e.ceiling)
        assert isinstance(e, (Clip, MaxPool, View))
        return self.reach(e.x, factor)

    def fraction_for(self, e: Expression, factor: Tensor) -> int:
        """Return the most fraction bits that an expression times a factor has room for."""
        multiplier, value = self.reach(e, factor)
        found = int(room(multiplier, value).min())
        if found < 1:
            raise InputError(
                f"a tensor reaches {float(value.max()):.3g} steps of what is stored; its quantizer's range is too small by far"
            )
        return found

    def more_bits(self, e: Expression, factor: Tensor, fraction: int) -> Tensor | None:
        """Return by channel how many more fraction bits there is room for than in the channel with the least, None for one shift for all."""
        multiplier, value = self.reach(e, factor)
        axis = 1 if e.rank > 3 else e.rank - 1
        if not by_channel(e) or e.rank < 2 or value.dim() != e.rank:
            return None
        places = room(multiplier, value)
        least = places.amin([i for i in range(e.rank) if i != axis], keepdim=True)
        return least - fraction if least.numel() > 1 and bool((least != fraction).any()) else None

    # ---- writing it --------------------------------------------------------------------------------------------------

    def wide(self, e: Expression, factor: Tensor, fraction: int, stem: str) -> str:
        """Write an expression times a factor in `2^-fraction` steps; return the name."""
        if isinstance(e, Leaf):
            multiplier = self.snap(e.scale * factor * 2.0**fraction)
            reach = int(multiplier.abs().max()) * self.size(e.name)
            low = 0 if self.bounds[e.name][0] >= 0 and bool((multiplier >= 0).all()) else -reach
            return self.emit("scale", f"{stem}.scaled", (e.name,), (low, reach), tensors={"multiplier": multiplier})
        if isinstance(e, Constant):
            value = fixed_point(e.value.double() * factor * 2.0**fraction)
            return self.emit("constant", f"{stem}.constant", (), span(value), {"shape": list(e.shape)}, {"value": value})
        if isinstance(e, Affine):
            inner = self.wide(e.x, factor * e.scale, fraction, stem)
            return inner if e.offset is None else self.offset(inner, e.offset * factor, fraction, stem)
        if isinstance(e, Add):
            first, second = self.wide(e.first, factor, fraction, stem), self.wide(e.second, factor, fraction, stem)
            return self.emit("add", f"{stem}.sum", (first, second), added(self.bounds[first], self.bounds[second]))
        if isinstance(e, Clip):
            return self.clip(e, factor, fraction, stem)
        if isinstance(e, Concat):
            parts = tuple(self.wide(part, of_every_part(factor, e), fraction, stem) for part in e.parts)
            ends = [self.bounds[part] for part in parts]
            return self.emit("concat", f"{stem}.joined", parts, (min(a for a, _ in ends), max(b for _, b in ends)), {"dim": e.dim})
        if isinstance(e, MaxPool):
            if bool((factor < 0).any()) or any(size != 1 for size in factor.shape[2:]):
                raise InputError(f"{stem}: a factor that is negative or not of a channel follows a max-pool; it has no integer form")
            x = self.wide(e.x, factor, fraction, stem)
            return self.emit("max_pool", f"{stem}.pooled", (x,), self.bounds[x], dict(e.attributes))
        if isinstance(e, View):
            if factor.numel() != 1:
                raise InputError(f"{stem}: a factor of each channel follows a {e.op} of unrounded values; it has no integer form")
            x = self.wide(e.x, factor.reshape(()), fraction, stem)
            return self.emit(e.op, f"{stem}.viewed", (x,), self.bounds[x], dict(e.attributes))
        assert isinstance(e, Island)
        before = self.fraction_for(e.x, ONE)
        x = self.wide(e.x, ONE, before, f"{stem}.{e.function}")
        reach = math.ceil(float(self.reach(e, factor)[1].max()) * 2.0**fraction) + 1
        attributes = {"function": e.function, "from_fraction": before, "fraction": fraction, **e.attributes}
        return self.emit("island", f"{stem}.{e.function}", (x,), (-reach, reach), attributes, {"factor": factor, **e.tensors})

    def offset(self, x: str, offset: Tensor, fraction: int, stem: str) -> str:
        """Add a real constant to wide values."""
        steps = fixed_point(offset * 2.0**fraction)
        return self.emit("offset", f"{stem}.offset", (x,), added(self.bounds[x], span(steps)), tensors={"offset": steps})

    def clip(self, e: Clip, factor: Tensor, fraction: int, stem: str) -> str:
        """Clip wide values; a negative factor (a normalisation after the activation) turns the values over first."""
        if bool((factor < 0).any()):
            inner = self.clip(e, factor.abs(), fraction, stem)
            reach = self.size(inner)
            return self.emit("scale", f"{stem}.turned", (inner,), (-reach, reach), tensors={"multiplier": factor.sign().to(torch.int64)})
        x = self.wide(e.x, factor, fraction, stem)
        beyond = 2.0 ** (WIDE_BITS + 1)  # no wide value gets there
        real = {name: factor * limit * 2.0**fraction for name, limit in (("low", e.low), ("high", e.high)) if limit is not None}
        limits = {name: fixed_point(limit.clamp(-beyond, beyond)) for name, limit in real.items()}
        low, high = self.bounds[x]
        if "low" in limits:
            low = max(low, int(limits["low"].min()))
        if "high" in limits:
            high = min(high, int(limits["high"].max()))
        return self.emit("clip", f"{stem}.clipped", (x,), (low, max(low, high)), tensors=limits)

    def round(self, e: Expression, step: float, low: int, high: int, stem: str) -> str:
        """Write an expression as integers of a step: one shift for all, or one for each channel."""
        factor = 1 / torch.tensor(step, dtype=torch.float64)
        fraction = self.fraction_for(e, factor)
        more = self.more_bits(e, factor, fraction)
        x = self.wide(e, factor if more is None else factor * torch.exp2(more.double()), fraction, stem)
        attributes = {"fraction": fraction, "low": low, "high": high, "step": step}
        return self.emit("round", stem, (x,), (low, high), attributes, {} if more is None else {"more": more})


def by_channel(e: Expression) -> bool:
    """Return whether a factor for each channel passes an expression."""
    if isinstance(e, Add):
        return by_channel(e.first) and by_channel(e.second)
    return isinstance(e, Leaf) or (isinstance(e, (Affine, Clip, MaxPool)) and by_channel(e.x))


def room(multiplier: Tensor, value: Tensor) -> Tensor:
    """Return the fraction bits with which multipliers and wide values stay within their bits, int64."""
    by_multiplier = MULTIPLIER_BITS - bits_over(multiplier * (1 + 1e-9))
    return torch.minimum(by_multiplier, WIDE_BITS - 1 - bits_over(value)).clamp(max=MOST_FRACTION)


def of_every_part(factor: Tensor, e: Concat) -> Tensor:
    """Return a factor, which must be the same for all parts of a concatenation."""
    axis = e.dim - (e.rank - factor.dim())
    if axis >= 0 and factor.shape[axis] != 1:
        raise InputError("a factor of each channel follows a concatenation of unrounded values; it has no integer form")
    return factor


def bits_over(value: Tensor) -> Tensor:
    """Return the exponent of the power of two above a size, int64; far below for nothing."""
    return torch.where(value > 0, torch.frexp(value).exponent.to(torch.int64), -2 * MOST_FRACTION)


def span(value: Tensor) -> tuple[int, int]:
    """Return least and greatest of a constant."""
    return int(value.min()), int(value.max())


def added(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    """Return the bounds of a sum."""
    return first[0] + second[0], first[1] + second[1]
