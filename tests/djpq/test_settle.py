"""Settled widths hold every limit, use it, and follow what training wanted."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel
from djpq.attach import attach
from djpq.settle import Allocation, settle
from hwmodel.errors import InputError

MODEL = hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25)
NETWORK = hwmodel.trace(MODEL, (torch.rand(1, 1, 8, 8),))
MACHINE = hwmodel.load_accelerator("bitfusion")
FULL = hwmodel.simulate(NETWORK, hwmodel.full_precision(NETWORK), MACHINE)


def allocation(share: float, real: torch.Tensor, widths: tuple[int, ...] | None = None, limit: str = "bops") -> Allocation:
    options = {"weight_widths": widths, "activation_widths": widths} if widths else {}
    attached = attach(MODEL, NETWORK, **options)  # type: ignore[arg-type]
    allowed = [q.widths for q in attached.quantizers]
    bits = torch.tensor([min(w, key=lambda v: abs(v - float(r))) for w, r in zip(allowed, real, strict=True)])
    counts = torch.tensor([float(len(g.mask)) for g in attached.gates.values()])
    limits = {limit: share * float(getattr(FULL, limit))}
    return Allocation(NETWORK, MACHINE, limits, attached.compression_of, allowed, real, bits, counts, counts)


QUANTIZERS = len(attach(MODEL, NETWORK).quantizers)


@settings(max_examples=20)
@given(st.floats(0.004, 0.05), st.integers(0, 1000))
def test_never_above_the_limit_and_within_2_percent_below(share: float, seed: int) -> None:
    real = 1.5 + 6.5 * torch.rand(QUANTIZERS, generator=torch.Generator().manual_seed(seed))
    found = allocation(share, real)
    settle(found)
    assert 0.98 <= float(found.use(found.at)) <= 1.0


def test_other_limits_than_bops_hold() -> None:
    for limit, share in (("energy_pj", 0.12), ("weight_bits", 0.1), ("cycles", 0.1)):
        found = allocation(share, torch.full((QUANTIZERS,), 6.0), limit=limit)
        settle(found)
        assert float(found.use(found.at)) <= 1.0


def test_restricted_widths_stay_in_their_set() -> None:
    found = allocation(0.02, torch.full((QUANTIZERS,), 6.0), widths=(2, 4, 8))
    bits, _ = settle(found)
    assert set(bits.tolist()) <= {2.0, 4.0, 8.0}
    assert float(found.use(found.at)) <= 1.0


def test_the_tensor_that_wanted_less_is_lowered_first() -> None:
    real = torch.full((QUANTIZERS,), 4.4)
    real[3] = 3.6
    found = allocation(1.0, real)
    before = found.at.clone()
    found.limits = {"bops": 0.999 * float(found.use(found.at)) * float(FULL.bops)}
    found._caps = torch.tensor(list(found.limits.values()), dtype=torch.float64)
    found.lower_until_held()
    assert (before - found.at).nonzero().flatten().tolist() == [3]


def test_channels_go_when_no_width_can_fall() -> None:
    found = allocation(0.001, torch.full((QUANTIZERS,), 1.0))
    _, kept = settle(found)
    assert kept is not None
    assert float(found.use(found.at)) <= 1.0
    assert bool((kept >= 1).all())
    assert float(kept.sum()) < sum(group.channels for group in NETWORK.groups if group.prunable)


def test_impossible_limits_are_refused() -> None:
    with pytest.raises(InputError, match="no allocation holds"):
        settle(allocation(1e-9, torch.full((QUANTIZERS,), 1.0)))
