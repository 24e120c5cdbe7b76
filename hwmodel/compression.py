"""What a method decides about a network: the width of every stored tensor, how many channels of every group stay, and which share of the
weights is not zero."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from .errors import InputError, nearest
from .network import FULL_PRECISION_BITS, Network
from .sparsity import NO_INDEX, Index, index_named

WIDEST_BITS = 64


@dataclass(frozen=True, eq=False)
class Compression:
    """Widths and kept channels; any leading batch shape prices many configurations in one call.

    `weight_density` is the share of each layer's weights that are not zero, above 0; None where all layers are dense. Such weights are stored
    with `weight_index`, which tells where they stand; every layer stays dense where that would take more.

    **Shapes**: `weight_bits`, `activation_bits` (of the tensor that a layer writes) and `weight_density` [..., layers], `kept_channels`
    [..., groups], float64.
    """

    weight_bits: Tensor
    activation_bits: Tensor
    kept_channels: Tensor
    weight_density: Tensor | None = None
    weight_index: Index = field(default=NO_INDEX, kw_only=True)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What may have a batch shape, by name."""
        named = {"weight_bits": self.weight_bits, "activation_bits": self.activation_bits, "kept_channels": self.kept_channels}
        return named if self.weight_density is None else {**named, "weight_density": self.weight_density}

    @classmethod
    def from_names(
        cls,
        network: Network,
        bits: Mapping[str, Mapping[str, float]],
        kept: Mapping[str, float] | None = None,
        weight_index: str = NO_INDEX.name,
    ) -> "Compression":
        """Build from names: `bits = {layer: {"weight_bits": 4, "activation_bits": 8, "weight_density": 0.05}}`, `kept = {group: channels}`.

        What is not named stays at full precision, full width and dense. **Errors**: InputError for an unknown name or an
        impossible number.
        """
        full = uniform(network, FULL_PRECISION_BITS, FULL_PRECISION_BITS, input_bits=FULL_PRECISION_BITS)
        channels, density = full.kept_channels.clone(), torch.ones_like(full.weight_bits)
        columns_of = {"weight_bits": full.weight_bits.clone(), "activation_bits": full.activation_bits.clone(), "weight_density": density}
        for name, numbers in bits.items():
            i = network.index(name)
            for key, value in numbers.items():
                if key not in columns_of:
                    raise InputError(f"layer {name}: unknown key {key!r}; known are weight_bits, activation_bits and weight_density")
                checked = checked_density if key == "weight_density" else checked_bits
                columns_of[key][i] = checked(f"layer {name}: {key}", value)
        columns = {group.name: i for i, group in enumerate(network.groups)}
        for name, value in (kept or {}).items():
            if name not in columns:
                raise InputError(f"no channel group is named {name!r}{nearest(name, columns)}")
            group = network.groups[columns[name]]
            if not 1 <= value <= group.channels:
                raise InputError(f"group {name} keeps {value} channels; the range is 1 to {group.channels}")
            if value < group.channels and not group.prunable:
                raise InputError(f"group {name} keeps {value} of {group.channels} channels; it must keep all: {', '.join(group.reasons)}")
            channels[columns[name]] = value
        is_sparse = any("weight_density" in numbers for numbers in bits.values())
        return cls(
            columns_of["weight_bits"],
            columns_of["activation_bits"],
            channels,
            density if is_sparse else None,
            weight_index=index_named(weight_index),
        )

    def table(self, network: Network) -> pd.DataFrame:
        """Return one row per layer: its widths and its channels that stay."""
        out_channels = self.kept_channels @ network.writes.T
        frame = pd.DataFrame(
            {
                "layer": [layer.name for layer in network.layers],
                "kind": [layer.kind for layer in network.layers],
                "weight_bits": [
                    bits if layer.weight else None for layer, bits in zip(network.layers, self.weight_bits.tolist(), strict=True)
                ],
                "activation_bits": self.activation_bits[network.width_owner].tolist(),
                "out_channels": out_channels.tolist(),
            }
        )
        if self.weight_density is not None:
            frame["weight_density"] = [
                share if layer.weight else None for layer, share in zip(network.layers, self.weight_density.tolist(), strict=True)
            ]
        return frame

    def to_names(self, network: Network) -> dict[str, Any]:
        """Return the inverse of `from_names`, ready for JSON: `{"bits": …, "kept": …}`, and `weight_index` where one is used."""
        widths = zip(network.layers, self.weight_bits.tolist(), self.activation_bits.tolist(), strict=True)
        bits = {layer.name: {"activation_bits": a, **({"weight_bits": w} if layer.weight else {})} for layer, w, a in widths}
        kept = dict(zip((group.name for group in network.groups), self.kept_channels.tolist(), strict=True))
        if self.weight_density is None:
            return {"bits": bits, "kept": kept}
        for layer, share in zip(network.layers, self.weight_density.tolist(), strict=True):
            if layer.weight:
                bits[layer.name]["weight_density"] = share
        return {"bits": bits, "kept": kept, "weight_index": self.weight_index.name}

    def detach(self) -> "Compression":
        """Return the same values without gradient."""
        return self.with_tensors(tensor.detach() for tensor in self.tensors.values())

    def with_tensors(self, tensors: Iterable[Tensor]) -> "Compression":
        """Return the same with other tensors in the order of `tensors`."""
        return Compression(*tensors, weight_index=self.weight_index)


def checked_bits(name: str, bits: float) -> float:
    """Return a width; InputError outside 1 to 64."""
    if not 1 <= bits <= WIDEST_BITS:
        raise InputError(f"{name} is {bits}; the range is 1 to {WIDEST_BITS}")
    return float(bits)


def checked_density(name: str, share: float) -> float:
    """Return a share of weights that are not zero; InputError outside 0 (excluded) to 1."""
    if not 0 < share <= 1:
        raise InputError(f"{name} is {share}; the range is above 0 to 1")
    return float(share)


def uniform(
    network: Network, weight_bits: float, activation_bits: float, *, input_bits: float = 8, first_last_bits: float | None = None
) -> Compression:
    """Give every weight and every activation the same width; the network's inputs count as `input_bits`.

    `first_last_bits` sets the weights of the first and last layer with weights, and the activations that they read (but for
    the input), as papers do that keep these layers at 8 or 32 bit.
    """
    count = len(network.layers)
    inputs = network.select(layer.name for layer in network.layers if layer.kind == "input") > 0
    weight = torch.full((count,), checked_bits("weight_bits", weight_bits), dtype=torch.float64)
    activation = torch.full((count,), checked_bits("activation_bits", activation_bits), dtype=torch.float64)
    if first_last_bits is not None:
        for name in network.first_and_last:
            i = network.index(name)
            weight[i] = checked_bits("first_last_bits", first_last_bits)
            activation[network.width_owner[network.first_operand[i]]] = first_last_bits
    activation[inputs] = checked_bits("input_bits", input_bits)
    return Compression(weight, activation, network.group_channels.clone())


def full_precision(network: Network) -> Compression:
    """Return the 32-bit network that ratios refer to: 32 x 32 everywhere, the inputs too."""
    return uniform(network, FULL_PRECISION_BITS, FULL_PRECISION_BITS, input_bits=FULL_PRECISION_BITS)


def with_channels(compression: Compression, kept_channels: Tensor) -> Compression:
    """Return the same widths with other kept channels."""
    return replace(compression, kept_channels=kept_channels)
