"""What a compressed network costs: the one formula behind report, training and sweep.

Counting conventions: one MAC is one multiplication and one addition; `BOPs = MACs x weight bits x input bits`, for a product of
two activations both operands' bits; every convolution, linear layer and matrix product counts, bias and element-wise work
does not. Example: a 3 x 3 convolution from 16 to 32 channels on 8 x 8 positions has 9 x 16 x 32 x 64 = 294,912 MACs; at 4-bit
weights and 8-bit inputs 9,437,184 BOPs.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar, cast

import torch
from torch import Tensor

from .accelerator import Accelerator, Execution
from .compression import Compression
from .memory import with_exact_tiles
from .network import Network
from .numeric import Number, float64
from .work import Work, work

T = TypeVar("T", Work, "LayerCost")
CHUNK = 1024  # configurations priced at once: stays in cache and bounds memory


@dataclass(frozen=True, eq=False)
class LayerCost:
    """Costs per layer. **Shapes**: [..., layers], float64. Units are in the names; `energy_pj` by component, `traffic_bits` by level."""

    macs: Tensor
    bops: Tensor
    cycles: Tensor
    compute_cycles: Tensor
    dram_cycles: Tensor
    energy_pj: Mapping[str, Tensor]
    traffic_bits: Mapping[str, Tensor]
    weight_bits: Tensor
    activation_bits: Tensor


@dataclass(frozen=True, eq=False)
class Cost:
    """Cost of a network on a machine. Totals are properties of shape [...]; `per_layer` holds what they add up.

    `weight_bits` is what is stored of all weights (shared ones once), `peak_activation_bits` the most that is alive at once.
    """

    network: Network
    compression: Compression
    chunks: tuple[tuple[Work, LayerCost], ...]  # of CHUNK configurations each; joined only when someone looks at layers
    machine: str
    clock_mhz: Number

    @cached_property
    def work(self) -> Work:
        """What the machine saw of each layer."""
        return _join([work for work, _ in self.chunks], len(self.compression.weight_bits))

    @cached_property
    def per_layer(self) -> LayerCost:
        """Costs by layer."""
        return _join([layers for _, layers in self.chunks], len(self.compression.weight_bits))

    def _total(self, of: Callable[[LayerCost], Tensor]) -> Tensor:
        totals = [of(layers) for _, layers in self.chunks]
        return torch.cat(totals) if len(totals) > 1 and totals[0].dim() else totals[0]

    @cached_property
    def macs(self) -> Tensor:
        """Multiply-accumulates of one inference."""
        return self._total(lambda layers: layers.macs.sum(-1))

    @cached_property
    def bops(self) -> Tensor:
        """Bit operations of one inference."""
        return self._total(lambda layers: layers.bops.sum(-1))

    @cached_property
    def cycles(self) -> Tensor:
        """Clock cycles: layers run one after the other."""
        return self._total(lambda layers: layers.cycles.sum(-1))

    @cached_property
    def energy_pj(self) -> Tensor:
        """Energy of one inference in pJ, all components."""
        return self._total(lambda layers: torch.stack(torch.broadcast_tensors(*layers.energy_pj.values())).sum((0, -1)))

    @cached_property
    def weight_bits(self) -> Tensor:
        """Stored weights in bits, packed at their width."""
        return self._total(lambda layers: layers.weight_bits.sum(-1))

    @cached_property
    def peak_activation_bits(self) -> Tensor:
        """Largest sum of tensors that are alive at the same step, in bits."""
        return self._total(lambda layers: (layers.activation_bits @ self.network.alive.T).amax(-1))

    @property
    def milliseconds(self) -> Tensor:
        """Time of one inference at the machine's clock."""
        clock = float64(self.clock_mhz)
        return self.cycles / ((clock.squeeze(-1) if clock.dim() else clock) * 1e3)

    def totals(self) -> dict[str, float]:
        """Return the totals of a single configuration as plain numbers."""
        names = ("macs", "bops", "cycles", "energy_pj", "weight_bits", "peak_activation_bits")
        return {name: getattr(self, name).item() for name in names}


def simulate(network: Network, compression: Compression, machine: Accelerator, *, search: bool = False) -> Cost:
    """Return the cost of one or many configurations on a machine; large batches are priced in chunks.

    `search` looks for the tiling of every layer that moves the fewest bits through DRAM, instead of the closed form.

    **Shapes**: `compression` may have one leading batch axis [configurations, layers]; a part of it without one holds for all.
    **Errors**: InputError when a search is asked of a machine without buffers.
    """
    if search:
        machine = with_exact_tiles(machine)
    tensors = compression.weight_bits, compression.activation_bits, compression.kept_channels
    batch = torch.broadcast_shapes(*(tensor.shape[:-1] for tensor in tensors))
    if len(batch) == 1 and batch[0] > CHUNK:
        compression = Compression(*(tensor.expand(*batch, -1) for tensor in tensors))
        parts = [_simulate(network, part, machine) for part in _chunks(compression)]
    else:
        parts = [_simulate(network, compression, machine)]
    return Cost(network, compression, tuple(parts), machine.name, machine.clock_mhz)


def _simulate(network: Network, compression: Compression, machine: Accelerator) -> tuple[Work, LayerCost]:
    seen = work(network, compression)
    run: Execution = machine.execute(seen)
    per_layer = LayerCost(
        macs=seen.macs,
        bops=seen.bops,
        cycles=run.cycles,
        compute_cycles=run.compute_cycles,
        dram_cycles=run.dram_cycles,
        energy_pj=run.energy_pj,
        traffic_bits=run.traffic_bits,
        weight_bits=seen.weight_elements * seen.weight_bits * network.stores_weight,
        activation_bits=seen.output_elements * seen.output_bits,
    )
    return seen, per_layer


def _chunks(compression: Compression) -> Iterator[Compression]:
    parts = (tensor.split(CHUNK) for tensor in (compression.weight_bits, compression.activation_bits, compression.kept_channels))
    for weight, activation, kept in zip(*parts, strict=True):
        yield Compression(weight, activation, kept)


def _join(parts: list[T], count: int) -> T:
    """Return dataclasses of tensors joined along their configurations; what holds for all of them is taken once."""
    if len(parts) == 1:
        return parts[0]

    def joined(parts: list) -> object:  # type: ignore[type-arg]
        first = parts[0]
        if isinstance(first, Tensor):
            whole = sum(part.shape[0] for part in parts if part.dim() > 1)
            return torch.cat(parts) if first.dim() > 1 and whole == count else first
        if isinstance(first, Mapping):
            return {key: joined([part[key] for part in parts]) for key in first}
        return type(first)(**{name: joined([getattr(part, name) for part in parts]) for name in first.__dataclass_fields__})

    return cast(T, joined(parts))


def macs(network: Network, compression: Compression | None = None) -> int:
    """Return the multiply-accumulates of a network, before compression unless one is given."""
    if compression is None:
        return sum(layer.macs for layer in network.layers)
    return int(work(network, compression).macs.sum().item())


def bops(network: Network, compression: Compression) -> int:
    """Return the bit operations of one configuration; needs no machine."""
    return int(work(network, compression).bops.sum().item())
