"""From the gated model to a plain smaller one: pruned channels are cut out of the parameters, widths become constants.

What is returned is checked each time, in a chain: the trained model equals the fixed model bit for bit (float32); the fixed
model equals the pruned one to 1e-9 of the largest output (float64, where a sum in another order cannot tip a rounding); the
pruned model, traced again, costs exactly what training promised; and the pruned model equals its integer program (`djpq.integer`).
"""

import copy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.fx import GraphModule

from hwmodel.accelerator import Accelerator
from hwmodel.compression import Compression
from hwmodel.cost import Cost, simulate
from hwmodel.errors import InputError
from hwmodel.network import Network
from hwmodel.trace import trace

from .compressible import TENSOR, WEIGHT, CompressibleModel
from .gate import ChannelScale, GateSite
from .integer import IntegerModel, IntegerProof, integers_of, stored_values
from .prune import pruned_grids, pruned_model
from .quantizer import FixedQuantizer, Quantizer
from .ties import separate_ties
from .weights import WeightGrid

TOLERANCE = 1e-9  # of the largest output, float64
INTEGER_MACS = 2e8  # spent on the proof in integers: fewer samples of a large network


class ProofError(RuntimeError):
    """The finished model is not what training said: a defect of this package, never of the user."""


@dataclass(frozen=True)
class Proof:
    """What was checked on the batch given; `integers` is a reason instead where the network has no integer form.

    `moved` is the largest move of a bias away from a tie, in accumulator steps; no stored value changed by it.
    """

    samples: int
    trained_equals_fixed: bool
    pruned_difference: float
    tolerance: float
    cost_difference: float
    integers: IntegerProof | str = "not checked"
    moved: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether every link of the chain holds."""
        whole = isinstance(self.integers, str) or self.integers.holds
        return self.trained_equals_fixed and self.pruned_difference <= self.tolerance and self.cost_difference == 0 and whole

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "FAILS"
        return (
            f"proof {verdict} on {self.samples} samples: trained = fixed bit for bit: {self.trained_equals_fixed}; fixed = pruned to "
            f"{self.pruned_difference:.1e} (allowed {self.tolerance:.0e}); cost promised - cost traced: {self.cost_difference:g}; "
            f"biases moved away from ties by at most {self.moved:.2g} accumulator steps, no stored value changed; "
            f"{'no integers: ' if isinstance(self.integers, str) else ''}{self.integers}"
        )


@dataclass(frozen=True, eq=False)
class Finished:
    """The plain model, its network and compression, its cost and the proof; `original` is the compression of the original network.

    `grids` are those of the weights, by parameter; `integers` is the model as a program on integers, None where it has no such form.
    `trained` is the state of the model with gates, `quantizers` what of its quantizers is no tensor: enough to make the proof again.
    """

    model: GraphModule
    network: Network
    compression: Compression
    cost: Cost
    proof: Proof
    original: Compression
    grids: dict[str, WeightGrid] = field(default_factory=dict)
    integers: IntegerModel | None = None
    trained: dict[str, Tensor] = field(default_factory=dict)
    quantizers: dict[str, dict[str, bool | int]] = field(default_factory=dict)


@torch.no_grad()
def fixed_model(compressible: CompressibleModel) -> GraphModule:
    """Return the model with constant gates, weights on their grid and fixed activation quantizers; channels still complete."""
    module = copy.deepcopy(compressible.module).eval()
    quantizers = dict(module.get_submodule("quantizers").named_children())
    for node in list(module.graph.nodes):
        target = str(node.target)
        if node.op != "call_module":
            continue
        if target.startswith(f"quantizers.{WEIGHT}"):
            quantizer, source = quantizers[target.removeprefix("quantizers.")], node.args[0]
            parameter = module.get_parameter(source.target)
            parameter.data = quantizer(parameter.float()).to(parameter.dtype)  # in its own layout, by which torch picks the kernel
            node.replace_all_uses_with(source)
            module.graph.erase_node(node)
        elif target.startswith("quantizers."):
            quantizer = quantizers[target.removeprefix("quantizers.")]
            assert isinstance(quantizer, Quantizer)
            _, step, bits = quantizer.grid()
            name = f"activation_quantizers.{target.removeprefix(f'quantizers.{TENSOR}')}"
            module.add_submodule(name, FixedQuantizer(step, int(bits), quantizer.signed))
            node.target = name
        elif target.startswith("gate_sites."):
            site = module.get_submodule(target)
            assert isinstance(site, GateSite)
            rank = node.meta["val"].dim()
            name = f"channel_scales.{target.removeprefix('gate_sites.')}"
            module.add_submodule(name, ChannelScale(site.value(1)[0], site.axes, rank))
            node.target = name
    module.delete_all_unused_submodules()
    module.graph.lint()
    module.recompile()
    return module


@torch.no_grad()
def finalize(compressible: CompressibleModel, machine: Accelerator, *samples: Tensor) -> Finished:
    """Return the plain pruned model with its cost and proof, checked on `samples` (the model's inputs).

    **Errors**: ProofError when a link of the chain breaks.
    """
    training = compressible.training
    compressible.eval()
    promised = compressible.compression().detach()
    fixed = fixed_model(compressible)
    pruned = pruned_model(compressible, fixed)
    fixed.requires_grad_(False)  # torch picks another kernel for a weight that requires a gradient, which a quantized weight does not
    same = equal(compressible.module(*samples), fixed(*samples))
    wide = tuple(sample.double() if sample.is_floating_point() else sample for sample in samples)
    reference, found = outputs(in_double(fixed)(*wide)), outputs(in_double(pruned)(*wide))
    difference = max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-30)) for a, b in zip(reference, found, strict=True))
    compressible.train(training)
    network = trace(pruned, tuple(sample[:1] for sample in samples))
    columns = compressible.network
    final = Compression(promised.weight_bits, promised.activation_bits[columns.width_owner], network.group_channels)
    if [layer.kind for layer in network.layers] != [layer.kind for layer in columns.layers]:
        raise ProofError("the pruned model has other layers than the network that was priced")
    cost, said = simulate(network, final, machine), simulate(columns, promised, machine)
    off = max(abs(a - b) for a, b in zip(cost.totals().values(), said.totals().values(), strict=True))
    first = Proof(len(samples[0]), same, difference, TOLERANCE, off)
    if not first.holds:
        raise ProofError(str(first))
    grids = pruned_grids(compressible)
    for name, grid in grids.items():
        try:
            grid.integers(pruned.get_parameter(name))
        except InputError as error:
            raise ProofError(f"{name}: {error}") from None
    few = tuple(sample[: max(1, int(INTEGER_MACS / max(1.0, float(cost.macs))))] for sample in samples)
    pruned, moved = away_from_ties(pruned, grids, few)
    integers, shown = integers_of(pruned, grids, few)
    proof = replace(first, integers=shown, moved=moved)
    if not proof.holds:
        raise ProofError(str(proof))
    trained = {name: value.detach().clone() for name, value in compressible.state_dict().items()}
    told = {name: {"bits": int(q.bits()), "signed": q.signed, "learn_power": q.learn_power} for name, q in compressible.named_quantizers()}
    return Finished(pruned, network, final, cost, proof, promised, grids, integers, trained, told)


@torch.no_grad()
def away_from_ties(pruned: GraphModule, grids: dict[str, WeightGrid], samples: tuple[Tensor, ...]) -> tuple[GraphModule, float]:
    """Return the model with its biases moved away from ties, and by how much; as it was if that changes any stored value."""
    moved = copy.deepcopy(pruned)
    most = separate_ties(moved, grids)
    if not most:
        return pruned, 0.0
    before, after = (stored_values(module, grids, samples)[0] for module in (pruned, moved))
    same = all(torch.equal(value, after[name]) for name, value in before.items())
    return (moved, most) if same else (pruned, 0.0)


def in_double(module: GraphModule) -> GraphModule:
    """Return a copy that computes in float64, what the graph creates included."""
    wide = copy.deepcopy(module).double()
    for node in wide.graph.nodes:
        if node.kwargs.get("dtype") is torch.float32:
            node.kwargs = {**node.kwargs, "dtype": torch.float64}
    wide.recompile()
    return wide


def outputs(result: object) -> list[Tensor]:
    """Return the tensors of a model's output."""
    return [result] if isinstance(result, Tensor) else [part for part in result if isinstance(part, Tensor)]  # type: ignore[attr-defined]


def equal(first: object, second: object) -> bool:
    """Return whether two outputs are equal bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(outputs(first), outputs(second), strict=True))
