"""The attached model: the user's network with gates and quantizers, and what it amounts to as a `Compression`."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from hwmodel.compression import Compression
from hwmodel.network import FULL_PRECISION_BITS, Network
from hwmodel.numeric import through
from hwmodel.sparsity import NO_INDEX  # named, since torch.compile cannot make the default

from .cuts import Cuts
from .gate import ChannelGate, information, kept_counts, soft_counts
from .quantizer import BitsForm, Quantizer, nearest_width

WEIGHT, TENSOR = "weight ", "tensor "  # how the names of quantizers begin


def key(name: str) -> str:
    """Return a layer or group name as the key of a ModuleDict."""
    return name.replace(".", "/")


class CompressibleModel(nn.Module):
    """The user's model with gates and quantizers. `module` is a `GraphModule` with the user's parameter names."""

    def __init__(self, module: GraphModule, network: Network, cuts: Cuts, sites: dict[str, Node], output: pytree.TreeSpec) -> None:
        super().__init__()
        self.module, self.network, self.cuts, self.sites, self._output = module, network, cuts, sites, output
        named = dict(module.get_submodule("quantizers").named_children())
        self._quantizers: dict[str, Quantizer] = {name: q for name, q in named.items() if isinstance(q, Quantizer)}
        position = {name: i for i, name in enumerate(named)}
        rest = len(position)
        self._weight_index = torch.tensor([position.get(key(f"{WEIGHT}{layer.weight}"), rest) for layer in network.layers])
        self._activation_index = torch.tensor([position.get(key(f"{TENSOR}{layer.width_of}"), rest) for layer in network.layers])
        gate_position = {name: i for i, name in enumerate(self.gates)}
        self._group_index = torch.tensor([gate_position.get(key(g.name), len(gate_position) + i) for i, g in enumerate(network.groups)])
        self._tabulate()

    def _tabulate(self) -> None:
        """Stack the allowed widths and their boundaries, padded to one length; they change only when widths are fixed."""
        longest = max(len(q.widths) for q in self.quantizers)
        allowed = [torch.cat([q.allowed, q.allowed[-1:].expand(longest - len(q.allowed))]) for q in self.quantizers]
        boundaries = [torch.cat([q.boundaries, q.allowed.new_full((longest - len(q.allowed),), torch.inf)]) for q in self.quantizers]
        self.register_buffer("allowed", torch.stack(allowed), persistent=False)
        self.register_buffer("boundaries", torch.stack(boundaries), persistent=False)
        self.allowed: Tensor
        self.boundaries: Tensor

    @property
    def gates(self) -> dict[str, ChannelGate]:
        """Gates by (escaped) group name."""
        return dict(self.module.get_submodule("gates").named_children())  # type: ignore[arg-type]

    @property
    def quantizers(self) -> list[Quantizer]:
        """All quantizers, of stored tensors and of weights, in the order of every [quantizers] tensor."""
        return list(self._quantizers.values())

    def named_quantizers(self) -> list[tuple[str, Quantizer]]:
        """Return the quantizers with their (escaped) names."""
        return list(self._quantizers.items())

    def forward(self, *args: Tensor) -> object:
        """Return what the user's model returns."""
        flat = self.module(*args)
        return flat if self._output.is_leaf() else pytree.tree_unflatten(list(flat), self._output)

    def real_bits(self) -> Tensor:
        """Return the real-valued widths before rounding [quantizers], one formula over stacked raw scalars.

        A quantizer of another class is asked for its own.
        """
        quantizers = self.quantizers
        if any(type(q) is not Quantizer for q in quantizers):
            return torch.stack([q.real_bits() for q in quantizers])
        form = quantizers[0].form
        if isinstance(form, BitsForm):  # its width is the parameter; ranges may be one per channel
            return torch.stack([q.scale for q in quantizers])
        log_range, scale, power, signed = (
            torch.stack([getattr(q, name) for q in quantizers]) for name in ("log_range", "scale", "power", "sign_bit")
        )
        return form.real_bits(log_range, scale, power, signed)

    def bits(self) -> Tensor:
        """Return the widths of all quantizers [quantizers]."""
        return nearest_width(self.real_bits(), self.allowed, self.boundaries)

    def uniform_bits(self, weight_bits: int, activation_bits: int) -> Tensor:
        """Return the widths [quantizers] that come nearest to one for all weights and one for all activations."""

        def nearest(name: str, widths: tuple[int, ...]) -> int:
            return min(widths, key=lambda width: abs(width - (weight_bits if name.startswith(WEIGHT) else activation_bits)))

        return torch.tensor([float(nearest(name, q.widths)) for name, q in self._quantizers.items()])

    def fix(self, bits: Tensor) -> None:
        """Hold the widths [quantizers] from now on."""
        for quantizer, width in zip(self.quantizers, bits.tolist(), strict=True):
            quantizer.fix(int(width))
        self._tabulate()

    def replace_quantizers(self, other: Callable[[str, Quantizer], Quantizer]) -> None:
        """Put another quantizer in the place of each, by (escaped) name; for methods with roundings of their own."""
        held = self.module.get_submodule("quantizers")
        for name, quantizer in list(self._quantizers.items()):
            self._quantizers[name] = other(name, quantizer)
            held.add_module(name, self._quantizers[name])
        self._tabulate()

    def freeze(self, state: Mapping[str, Tensor]) -> None:
        """Hold the widths and channels of a state_dict of this model, so that it can be loaded."""
        names = dict(self.named_quantizers())
        self.fix(torch.tensor([float(state[f"module.quantizers.{name}.scale"]) for name in names]))
        for name, gate in self.gates.items():
            gate.freeze(state[f"module.gates.{name}.mask"])

    def compression(self, temperature: float | None = None, pressure: float = 1.0) -> Compression:
        """Return widths and kept channels, differentiable; with a temperature the paper's soft counts of channels.

        `pressure` is a factor on the gradient of the counts alone.
        """
        kept: Tensor | None = None
        gates = list(self.gates.values())
        if gates:
            kept = kept_counts(gates) if temperature is None else soft_counts(gates, temperature)
            kept = kept if pressure == 1 else through(kept, pressure * kept)
        return self.compression_of(self.bits(), kept)

    def compression_of(self, bits: Tensor, kept: Tensor | None) -> Compression:
        """Return the compression of given widths [..., quantizers] and gate counts [..., gates] (None without gates)."""
        bits = bits.double().cpu()
        table = torch.cat([bits, torch.full((*bits.shape[:-1], 1), FULL_PRECISION_BITS, dtype=torch.float64)], -1)
        channels = self.network.group_channels
        if kept is not None:
            kept = kept.cpu()
            channels = torch.cat([kept, channels.expand(*kept.shape[:-1], -1)], -1)[..., self._group_index]
        return Compression(table[..., self._weight_index], table[..., self._activation_index], channels, weight_index=NO_INDEX)

    def information(self) -> Tensor:
        """Return the VIB term, 0 without noisy gates."""
        gates = [gate for gate in self.gates.values() if gate.noisy]
        return information(gates) if gates else torch.zeros(())

    @torch.no_grad()
    def project(self) -> None:
        """Keep widths, powers and gate means in their ranges; call it after each optimizer step."""
        for quantizer in self.quantizers:
            quantizer.project()
        for gate in self.gates.values():
            gate.mean.clamp_(min=0)

    @torch.no_grad()
    def calibrate(self, *args: Tensor, weight_start: str = "max", activation_start: str = "percentile") -> None:
        """Start the ranges from weights and from one batch.

        `weight_start`: `"max"` or `"mse"` (least squared error at the start width); `activation_start`: these, or `"percentile"`, the
        99.9th of the sizes.
        """
        for name, quantizer in self._quantizers.items():
            if name.startswith(WEIGHT):
                parameter = self.module.get_parameter(name.removeprefix(WEIGHT).replace("/", "."))
                quantizer.observe_weight(parameter, weight_start)
        training, handles = self.training, []
        self.eval()

        def observe(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(module, Quantizer)
            module.observe(inputs[0], activation_start)

        for name, quantizer in self._quantizers.items():
            if name.startswith(TENSOR):
                handles.append(quantizer.register_forward_pre_hook(observe))
        self(*args)
        for handle in handles:
            handle.remove()
        self.train(training)
