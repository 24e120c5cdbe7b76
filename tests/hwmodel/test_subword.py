"""Envision: splits of a word, the wider operand decides, and energy through two published points."""

from dataclasses import replace

import pytest
import torch

from hwmodel import load_accelerator
from hwmodel.subword import SubWord

SIZES = {"filters": 64, "reduction": 1024, "positions": 49}


@pytest.fixture
def envision() -> SubWord:
    loaded = load_accelerator("envision")
    assert isinstance(loaded, SubWord)
    return loaded


@pytest.mark.parametrize(
    ("weight_bits", "input_bits", "products_a_word"),
    [(16, 16, 1), (9, 2, 1), (8, 8, 2), (5, 5, 2), (2, 8, 2), (4, 4, 4), (1, 1, 4), (3, 4, 4)],
)
def test_a_word_splits_for_the_wider_operand(weight_bits: int, input_bits: int, products_a_word: int, envision, work_of) -> None:  # type: ignore[no-untyped-def]
    for w, a in ((weight_bits, input_bits), (input_bits, weight_bits)):
        work = work_of(**SIZES, weight_bits=w, input_bits=a)
        assert 64 * 1024 * 49 / envision.execute(work).compute_cycles.item() == 256 * products_a_word
        assert envision.granule(work).reduction.item() == 16 * products_a_word


@pytest.mark.parametrize(("bits", "passes"), [(16, 1), (17, 4), (32, 4), (33, 9)])
def test_operands_wider_than_the_word_take_passes(bits: int, passes: int, envision, work_of) -> None:  # type: ignore[no-untyped-def]
    one, wide = (envision.execute(work_of(**SIZES, weight_bits=b, input_bits=b)).compute_cycles.item() for b in (16, bits))
    assert wide == passes * one


@pytest.mark.parametrize(("bits", "tops_per_watt"), [(16, 0.26), (4, 10)])
def test_energy_meets_the_published_efficiencies(bits: int, tops_per_watt: float, envision, work_of) -> None:  # type: ignore[no-untyped-def]
    work = work_of(**SIZES, weight_bits=bits, input_bits=bits)
    assert (2 * work.macs / envision.execute(work).energy_pj["compute"]).item() == pytest.approx(tops_per_watt, rel=1e-6)


def test_narrowing_one_operand_alone_has_no_gradient(envision, work_of) -> None:  # type: ignore[no-untyped-def]
    weight, inputs = (torch.tensor([8.0], dtype=torch.float64, requires_grad=True) for _ in range(2))
    cycles = envision.execute(replace(work_of(**SIZES), weight_bits=weight, input_bits=inputs)).compute_cycles.sum()
    assert all(grad is None or grad.item() == 0 for grad in torch.autograd.grad(cycles, (weight, inputs), allow_unused=True))
    weight = torch.tensor([8.01], dtype=torch.float64, requires_grad=True)
    cycles = envision.execute(replace(work_of(**SIZES), weight_bits=weight, input_bits=inputs)).compute_cycles.sum()
    assert torch.autograd.grad(cycles, weight)[0].item() > 0


def test_a_narrower_word_limits_the_splits(envision, work_of) -> None:  # type: ignore[no-untyped-def]
    coarse = replace(envision, narrowest_bits=8)
    assert coarse.granule(work_of(**SIZES, weight_bits=2, input_bits=2)).reduction.item() == 32
