"""Scores against exact leave-one-out changes, masks and stored bits at their limits, and what each fine-tuning mode may change."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import djpq
import hwmodel
from benchmarks.systems.sparse_stereo.taylor import (
    SCALE_BITS,
    Tuning,
    best_index,
    fine_tune,
    global_masks,
    keep_within,
    magnitude_scores,
    on_grid,
    quantized,
    random_scores,
    stored_bits,
    stored_weights,
    taylor_scores,
    weights_of,
    with_density,
)
from hwmodel import InputError
from hwmodel.sparsity import Bitmap, RunLength


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().mean()


def linear_case(seed: int, size: float) -> tuple[nn.Sequential, Tensor, Tensor]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(12, 1, bias=False)).double()
    with torch.no_grad():
        model[0].weight.mul_(size)
    return model, torch.randn(30, 12, dtype=torch.float64), torch.randn(30, 1, dtype=torch.float64)


@given(seed=st.integers(0, 10**6))
def test_scores_rank_a_linear_model_as_leaving_out_each_weight_does(seed: int) -> None:
    """The loss is quadratic: leaving w out changes it by -g w + h w^2 / 2, so small weights show the first order."""
    model, inputs, targets = linear_case(seed, 1e-5)
    weight = model[0].weight
    score = taylor_scores(model, [(inputs, targets)], squared_error)["0.weight"].flatten()
    gradient = torch.autograd.grad(squared_error(model(inputs), targets), weight)[0].flatten()
    exact = []
    with torch.no_grad():
        before = squared_error(model(inputs), targets)
        for i in range(12):
            changed = weight.clone()
            changed[0, i] = 0
            exact.append(squared_error(inputs @ changed.T, targets) - before)
    change, curvature = torch.stack(exact), inputs.square().mean(0)
    torch.testing.assert_close(
        change, -gradient * weight.detach().flatten() + curvature * weight.detach().flatten().square(), atol=1e-14, rtol=1e-6
    )
    distance = (score[:, None] - score[None, :]).abs()
    certain = distance > 2 * (curvature * weight.detach().flatten().square()).max() + 1e-13
    assert torch.equal((score[:, None] > score[None, :])[certain], (change.abs()[:, None] > change.abs()[None, :])[certain])
    assert certain.sum() > 100


def test_batches_are_averaged_by_size_so_an_optimum_still_has_scores() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False)).double()
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    one = torch.ones(1, 1, dtype=torch.float64)
    batches = [(one, one * 3), (one, -one)]  # gradients -4 and 4: the mean is 0
    assert taylor_scores(model, batches, squared_error)["0.weight"].item() == 4
    assert taylor_scores(model, batches, squared_error, squared=True)["0.weight"].item() == 16


def test_scores_on_quantized_weights_are_taken_there_and_leave_the_model_alone() -> None:
    model, inputs, targets = linear_case(0, 1.0)
    before = model[0].weight.detach().clone()
    found = taylor_scores(model, [(inputs, targets)], squared_error, bits=3)["0.weight"]
    assert torch.equal(model[0].weight, before)
    assert model.training
    grid = on_grid(before, 3).requires_grad_()
    gradient = torch.autograd.grad(squared_error(inputs @ grid.T, targets), grid)[0]
    torch.testing.assert_close(found, (gradient * grid).abs().detach())
    assert len(grid.unique()) <= 7


# ---- masks and stored bits -------------------------------------------------------------------------------------------


def scores_of(seed: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {"a": 100 * torch.rand(4, 9, generator=draw), "b": torch.rand(8, 3, 3, 3, generator=draw), "c": torch.zeros(2, 5)}


@given(seed=st.integers(0, 10**6), keep=st.integers(3, 262))
def test_exactly_so_many_weights_stay_and_one_in_every_layer(seed: int, keep: int) -> None:
    scores = scores_of(seed)
    masks = global_masks(scores, keep)
    assert sum(int(mask.sum()) for mask in masks.values()) == keep
    assert all(mask.sum() >= 1 for mask in masks.values())
    fewer = global_masks(scores, max(3, keep // 2))
    assert all(bool((masks[name] >= fewer[name]).all()) for name in masks)
    held = global_masks(scores_of(seed + 1), max(3, keep // 2))
    again = global_masks(scores, keep, held)
    assert sum(int((again[name] < held[name]).sum()) for name in held) <= max(0, max(3, keep // 2) + 3 - keep)


def test_layers_of_different_sizes_are_ranked_after_their_norm() -> None:
    scores = scores_of(0)
    same = global_masks({name: score * {"a": 1e6, "b": 1e-6, "c": 1}[name] for name, score in scores.items()}, 100)
    assert all(torch.equal(mask, same[name]) for name, mask in global_masks(scores, 100).items())


@pytest.mark.parametrize("keep", [2, 263])
def test_keep_has_a_range(keep: int) -> None:
    with pytest.raises(InputError, match=rf"keep is {keep} weights; the range is 3 \(one a layer\) to 262"):
        global_masks(scores_of(0), keep)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), share=st.floats(0.02, 1), bits=st.sampled_from([3, 4, 8, 32]))
def test_no_more_weights_would_fit_a_limit(seed: int, share: float, bits: int) -> None:
    scores = scores_of(seed)
    limit = max(share * 262 * bits, 3 * 60.0 + 3 * SCALE_BITS)
    keep = keep_within(scores, limit, bits)

    def size(count: int) -> int:
        masks = global_masks(scores, count)
        return stored_bits(masks, bits, best_index(masks, bits))

    assert size(keep) <= limit
    assert keep == 262 or size(keep + 1) > limit


def test_what_is_stored_by_hand() -> None:
    kept = {"a": torch.tensor([[1.0, 0, 0, 0, 2], [0, 0, 0, 0, 3]]), "b": torch.ones(2, 2)}
    assert stored_bits(kept, 4, Bitmap()) == (10 + 3 * 4) + 4 * 4 + 2 * SCALE_BITS
    assert stored_bits(kept, 32, RunLength(2)) == (3 + 1) * 34 + 4 * 32  # a run of four zeros holds a padding zero; b is dense
    assert best_index(kept, 4).name != "none"


# ---- fine-tuning and quantization ------------------------------------------------------------------------------------


def informative_last_weight() -> tuple[nn.Sequential, djpq.Data]:
    """Return a model of four inputs, of which the last one alone tells the target."""
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.Linear(4, 1, bias=False)), torch.randn(64, 4)
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.4, 0.3, 0.2, 0.1]]))
    return model, djpq.Data("last", *[(inputs, 2 * inputs[:, 3:])] * 3)


@pytest.mark.parametrize("regrow_every", [0, 10])
def test_regrowing_finds_the_weight_that_matters_and_masking_keeps_the_mask(regrow_every: int) -> None:
    model, data = informative_last_weight()
    masks = {"0.weight": torch.tensor([[1.0, 0, 0, 0]])}
    how = Tuning(200, 0.05, batch_size=16, regrow_every=regrow_every, exchanged=1.0)
    found = fine_tune(model, weights_of(model), masks, data, squared_error, how, torch.Generator().manual_seed(0))
    weight = model[0].weight.detach()
    assert torch.equal(weight != 0, found["0.weight"] > 0)
    assert found["0.weight"].sum() == 1
    if regrow_every:
        assert found["0.weight"].tolist() == [[0, 0, 0, 1]]
        assert weight[0, 3].item() == pytest.approx(2, abs=0.05)
    else:
        assert torch.equal(found["0.weight"], masks["0.weight"])


def test_a_quantized_network_keeps_its_zeros_and_is_priced_with_them() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    inputs = torch.rand(8, 1, 4, 4)
    data = djpq.Data("small", *[(inputs, torch.arange(8) % 3)] * 3, num_classes=3)
    masks = global_masks(magnitude_scores(model), 40)
    attached = quantized(model, data, 4, 8)
    weights = {name: attached.module.get_parameter(name) for name in masks}
    fine_tune(attached, weights, masks, data, nn.functional.cross_entropy, Tuning(5, 1e-2), torch.Generator().manual_seed(0))
    stored = stored_weights(attached)
    assert all(bool((value[masks[name] == 0] == 0).all()) for name, value in stored.items())
    assert all(len(value.unique()) <= 15 for value in stored.values())
    network = attached.network
    sparse = with_density(attached.compression(), network, stored, best_index(stored, 4))
    nonzero = {name: int((value != 0).sum()) for name, value in stored.items()}
    assert hwmodel.bops(network, sparse) == pytest.approx(nonzero["0.weight"] * 16 * 4 * 8 + nonzero["3.weight"] * 4 * 8, abs=1)


def test_random_scores_prune_at_random_among_what_is_left() -> None:
    model = nn.Sequential(nn.Linear(50, 40))
    with torch.no_grad():
        model[0].weight[:20] = 0
    first, again = (random_scores(model, torch.Generator().manual_seed(seed))["0.weight"] for seed in (1, 1))
    assert torch.equal(first, again)
    assert bool((first[:20] == 0).all())
    assert (first[20:] > 0).double().mean() > 0.99
