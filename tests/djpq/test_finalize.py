"""The finished model is what training said, on random bits, ranges and masks."""

import copy
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import hwmodel
from djpq.attach import attach
from djpq.finalize import ProofError, finalize, fixed_model
from djpq.gate import ChannelScale
from djpq.objective import decide

CASES = {
    "lenet5": {"in_channels": 1, "image_size": 8, "width": 0.25},
    "vgg7": {"in_channels": 1, "image_size": 8, "width": 0.0625},
    "resnet8": {"in_channels": 1, "image_size": 8, "width": 0.5},
    "resnet20": {"in_channels": 1, "image_size": 8, "width": 0.25},
    "resnet18": {"in_channels": 3, "image_size": 32, "width": 0.125, "num_classes": 10},
    "mobilenetv2": {"in_channels": 3, "image_size": 32, "width": 0.25, "num_classes": 10},
    "kws": {"width": 0.1},
}


def decided(name: str, seed: int):  # type: ignore[no-untyped-def]
    """A network with random normalisation, widths and masks, decided as training decides."""
    options = CASES[name]
    torch.manual_seed(seed)
    model, size = hwmodel.zoo.build(name, **options), options.get("image_size")
    x = torch.rand(8, options["in_channels"], size, size) if size else torch.rand(8, 390)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    attached = attach(model, hwmodel.trace(model, (x[:1],)))
    attached.calibrate(x)
    with torch.no_grad():
        for quantizer in attached.quantizers:
            if len(quantizer.widths) > 1:
                quantizer.scale.copy_(3 + 5 * torch.rand(()))
                quantizer.power.copy_(0.8 + 0.4 * torch.rand(())) if quantizer.learn_power else None
        for gate in attached.gates.values():
            gate.mean.uniform_(0.5, 1.5)
            gate.log_variance.uniform_(-4, 2)
    machine = hwmodel.load_accelerator("loom")
    decide(attached.eval(), machine, {})
    return attached, machine, x


@pytest.mark.parametrize("name", CASES)
def test_proof_holds(name: str) -> None:
    attached, machine, x = decided(name, seed=0)
    finished = finalize(attached, machine, x)
    assert finished.proof.trained_equals_fixed
    assert finished.proof.pruned_difference <= 1e-9
    assert finished.proof.cost_difference == 0
    assert sum(p.numel() for p in finished.model.parameters()) < sum(p.numel() for p in attached.module.parameters())
    assert torch.allclose(finished.model(x), attached(x), rtol=1e-3, atol=1e-2) or attached(x).isfinite().all()


@settings(max_examples=15)
@given(st.integers(1, 10_000), st.sampled_from(["lenet5", "resnet8", "mobilenetv2"]))
def test_proof_holds_for_random_bits_ranges_and_masks(seed: int, name: str) -> None:
    attached, machine, x = decided(name, seed)
    assert finalize(attached, machine, x).proof.holds


@pytest.mark.parametrize("name", ["lenet5", "resnet8"])
def test_the_fixed_weights_have_the_layout_of_the_quantized_ones(name: str) -> None:
    """Of one input channel the strides say nothing to the eye and much to torch, which picks another kernel by them."""
    attached, machine, x = decided(name, seed=0)
    attached.to(memory_format=torch.channels_last)
    weights = {key.removeprefix("weight ").replace("/", "."): q for key, q in attached.named_quantizers() if key.startswith("weight ")}
    fixed = fixed_model(attached)
    for key, quantizer in weights.items():
        assert fixed.get_parameter(key).stride() == quantizer(attached.module.get_parameter(key)).stride(), key
    assert finalize(attached, machine, x).proof.holds


def test_the_finished_model_is_plain() -> None:
    attached, machine, x = decided("lenet5", seed=3)
    model = finalize(attached, machine, x).model
    kinds = {type(module).__name__ for module in model.modules() if not list(module.children())}
    assert {"Conv2d", "Linear", "BatchNorm2d", "FixedQuantizer"} <= kinds
    assert not kinds & {"ChannelGate", "GateSite", "Quantizer", "ChannelScale"}  # all means fold into normalisation here
    assert isinstance(model.get_submodule("conv2"), nn.Conv2d)
    assert model.conv2.in_channels == model.conv1.out_channels


def test_shared_gates_that_cannot_be_folded_stay_factors() -> None:
    attached, machine, x = decided("resnet8", seed=3)
    model = finalize(attached, machine, x).model
    assert any(isinstance(module, ChannelScale) for module in model.modules())


def test_weights_lie_on_their_grid() -> None:
    attached, machine, x = decided("lenet5", seed=5)
    finished = finalize(attached, machine, x)
    bits = dict(zip((layer.name for layer in finished.network.layers), finished.compression.weight_bits.tolist(), strict=True))
    for name in ("conv1", "conv2", "fc1", "fc2"):
        assert len(torch.unique(finished.model.get_parameter(f"{name}.weight").abs())) <= 2 ** (bits[name] - 1)


def test_a_broken_model_fails_its_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    attached, machine, x = decided("lenet5", seed=7)

    def wrong(*args):  # type: ignore[no-untyped-def]
        model = fixed_model(*args)
        model.get_parameter("conv2.weight").data.mul_(1.01)
        return model

    monkeypatch.setattr(sys.modules["djpq.finalize"], "fixed_model", wrong)
    with pytest.raises(ProofError, match="FAILS"):
        finalize(attached, machine, x)


def test_the_trained_model_is_left_as_it_was() -> None:
    attached, machine, x = decided("resnet8", seed=9)
    before = copy.deepcopy(attached.module.state_dict())
    finalize(attached, machine, x)
    after = attached.module.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
