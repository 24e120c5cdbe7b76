"""Programs as a whole: bounds, widths to 16 bits, both ways to requantize, what has no integer form."""

import pytest
import torch
from torch import nn

import hwmodel
from djpq import attach, finalize
from djpq.integer import IntegerModel, load_program, lower, prove, save_program
from djpq.integer.program import ACCUMULATORS
from djpq.objective import decide
from hwmodel.errors import InputError


@pytest.fixture(scope="module")
def finished(finish_at_random):  # type: ignore[no-untyped-def]
    torch.manual_seed(2)
    return finish_at_random(hwmodel.zoo.build("resnet8", in_channels=1, image_size=8, width=0.5).eval(), torch.rand(16, 1, 8, 8))


def test_accumulators_stay_within_their_bounds(finished) -> None:  # type: ignore[no-untyped-def]
    """Worst inputs reach the bound of the first layer exactly: each weight meets the end of the range that fits its sign."""
    program = finished.integers.program
    first = next(i for i in program.instructions if i.op == "conv")
    low, high = program.bounds[first.inputs[0]]
    weight = first.tensors["weight"].long()
    best = torch.where(weight > 0, high, low).clamp(min=low)
    assert int((weight * best).flatten(1).sum(1).max()) == program.bounds[first.output][1]
    assert 8 < program.accumulator[0] <= 32
    values = finished.integers.run(torch.rand(4, 1, 8, 8) * 100 - 50)
    for name, value in values.items():
        assert program.bounds[name][0] <= int(value.min())
        assert int(value.max()) <= program.bounds[name][1]


@pytest.mark.parametrize("bits", [1, 2, 9, 12, 16])
def test_widths_to_16_bits(bits: int, finish_at_random) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(bits)
    model = hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25).eval()
    widths = (max(2, bits),)
    if bits == 16:
        with pytest.raises(InputError, match=r"accumulator of 3\d bits; 32 is the most"):
            lower_wide(model, widths)
        return
    finished = finish_at_random(model, torch.rand(16, 1, 8, 8), weight_bits=widths, activation_bits=(bits,))
    proof = finished.proof.integers
    assert (proof.exact, proof.differing) == (True, 0)
    assert {bits} <= set(finished.compression.activation_bits.tolist())


def lower_wide(model: nn.Module, widths: tuple[int, ...]) -> None:
    x = torch.rand(16, 1, 8, 8)
    attached = attach(model, hwmodel.trace(model, (x[:1],)), weight_widths=widths, activation_widths=widths, gates=False, start_bits=16)
    attached.calibrate(x)
    decide(attached.eval(), hwmodel.load_accelerator("loom"), {})
    finished = finalize(attached, hwmodel.load_accelerator("loom"), x)
    assert finished.integers is None
    assert "accumulator" in str(finished.proof)
    lower(finished.model, finished.grids, (x,))


def test_a_shift_multiplies_by_powers_of_two_alone(finished) -> None:  # type: ignore[no-untyped-def]
    x = torch.rand(16, 1, 8, 8)
    program = lower(finished.model, finished.grids, (x,), "shift")
    multipliers = [i.tensors["multiplier"].abs() for i in program.instructions if i.op == "scale"]
    assert len(multipliers) > 5
    for multiplier in multipliers:
        assert bool((multiplier & (multiplier - 1) == 0).all())
    proof = prove(finished.model, finished.grids, IntegerModel(program), (x,))
    assert proof.exact
    assert proof.differing > 0  # another function: scales are off by up to a factor of the root of two
    with pytest.raises(InputError, match="multiplier, shift"):
        lower(finished.model, finished.grids, (x,), "float")


def test_multipliers_fit_32_bits_and_no_float_is_stored(finished) -> None:  # type: ignore[no-untyped-def]
    program = finished.integers.program
    assert program.islands == ()
    for instruction in program.instructions:
        for name, tensor in instruction.tensors.items():
            assert not tensor.is_floating_point()
            if name == "multiplier":
                assert int(tensor.abs().max()) < 2**31
    wide = [program.bounds[i.output] for i in program.instructions if i.op not in ACCUMULATORS]
    assert max(max(-low, high) for low, high in wide) < 2**53


def test_files_hold_the_whole_program(finished, tmp_path) -> None:  # type: ignore[no-untyped-def]
    x, path = torch.rand(16, 1, 8, 8), tmp_path / "integers.safetensors"
    save_program(finished.integers.program, path)
    read = IntegerModel(load_program(path))
    assert torch.equal(read(x), finished.integers(x))
    assert str(read) == str(finished.integers)
    whole = path.read_bytes()
    for damaged in (whole[:-7], whole[:20], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"integers\.safetensors: .*export it again"):
            load_program(path)
    with pytest.raises(InputError, match="no integer program"):
        load_program(tmp_path / "none")


def test_what_has_no_integer_form_says_why(function_model, prune_at_random) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model = function_model(lambda m, x: m.b(torch.cumsum(m.a(x), 1)), a=nn.Linear(8, 6), b=nn.Linear(6, 4))
    _, finished = prune_at_random(model, torch.randn(6, 8))
    assert finished.integers is None
    assert "operator cumsum (cumsum) has no integer form" in str(finished.proof)
    assert finished.proof.holds


def test_islands_are_named(networks, finish_at_random) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(3)
    finished = finish_at_random(networks["vision transformer"]().eval(), torch.rand(8, 1, 8, 8))
    assert len(finished.integers.program.islands) == 9  # 5 layer norms, 2 softmax, 2 gelu
    assert "softmax" in str(finished.proof)
    products = [i for i in finished.integers.program.instructions if i.op == "matmul"]
    assert len(products) == 4


def test_the_wrong_number_of_inputs_is_refused(finished) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="2 inputs are given; the network has 1"):
        finished.integers(torch.rand(1, 1, 8, 8), torch.rand(1))
