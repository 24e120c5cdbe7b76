"""Integers against fake quantization, bit for bit; sums against Python's integers; the search against its start."""

import functools

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.systems.dataflow_quantization import program as dataflow_program
from benchmarks.systems.dataflow_quantization.capture import graph_of
from benchmarks.systems.dataflow_quantization.formats import Format, to_integers, widest
from benchmarks.systems.dataflow_quantization.graph import Fusion, Module, evaluate
from benchmarks.systems.dataflow_quantization.program import FIXED_BITS, Program, Rounded, calibrate
from hwmodel import InputError, zoo

SMALL = {"lenet5": {"in_channels": 1, "image_size": 28, "width": 0.2}, "resnet8": {"in_channels": 1, "image_size": 8, "width": 0.5}}


@functools.cache
def network(name: str) -> tuple[nn.Module, Tensor]:
    """A network whose normalisations have seen a batch, and images."""
    torch.manual_seed(0)
    model, size = zoo.build(name, **SMALL[name]), int(SMALL[name]["image_size"])
    x = torch.rand(24, 1, size, size)
    with torch.no_grad():
        model.train()(x)
    return model.eval(), x


@st.composite
def single_modules(draw):  # type: ignore[no-untyped-def]
    """A linear module with any formats, and the integers that it reads."""
    fractions, bits = st.integers(-3, 9), st.integers(2, 8)
    forms = {name: Format(draw(bits), draw(fractions), draw(st.booleans())) for name in ("x", "out", "shortcut")}
    forms |= {name: Format(draw(bits), draw(fractions)) for name in ("weight", "bias")}
    seed, has_bias, has_shortcut = draw(st.integers(0, 10**6)), draw(st.booleans()), draw(st.booleans())
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, 5, generator=generator, dtype=torch.float64) * 2.0 ** draw(st.integers(-3, 3))
    bias = torch.randn(3, generator=generator, dtype=torch.float64) if has_bias else None
    module = Module("out", "x", F.linear, weight, bias, "shortcut" if has_shortcut else None)
    read = {
        name: torch.randint(form.low, form.high + 1, (4, size), generator=generator)
        for name, form, size in (("x", forms["x"], 5), ("shortcut", forms["shortcut"], 3))
    }
    return module, forms, read, has_bias, has_shortcut


@given(drawn=single_modules())
def test_a_module_is_its_sum_in_python_integers_and_in_floats(drawn) -> None:  # type: ignore[no-untyped-def]
    module, forms, read, has_bias, has_shortcut = drawn
    given_forms = [
        forms["x"],
        forms["out"],
        forms["weight"],
        forms["bias"] if has_bias else None,
        forms["shortcut"] if has_shortcut else None,
    ]
    try:
        rounded = Rounded(module, *given_forms)
    except InputError:
        assume(False)  # a sum of more than 32 bits
    shortcut = read["shortcut"] if has_shortcut else None
    found = rounded.integers(read["x"].int(), None if shortcut is None else shortcut.int())

    weight = to_integers(module.weight, forms["weight"]).long().tolist()
    bias = to_integers(module.bias, forms["bias"]).long().tolist() if has_bias else [0, 0, 0]
    finest, half = 12 + 9, 2  # all fractions lie between -6 and 18
    for row in range(4):
        for k in range(3):
            total = (
                sum(a * b for a, b in zip(read["x"][row].tolist(), weight[k], strict=True))
                << finest - forms["x"].fraction - forms["weight"].fraction
            )
            total += bias[k] << finest - forms["bias"].fraction
            total += 0 if shortcut is None else int(shortcut[row, k]) << finest - forms["shortcut"].fraction
            assert abs(total) <= rounded.largest_sum * 2 ** (finest - rounded.sum_fraction + max(0, rounded.shift))
            nearest = (half * total + (1 << finest - forms["out"].fraction)) >> finest - forms["out"].fraction + 1
            assert int(found[row, k]) == max(forms["out"].low, min(forms["out"].high, nearest))

    fake = rounded.fake(
        read["x"].double() * 2.0 ** -forms["x"].fraction,
        None if shortcut is None else shortcut.double() * 2.0 ** -forms["shortcut"].fraction,
    )
    assert torch.equal(fake * 2.0 ** forms["out"].fraction, found.double())


@pytest.mark.parametrize("fusion", Fusion)
@pytest.mark.parametrize("bits", [8, 6, 4, 2])
@pytest.mark.parametrize("name", SMALL)
def test_whole_networks_are_the_same_in_integers(name: str, bits: int, fusion: Fusion) -> None:
    model, x = network(name)
    program = calibrate(graph_of(model, x[:1], fusion), x[:16], bits)
    integers, fake, fractions = program.integers(x), program.fake(x), program.fractions()
    assert program.mismatches(x) == 0
    assert integers.keys() == fake.keys() == fractions.keys()
    for tensor, fraction in fractions.items():
        assert integers[tensor].dtype == torch.int32
        assert torch.equal(fake[tensor].double() * 2.0**fraction, integers[tensor].double()), tensor
    written = {step.module.name: step.out for step in program.steps if isinstance(step, Rounded)}
    assert all(form.low <= integers[tensor].min() and integers[tensor].max() <= form.high for tensor, form in written.items())
    assert len(integers[program.output].unique()) > 1


def test_another_rounding_is_found_out(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    model, x = network("resnet8")
    program = calibrate(graph_of(model, x[:1], Fusion.unified), x[:16], 4)

    def half_to_even(values: Tensor, form: Format) -> Tensor:
        return (values * 2.0**form.fraction).round().clamp(form.low, form.high) * 2.0**-form.fraction

    monkeypatch.setattr(dataflow_program, "quantize", half_to_even)
    assert program.mismatches(x) > 0


@pytest.mark.parametrize("fusion", Fusion)
def test_searched_formats_are_nowhere_worse_than_the_widest(fusion: Fusion) -> None:
    model, x = network("resnet8")
    graph = graph_of(model, x[:1], fusion)
    found, start = calibrate(graph, x, 4), calibrate(graph, x, 4, searched=False)
    assert [name for name, *_ in found.errors] == [module.name for module in graph.modules]
    assert all(error <= widest_error for _, error, widest_error in found.errors)
    assert any(error < widest_error for _, error, widest_error in found.errors)
    assert all(error == widest_error for _, error, widest_error in start.errors)
    target, fake = evaluate(graph, x), found.fake(x)
    for name, error, _ in found.errors:
        assert float((fake[name].double() - target[name]).square().sum()) == pytest.approx(error, rel=1e-9)


def test_widths_are_those_asked_for() -> None:
    model, x = network("resnet8")
    program = calibrate(graph_of(model, x[:1], Fusion.separate), x, 4)
    assert program.input == Format(8, 8, signed=False)
    for step in program.steps:
        if isinstance(step, Rounded):
            assert step.out.bits == 4
            assert step.out.signed != step.module.relu
            assert step.weight is None or step.weight.bits == (FIXED_BITS if step.module.fixed_bits else 4)
            assert step.bias is None or step.bias.bits == FIXED_BITS


def test_a_signed_input_has_a_signed_format() -> None:
    model, x = network("lenet5")
    assert calibrate(graph_of(model, x[:1], Fusion.unified), x - 0.5, 8).input.signed


def test_sums_over_32_bits_are_refused_and_those_over_24_run_in_float64() -> None:
    weight = torch.full((1, 2**11), 127.0, dtype=torch.float64)
    form, byte = Format(8, 0), Format(8, 0, signed=False)
    module = Module("out", "input", F.linear, weight)
    rounded = Rounded(module, byte, form, widest(weight, 8))
    assert rounded.largest_sum == 255 * 127 * 2**11
    program = Program(byte, (rounded,))
    assert program.exact_type == torch.float64
    assert program.integers(torch.full((1, 2**11), 255.0))["out"].tolist() == [[127]]
    small = Rounded(Module("out", "input", F.linear, weight[:, :4]), byte, form, form)
    assert Program(byte, (small,)).exact_type == torch.float32
    with pytest.raises(InputError, match=r"module out sums up to .* it must stay below 2\^31"):
        Rounded(module, byte, Format(8, 9), widest(weight, 8))
