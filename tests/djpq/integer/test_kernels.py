"""Integer kernels against slow, obvious ones."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from djpq.integer.kernels import integer_convolution, integer_round, run
from djpq.integer.program import Instruction, signed_bits


@given(st.lists(st.integers(-(2**51), 2**51), min_size=1, max_size=8), st.integers(0, 48))
def test_rounding_is_to_nearest_ties_to_even(values: list[int], fraction: int) -> None:
    limit = 2**31 - 1
    found = integer_round(torch.tensor(values), {"fraction": fraction, "low": -limit, "high": limit})
    wanted = [max(-limit, min(limit, round(Fraction(value, 2**fraction)))) for value in values]  # Python rounds fractions to even
    assert found.tolist() == wanted
    assert found.dtype == torch.int32


@pytest.mark.parametrize(
    ("value", "wanted"), [(-24, -2), (-20, -1), (-12, -1), (-8, 0), (8, 0), (9, 1), (24, 2), (40, 2), (56, 4), (200, 7)]
)
def test_rounding_by_hand(value: int, wanted: int) -> None:
    """In sixteenths: 24 is 1.5 and goes to 2, 40 is 2.5 and goes to 2; 7 is the most."""
    low = {-24: -2}.get(value, -1)
    assert integer_round(torch.tensor([value]), {"fraction": 4, "low": low, "high": 7}).tolist() == [wanted]


@given(st.integers(1, 3), st.integers(0, 2), st.integers(1, 2), st.sampled_from([1, 2]), st.booleans(), st.integers(0, 99))
def test_convolutions_are_loops(stride: int, padding: int, dilation: int, groups: int, transposed: bool, seed: int) -> None:
    torch.manual_seed(seed)
    x, weight = torch.randint(-50, 50, (2, 4, 7, 6)), torch.randint(-7, 8, (4, 4 // groups, 3, 2))
    a = {
        "stride": [stride] * 2,
        "padding": [padding] * 2,
        "dilation": [dilation] * 2,
        "groups": groups,
        "transposed": transposed,
        "output_padding": [0, 0],
    }
    found = integer_convolution(x.to(torch.int32), weight.to(torch.int8), a)
    assert found.dtype == torch.int32
    group_in, group_out = 4 // groups, (weight.shape[1] if transposed else 4 // groups)
    height, width = found.shape[2:]
    wanted = torch.zeros(found.shape, dtype=torch.int64)
    for o in range(found.shape[1]):
        g = o // group_out
        for i in range(group_in):
            c = g * group_in + i
            for p in range(3):
                for q in range(2):
                    w = weight[c, o % group_out, p, q] if transposed else weight[o, i, p, q]
                    for y in range(7 if transposed else height):
                        for z in range(6 if transposed else width):
                            if transposed:
                                to = (y * stride - padding + p * dilation, z * stride - padding + q * dilation)
                                if 0 <= to[0] < height and 0 <= to[1] < width:
                                    wanted[:, o, to[0], to[1]] += w * x[:, c, y, z]
                            else:
                                at = (y * stride - padding + p * dilation, z * stride - padding + q * dilation)
                                if 0 <= at[0] < 7 and 0 <= at[1] < 6:
                                    wanted[:, o, y, z] += w * x[:, c, at[0], at[1]]
    assert torch.equal(found.long(), wanted)


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [(0, 0, 1), (0, 1, 2), (-1, 0, 1), (-1, 1, 2), (-128, 127, 8), (-129, 127, 9), (0, 128, 9), (-(2**31), 2**31 - 1, 32)],
)
def test_bits_of_an_interval(low: int, high: int, bits: int) -> None:
    assert signed_bits(low, high) == bits


def test_exact_and_integer_kernels_know_the_same_operations() -> None:
    x = torch.randint(0, 15, (2, 3, 4, 4), dtype=torch.int32)
    cases = [
        Instruction("linear", "y", ("x",), {}, {"weight": torch.randint(-7, 8, (5, 4), dtype=torch.int8)}),
        Instruction("matmul", "y", ("x", "x")), Instruction("multiply", "y", ("x", "x")),
        Instruction("sum", "y", ("x",), {"dims": [2, 3], "keepdim": True}),
        Instruction("sum", "y", ("x",), {"kernel": [2, 2], "stride": [2, 2], "padding": [1, 1], "ceil_mode": False}),
        Instruction("scale", "y", ("x",), {}, {"multiplier": torch.tensor([3, -5, 2**30])[:, None, None]}),
        Instruction("max_pool", "y", ("x",), {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0], "dilation": [1, 1], "ceil_mode": False}),
        Instruction("clip", "y", ("x",), {}, {"low": torch.tensor(2), "high": torch.tensor(9)}),
        Instruction("concat", "y", ("x", "x"), {"dim": 1}), Instruction("reshape", "y", ("x",), {"shape": ["1n", 48]}),
        Instruction("round", "y", ("x",), {"fraction": 2, "low": 0, "high": 3}),
    ]  # fmt: skip
    for case in cases:
        ours = run(case, [x.long() if case.op == "round" else x] * max(1, len(case.inputs)), 2, False)
        theirs = run(case, [x.double()] * max(1, len(case.inputs)), 2, True)
        assert not ours.is_floating_point()
        assert torch.equal(ours.double(), theirs), case.op
