"""What each operation computes, twice: on integers, and on float64 numbers that are integers, where torch's own kernels are exact.

The two share nothing where rounding or overflow could hide: products run on int32 and on float64, rounding is shift and mask here and
`torch.round` there. Everything else (views, maxima, sums of wide values) is the same operation on another type.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .program import Instruction

Attributes = Mapping[str, Any]
CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAXIMA = {2: F.max_pool2d, 3: F.max_pool3d}
SUMS = {2: F.avg_pool2d, 3: F.avg_pool3d}


def convolution(x: Tensor, weight: Tensor, a: Attributes) -> Tensor:
    """Return a convolution without bias, plain or transposed, in the type of its operands."""
    rank = weight.dim() - 2
    if a["transposed"]:
        return TRANSPOSED[rank](x, weight, None, a["stride"], a["padding"], a["output_padding"], a["groups"], a["dilation"])  # type: ignore[operator]
    return CONVOLUTIONS[rank](x, weight, None, a["stride"], a["padding"], a["dilation"], a["groups"])  # type: ignore[operator]


def integer_convolution(x: Tensor, weight: Tensor, a: Attributes) -> Tensor:
    """Return int32 sums; torch has some forms on int64 alone, whose sums fit 32 bits as the bound says."""
    wide = a["transposed"] or any(d != 1 for d in a["dilation"])
    kind = torch.int64 if wide else torch.int32
    return convolution(x.to(kind), weight.to(kind), a).to(torch.int32)


def maximum(x: Tensor, a: Attributes) -> Tensor:
    """Return a max-pool; torch has none in one dimension for integers."""
    kernel, stride, padding, dilation, ceil = a["kernel"], a["stride"], a["padding"], a["dilation"], a["ceil_mode"]
    if len(kernel) == 1:
        return F.max_pool2d(x.unsqueeze(-2), [1, *kernel], [1, *stride], [0, *padding], [1, *dilation], ceil).squeeze(-2)
    return MAXIMA[len(kernel)](x, kernel, stride, padding, dilation, ceil)  # type: ignore[operator,no-any-return]


def integer_round(wide: Tensor, a: Attributes, more: Tensor | None = None) -> Tensor:
    """Return `wide / 2^fraction` rounded to the nearest integer, ties to even, by shift and mask, within the width.

    `more` is added to the fraction by channel.
    """
    fraction = torch.tensor(a["fraction"]) if more is None else a["fraction"] + more
    if bool((fraction > 0).all()):
        one = torch.ones_like(fraction)
        shifted = wide + (one << (fraction - 1))
        rounded = shifted >> fraction
        wide = rounded - ((shifted & ((one << fraction) - 1) == 0) & (rounded & 1 == 1)).to(rounded.dtype)
    return wide.clamp(a["low"], a["high"]).to(torch.int32)


def float_round(wide: Tensor, a: Attributes, more: Tensor | None = None) -> Tensor:
    scale = 2.0 ** -a["fraction"] if more is None else torch.exp2(-(a["fraction"] + more).double())
    return torch.round(wide * scale).clamp(a["low"], a["high"])


def sizes_for(sizes: Sequence[Any], batch: int) -> list[int]:
    """Return sizes with those that follow the batch ("2n": twice the batch) as numbers."""
    return [int(size[:-1]) * batch if isinstance(size, str) else size for size in sizes]


VIEWS: dict[str, Callable[[Tensor, Attributes, int], Tensor]] = {
    "reshape": lambda x, a, batch: x.reshape(sizes_for(a["shape"], batch)),
    "permute": lambda x, a, batch: x.permute(a["dims"]),
    "slice": lambda x, a, batch: x[(slice(None),) * a["dim"] + (slice(a["start"], a["end"], a["step"]),)],
    "select": lambda x, a, batch: x.select(a["dim"], a["index"]),
    "index_select": lambda x, a, batch: x.index_select(a["dim"], torch.tensor(a["index"])),
    "expand": lambda x, a, batch: x.expand(sizes_for(a["shape"], batch)),
    "repeat_interleave": lambda x, a, batch: x.repeat_interleave(a["repeats"], a["dim"]),
    "pixel_shuffle": lambda x, a, batch: F.pixel_shuffle(x, a["factor"]),
}
ISLANDS: dict[str, Callable[..., Tensor]] = {
    "softmax": lambda x, a, t: torch.softmax(x, a["dim"]),
    "layer_norm": lambda x, a, t: F.layer_norm(x, a["shape"], t.get("weight"), t.get("bias"), a["eps"]),
    "gelu": lambda x, a, t: F.gelu(x, approximate=a["approximate"]),
    "silu": lambda x, a, t: F.silu(x),
    "sigmoid": lambda x, a, t: torch.sigmoid(x),
    "tanh": lambda x, a, t: torch.tanh(x),
    "hardswish": lambda x, a, t: F.hardswish(x),
    "hardsigmoid": lambda x, a, t: F.hardsigmoid(x),
    "leaky_relu": lambda x, a, t: F.leaky_relu(x, a["slope"]),
}


def island(x: Tensor, a: Attributes, tensors: Mapping[str, Tensor]) -> Tensor:
    """Return a function of real numbers between two roundings: from wide integers and back, in float64."""
    found = ISLANDS[a["function"]](x.double() * 2.0 ** -a["from_fraction"], a, tensors)
    return torch.round(found * tensors["factor"] * 2.0 ** a["fraction"])


def run(instruction: Instruction, operands: list[Tensor], batch: int, exact: bool) -> Tensor:
    """Return the result of one instruction: on integers, or with `exact` on float64 numbers that are integers."""
    op, a, t = instruction.op, instruction.attributes, instruction.tensors
    x = operands[0]
    narrow = torch.float64 if exact else torch.int32  # the type of products
    wide = torch.float64 if exact else torch.int64
    if op == "quantize":  # the one float operation on the way in, as torch's fake quantization computes it
        found = torch.round(x.float() * (1 / torch.tensor(a["step"], dtype=torch.float32))).clamp(a["low"], a["high"])
        return found.to(narrow)
    if op == "conv":
        return convolution(x, t["weight"].double(), a) if exact else integer_convolution(x, t["weight"], a)
    if op == "linear":
        return F.linear(x.to(narrow), t["weight"].to(narrow))
    if op == "matmul":
        return torch.matmul(x.to(narrow), operands[1].to(narrow))
    if op == "multiply":
        return x.to(narrow) * operands[1].to(narrow)
    if op == "sum":
        if "kernel" in a:
            pool = SUMS[len(a["kernel"])](x.to(wide), a["kernel"], a["stride"], a["padding"], a["ceil_mode"], True, 1)
            return pool.to(narrow)
        return x.to(wide).sum(a["dims"], keepdim=a["keepdim"]).to(narrow)
    if op == "scale":
        return x.to(wide) * t["multiplier"].to(wide)
    if op == "constant":
        return t["value"].to(wide).expand(sizes_for(a["shape"], batch))
    if op == "offset":
        return x + t["offset"].to(x.dtype)
    if op == "add":
        return x + operands[1]
    if op == "clip":
        low, high = t.get("low"), t.get("high")
        return x.clamp(None if low is None else low.to(x.dtype), None if high is None else high.to(x.dtype))
    if op == "max_pool":
        return maximum(x, a)
    if op == "concat":
        return torch.cat(operands, a["dim"])
    if op == "island":
        return island(x, a, t).to(wide)
    if op == "round":
        return (float_round if exact else integer_round)(x, a, t.get("more"))
    return VIEWS[op](x, a, batch)
