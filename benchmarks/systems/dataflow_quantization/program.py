"""A graph with a format for every tensor: run in integers, run as fake quantization, and searched on a calibration batch.

In integers all terms of a module are shifted left into one scale of 2^-F, the finest of theirs, summed, and rounded once:

    sum = (product(x, w) << F - N_x - N_w) + (b << F - N_b) + (shortcut << F - N_s)
    out = clip((sum + 2^(s-1)) >> s),  s = F - N_o;  with s <= 0: clip(sum << -s)

The fake-quantized run computes the same on floating-point numbers of a type that holds every sum exactly (float32 where all of them stay
below 2^24 steps, else float64), so the two agree bit for bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hwmodel.errors import InputError

from .formats import Format, around, quantize, search, to_integers, widest
from .graph import Graph, Module, View, evaluate

ACCUMULATOR_BITS = 32
EXACT_IN_FLOAT32 = 2**24
CHUNK = 8  # images of a calibration batch at once: stays in cache
FIXED_BITS = 8
"""Bits of biases, and of the scales that normalisations and means have of their own, whatever those of weights are."""


@dataclass(frozen=True, eq=False)
class Rounded:
    """A module and the formats of all that it reads and writes. **Errors**: InputError when a sum may not fit 32 bits."""

    module: Module
    x: Format
    out: Format
    weight: Format | None = None
    bias: Format | None = None
    shortcut: Format | None = None

    def __post_init__(self) -> None:
        if self.largest_sum >= 2 ** (ACCUMULATOR_BITS - 1):
            raise InputError(
                f"module {self.module.name} sums up to {self.largest_sum:.3g}; it must stay below 2^{ACCUMULATOR_BITS - 1}: use fewer bits"
            )

    @property
    def product_fraction(self) -> int:
        """Fractional bits of the product."""
        return self.x.fraction + (0 if self.weight is None else self.weight.fraction)

    @property
    def sum_fraction(self) -> int:
        """Fractional bits of the sum, the most that a term has."""
        return max([self.product_fraction, *(each.fraction for each in (self.bias, self.shortcut) if each is not None)])

    @property
    def shift(self) -> int:
        """Places that the sum is shifted right by."""
        return self.sum_fraction - self.out.fraction

    @property
    def largest_sum(self) -> float:
        """A bound of all sums, rounding and a shift to the left included."""
        product = float(self.x.largest)
        if self.weight is not None:
            assert self.module.weight is not None
            integers = to_integers(self.module.weight, self.weight).abs()
            product *= float(integers.flatten(1).sum(1).max()) if integers.dim() > 1 else float(integers.max())
        terms = [(product, self.product_fraction)]
        terms += [(float(each.largest), each.fraction) for each in (self.bias, self.shortcut) if each is not None]
        total = sum(size * 2.0 ** (self.sum_fraction - fraction) for size, fraction in terms)
        return total + 2.0 ** (self.shift - 1) if self.shift > 0 else total * 2.0**-self.shift

    def integers(self, x: Tensor, shortcut: Tensor | None) -> Tensor:
        """Return what the module writes. **Shapes**: int32."""
        module, finest = self.module, self.sum_fraction
        product = x if self.weight is None else module.product(x, _int32(module.weight, self.weight))
        bias = None if self.bias is None else _int32(module.bias, self.bias) << finest - self.bias.fraction
        if shortcut is not None:
            assert self.shortcut is not None
            shortcut = shortcut << finest - self.shortcut.fraction
        total = module.add(product << finest - self.product_fraction, bias, shortcut)
        rounded = (total + (1 << self.shift - 1)) >> self.shift if self.shift > 0 else total << -self.shift
        return rounded.clamp(self.out.low, self.out.high)

    def fake(self, x: Tensor, shortcut: Tensor | None) -> Tensor:
        """Return what the module writes, as values on its grid, in the type of x."""
        return quantize(self.sum(x, shortcut), self.out)

    def sum(self, x: Tensor, shortcut: Tensor | None) -> Tensor:
        """Return the unrounded sum of quantized terms, in the type of x."""
        module = self.module
        product = x if self.weight is None else module.product(x, _on_grid(module.weight, self.weight).to(x.dtype))
        return module.add(product, None if self.bias is None else _on_grid(module.bias, self.bias).to(x.dtype), shortcut)


def _on_grid(values: Tensor | None, form: Format | None) -> Tensor:
    assert values is not None
    assert form is not None
    return quantize(values, form)


def _int32(values: Tensor | None, form: Format | None) -> Tensor:
    assert values is not None
    assert form is not None
    return to_integers(values, form).to(torch.int32)


@dataclass(frozen=True, eq=False)
class Program:
    """A quantized network. `errors`: by module the squared error on the calibration batch, as found and with the widest formats."""

    input: Format
    steps: tuple[Rounded | View, ...]
    errors: tuple[tuple[str, float, float], ...] = ()

    @property
    def output(self) -> str:
        """Name of the result."""
        last = self.steps[-1]
        return last.name if isinstance(last, View) else last.module.name

    @property
    def exact_type(self) -> torch.dtype:
        """Floating-point type that holds every sum exactly."""
        largest = max(step.largest_sum for step in self.steps if isinstance(step, Rounded))
        return torch.float32 if largest < EXACT_IN_FLOAT32 else torch.float64

    @torch.no_grad()
    def integers(self, x: Tensor) -> dict[str, Tensor]:
        """Return every tensor by name, int32, from a float input."""
        return self._run(to_integers(x.double(), self.input).to(torch.int32), integers=True)

    @torch.no_grad()
    def fake(self, x: Tensor) -> dict[str, Tensor]:
        """Return every tensor by name, as values on its grid, from a float input."""
        return self._run(quantize(x.double(), self.input).to(self.exact_type), integers=False)

    def _run(self, x: Tensor, integers: bool) -> dict[str, Tensor]:
        values = {"input": x}
        for step in self.steps:
            if isinstance(step, View):
                values[step.name] = step.view(values[step.x])
                continue
            module = step.module
            shortcut = None if module.shortcut is None else values[module.shortcut]
            values[module.name] = (step.integers if integers else step.fake)(values[module.x], shortcut)
        return values

    def mismatches(self, x: Tensor) -> int:
        """Return how many values of all tensors differ between the integer run and the fake-quantized one."""
        whole, values = self.integers(x), self.fake(x)
        return sum(int((values[name].double() * 2.0**fraction != whole[name]).sum()) for name, fraction in self.fractions().items())

    def fractions(self) -> dict[str, int]:
        """Return the fractional bits of every tensor by name."""
        found = {"input": self.input.fraction}
        for step in self.steps:
            if isinstance(step, View):
                found[step.name] = found[step.x]
            else:
                found[step.module.name] = step.out.fraction
        return found


# ---- calibration -----------------------------------------------------------------------------------------------------


@torch.no_grad()
def calibrate(graph: Graph, batch: Tensor, bits: int, *, searched: bool = True, input_bits: int = FIXED_BITS) -> Program:
    """Return the program with the formats of least squared error of each module's output against the float one, module by module in order.

    What a module reads is what the modules before it write when quantized. `searched` False takes the widest formats.
    """
    target = evaluate(graph, batch)
    signed = bool(batch.min() < 0)
    form = (search if searched else widest)(batch.double(), input_bits, signed)
    formats, values = {graph.input: form}, {graph.input: quantize(batch.double(), form)}
    steps: list[Rounded | View] = []
    errors = []
    for step in graph.steps:
        if isinstance(step, View):
            steps.append(step)
            formats[step.name], values[step.name] = formats[step.x], step.view(values[step.x])
            continue
        shortcut = None if step.shortcut is None else values[step.shortcut]
        start = _widest_of(step, formats, target[step.name], bits)
        found, error, first = _best(start, values[step.x], shortcut, target[step.name], searched)
        steps.append(found)
        errors.append((step.name, error, first))
        formats[step.name], values[step.name] = found.out, found.fake(values[step.x], shortcut)
    return Program(form, tuple(steps), tuple(errors))


def _widest_of(module: Module, formats: dict[str, Format], target: Tensor, bits: int) -> Rounded:
    return Rounded(
        module, formats[module.x], widest(target, bits, not module.relu),
        None if module.weight is None else widest(module.weight, FIXED_BITS if module.fixed_bits else bits),
        None if module.bias is None else widest(module.bias, FIXED_BITS),
        None if module.shortcut is None else formats[module.shortcut],
    )  # fmt: skip


def _best(start: Rounded, x: Tensor, shortcut: Tensor | None, target: Tensor, searched: bool) -> tuple[Rounded, float, float]:
    """Return the formats of weight, bias and output of least squared error around the start, that error, and the start's.

    At a tie the nearest to the start, which is among those tried.
    """

    def tried(form: Format | None) -> Sequence[Format | None]:
        return around(form) if form is not None and searched else [form]

    module, weights, biases = start.module, tried(start.weight), tried(start.bias)
    offsets = [None if form is None else _on_grid(module.bias, form) for form in biases]
    outs = around(start.out) if searched else [start.out]
    errors = torch.zeros(len(weights), len(biases), len(outs), dtype=torch.float64)
    shortcuts = [None] * len(x.split(CHUNK)) if shortcut is None else list(shortcut.split(CHUNK))
    for i, weight in enumerate(weights):
        factor = None if weight is None else _on_grid(module.weight, weight)
        for part, added, wanted in zip(x.split(CHUNK), shortcuts, target.split(CHUNK), strict=True):
            product = part if factor is None else module.product(part, factor)
            for j, offset in enumerate(offsets):
                total = module.add(product, offset, added)
                for k, out in enumerate(outs):
                    errors[i, j, k] += quantize(total, out).sub_(wanted).square_().sum()
    i, j, k = (int(place) for place in torch.unravel_index(errors.argmin(), errors.shape))
    return replace(start, weight=weights[i], bias=biases[j], out=outs[k]), float(errors[i, j, k]), float(errors[0, 0, 0])
