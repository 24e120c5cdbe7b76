"""Attached models compute what the user's model computes, keep its names, and count what they will be billed for."""

import copy

import pytest
import torch
from torch import nn

import hwmodel
from djpq.attach import attach
from djpq.finalize import finalize
from djpq.train import decide
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


def test_concatenation_squeeze_and_attention_are_proved_too() -> None:
    torch.manual_seed(0)
    model, x = Mixed(), torch.randn(4, 3, 6, 6)
    network = hwmodel.trace(model, (x[:1],))
    attached = attach(model, network)
    attached.calibrate(x)
    with torch.no_grad():
        for gate in attached.gates.values():
            gate.log_variance.uniform_(-4, 2)
    machine = hwmodel.load_accelerator("loom")
    decide(attached.eval(), machine, {})
    finished = finalize(attached, machine, x)
    assert finished.proof.holds
    assert float(finished.cost.macs) < hwmodel.macs(network)


def test_the_sign_of_an_input_is_read_off_the_data() -> None:
    model, x = hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25), torch.randn(16, 1, 8, 8)
    attached = attach(model, hwmodel.trace(model, (x[:1],)))
    seen: list[torch.Tensor] = []
    quantizer = dict(attached.module.get_submodule("quantizers").named_children())["tensor input"]
    quantizer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    attached.calibrate(x)
    attached.eval()(x)
    assert float((seen[-1] - x).abs().max().detach()) <= float(x.abs().max()) / 127 / 2 + 1e-6
