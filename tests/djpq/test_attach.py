"""Attached models compute what the user's model computes, keep its names, and count what they will be billed for."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hwmodel
from djpq.attach import attach
from hwmodel.errors import InputError

NETWORKS = [("lenet5", {"in_channels": 1, "image_size": 8, "width": 0.25}), ("resnet8", {"in_channels": 1, "image_size": 8, "width": 0.5}),
            ("mobilenetv2", {"in_channels": 3, "image_size": 32, "width": 0.25, "num_classes": 10}), ("kws", {"width": 0.1})]  # fmt: skip


def example(name: str, options: dict[str, int]) -> torch.Tensor:
    size = options.get("image_size")
    return torch.rand(6, options["in_channels"], size, size) if size else torch.rand(6, 390)


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_without_gates_and_quantizers_the_output_is_bit_equal(name: str, options: dict[str, int]) -> None:
    model, x = hwmodel.zoo.build(name, **options), example(name, options)
    network = hwmodel.trace(model, (x[:1],))
    attached = attach(copy.deepcopy(model), network, gates=False)
    for module in list(attached.module.modules()):
        for child_name, child in list(module.named_children()):
            if type(child).__name__ == "Quantizer":
                setattr(module, child_name, nn.Identity())
    for mode in (True, False):
        model.train(mode)
        attached.train(mode)
        torch.manual_seed(0)
        expected = model(x)
        torch.manual_seed(0)
        assert torch.equal(expected, attached(x)), mode


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_names_are_kept_and_parameters_shared(name: str, options: dict[str, int]) -> None:
    model, x = hwmodel.zoo.build(name, **options), example(name, options)
    attached = attach(model, hwmodel.trace(model, (x[:1],)))
    own = {key for key in attached.module.state_dict() if key.split(".")[0] not in ("quantizers", "gates")}
    assert own == set(model.state_dict())
    parameters = dict(attached.module.named_parameters())
    assert all(parameters[key] is value for key, value in model.named_parameters())


def test_compression_reads_every_width_and_count() -> None:
    model, x = hwmodel.zoo.build("resnet8", in_channels=1, image_size=8, width=0.5), torch.rand(4, 1, 8, 8)
    network = hwmodel.trace(model, (x[:1],))
    attached = attach(model, network)
    attached.calibrate(x)
    compression = attached.compression()
    table = compression.table(network).set_index("layer")
    assert table.loc["input", "activation_bits"] == 8
    assert table.loc["fc", "activation_bits"] == 32  # outputs stay in full precision
    assert set(table["weight_bits"].dropna()) == {8}
    assert torch.equal(compression.kept_channels, network.group_channels)
    cost = hwmodel.simulate(network, compression, hwmodel.load_accelerator("loom"))
    cost.energy_pj.backward()
    assert all(q.scale.grad is not None for q in attached.quantizers if len(q.widths) > 1)
    assert all(gate.log_variance.grad is not None for gate in attached.gates.values())


def test_one_formula_over_stacked_scalars_equals_each_quantizer() -> None:
    model, x = hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25), torch.rand(4, 1, 8, 8)
    attached = attach(model, hwmodel.trace(model, (x[:1],)), weight_widths=(2, 4, 8))
    for quantizer in attached.quantizers:
        with torch.no_grad():
            quantizer.scale.copy_(torch.rand(()) * 8)
    assert attached.bits().tolist() == [float(q.bits().detach()) for q in attached.quantizers]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # dynamo instantiates autograd functions to look at them
def test_no_graph_break_under_compile() -> None:
    model, x = hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25), torch.rand(4, 1, 8, 8)
    attached = attach(model, hwmodel.trace(model, (x[:1],)))
    report = torch._dynamo.explain(attached.train())(x)
    assert report.graph_break_count == 0, report.break_reasons


def test_another_model_s_network_is_refused() -> None:
    model, other = (hwmodel.zoo.build(name, in_channels=1, image_size=8) for name in ("lenet5", "resnet8"))
    with pytest.raises(InputError, match="not traced from this model"):
        attach(model, hwmodel.trace(other, (torch.rand(1, 1, 8, 8),)))


class Mixed(nn.Module):
    """Concatenation, squeeze and excite, and attention: what cannot be followed must stay whole, and the rest work."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
        self.norm = nn.BatchNorm2d(16)
        self.squeeze, self.excite = nn.Linear(16, 4), nn.Linear(4, 16)
        self.embed, self.attention, self.head = nn.Linear(16, 16), nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(torch.cat([self.left(x), self.right(x)], 1)))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))
        x = (x * gate[:, :, None, None]).flatten(2).transpose(1, 2)
        x = self.embed(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(x.mean(1))


def test_concatenation_squeeze_and_attention_are_proved_too(prune_at_random) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    attached, finished = prune_at_random(Mixed(), torch.randn(4, 3, 6, 6))
    assert finished.proof.holds
    assert float(finished.cost.macs) < hwmodel.macs(attached.network)


class Everything(nn.Module):
    """A network of what moves, repeats, pads and joins channels that stay prunable."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 5, 1)
        self.c, self.d = nn.Conv2d(26, 6, 1), nn.Conv2d(26, 6, 1)
        self.e, self.f = nn.Conv2d(24, 7, 1), nn.Linear(7, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = F.hardswish(self.a(x))
        low = F.relu(self.b(F.pad(F.adaptive_max_pool2d(a, 4), (1, 0, 0, 1), mode="replicate")))
        up = F.interpolate(F.pad(low, (0, 0, 0, 0, 1, 2)), size=(8, 8), mode="bilinear")
        y = torch.cat((torch.roll(a, 1, 2), up, a.repeat(1, 2, 1, 1)), 1)
        y = self.c(y) * F.hardsigmoid(self.d(F.adaptive_avg_pool2d(y, 1))).expand(-1, -1, 8, 8)
        z = self.e(F.pixel_unshuffle(torch.stack((y, F.silu(y)), 1).amax(1), 2))
        return self.f(torch.where(z > 0, z, 0.5).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("seed", range(3))
def test_what_moves_pads_and_joins_channels_is_proved_too(seed: int, prune_at_random) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(seed)
    model = Everything()
    attached, finished = prune_at_random(model, torch.rand(4, 3, 8, 8))
    assert {g.name for g in attached.network.groups if g.prunable} >= {"a", "b", "c", "e"}
    assert finished.proof.holds
    assert sum(p.numel() for p in finished.model.parameters()) < sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("learn_power", [True, False])
def test_weights_start_at_their_largest_value_with_and_without_a_power(learn_power: bool) -> None:
    model, x = hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25), torch.rand(4, 1, 8, 8)
    attached = attach(model, hwmodel.trace(model, (x[:1],)), learn_power=learn_power)
    attached.calibrate(x)
    quantizer = dict(attached.module.get_submodule("quantizers").named_children())["weight fc1/weight"]
    assert quantizer.log_range.exp().item() == pytest.approx(model.fc1.weight.abs().max().item(), rel=1e-5)


def test_uniform_widths_come_as_near_as_each_tensor_allows() -> None:
    model, x = hwmodel.zoo.build("resnet8", in_channels=1, image_size=8, width=0.5), torch.rand(4, 1, 8, 8)
    network = hwmodel.trace(model, (x[:1],))
    attached = attach(model, network, gates=False, activation_widths=tuple(range(1, 9)))
    compression = attached.compression_of(attached.uniform_bits(3, 1), None)
    table = compression.table(network).set_index("layer")
    assert set(table["weight_bits"].dropna()) == {3}
    assert table.loc["input", "activation_bits"] == 8
    signed = [layer.name for layer in network.layers if layer.signed and layer.kind != "input" and layer.name not in network.outputs]
    assert signed  # the shortcut's tensors may be negative: one bit is not enough
    assert set(table.loc[signed, "activation_bits"]) == {2}
    assert table.loc["conv1", "activation_bits"] == 1


def test_fixed_widths_hold() -> None:
    model, x = hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25), torch.rand(4, 1, 8, 8)
    attached = attach(model, hwmodel.trace(model, (x[:1],)))
    attached.calibrate(x)
    wanted = attached.uniform_bits(3, 5)
    attached.fix(wanted)
    assert torch.equal(attached.bits(), wanted)
    assert [q.bits().item() for q in attached.quantizers] == wanted.tolist()


def test_the_sign_of_an_input_is_read_off_the_data() -> None:
    model, x = hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25), torch.randn(16, 1, 8, 8)
    attached = attach(model, hwmodel.trace(model, (x[:1],)))
    seen: list[torch.Tensor] = []
    quantizer = dict(attached.module.get_submodule("quantizers").named_children())["tensor input"]
    quantizer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    attached.calibrate(x)
    attached.eval()(x)
    assert float((seen[-1] - x).abs().max().detach()) <= float(x.abs().max()) / 127 / 2 + 1e-6
