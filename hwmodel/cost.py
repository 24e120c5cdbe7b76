"""What a compressed network costs: the one formula behind report, training and sweep.

Counting conventions: one MAC is one multiplication and one addition; `BOPs = MACs x weight bits x input bits`, for a product of
two activations both operands' bits; every convolution, linear layer and matrix product counts, bias and element-wise work
does not. Example: a 3 x 3 convolution from 16 to 32 channels on 8 x 8 positions has 9 x 16 x 32 x 64 = 294,912 MACs; at 4-bit
weights and 8-bit inputs 9,437,184 BOPs.
"""

from collections.abc import Callable, Iterable, Mapping
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


TOTALS: dict[str, Callable[[LayerCost, Network], Tensor]] = {
    "macs": lambda layers, _: layers.macs.sum(-1),
    "bops": lambda layers, _: layers.bops.sum(-1),
    "cycles": lambda layers, _: layers.cycles.sum(-1),
    "energy_pj": lambda layers, _: sum_of(layers.energy_pj.values()),
    "weight_bits": lambda layers, _: layers.weight_bits.sum(-1),
    "peak_activation_bits": lambda layers, network: (layers.activation_bits @ network.alive.T).amax(-1),
}


@dataclass(frozen=True, eq=False)
class Cost:
    """Cost of a network on a machine. Totals are properties of shape [...]; `per_layer` holds what they add up.

    `weight_bits` is what is stored of all weights (shared ones once), `peak_activation_bits` the most that is alive at once.
    Of a batch beyond `CHUNK` the totals alone are kept, so memory is bounded; layers are priced again when someone looks at them.
    """

    network: Network
    compression: Compression
    accelerator: Accelerator
    known_totals: Mapping[str, Tensor]

    @property
    def machine(self) -> str:
        """Name of the machine."""
        return self.accelerator.name

    @property
    def clock_mhz(self) -> Number:
        """Clock of the machine."""
        clock: Number = self.accelerator.clock_mhz
        return clock

    @cached_property
    def _priced(self) -> tuple[Work, LayerCost]:
        parts = [price(self.network, part, self.accelerator) for part in _chunks(self.compression)]
        return _join([work for work, _ in parts], self.compression), _join([layers for _, layers in parts], self.compression)

    @property
    def work(self) -> Work:
        """What the machine sees of each layer."""
        return self._priced[0]

    @property
    def per_layer(self) -> LayerCost:
        """Costs by layer."""
        return self._priced[1]

    def _total(self, name: str) -> Tensor:
        return self.known_totals[name] if name in self.known_totals else TOTALS[name](self.per_layer, self.network)

    @cached_property
    def macs(self) -> Tensor:
        """Multiply-accumulates of one inference."""
        return self._total("macs")

    @cached_property
    def bops(self) -> Tensor:
        """Bit operations of one inference."""
        return self._total("bops")

    @cached_property
    def cycles(self) -> Tensor:
        """Clock cycles: layers run one after the other."""
        return self._total("cycles")

    @cached_property
    def energy_pj(self) -> Tensor:
        """Energy of one inference in pJ, all components."""
        return self._total("energy_pj")

    @cached_property
    def weight_bits(self) -> Tensor:
        """Stored weights in bits, packed at their width."""
        return self._total("weight_bits")

    @cached_property
    def peak_activation_bits(self) -> Tensor:
        """Largest sum of tensors that are alive at the same step, in bits."""
        return self._total("peak_activation_bits")

    @property
    def milliseconds(self) -> Tensor:
        """Time of one inference at the machine's clock."""
        clock = float64(self.clock_mhz)
        return self.cycles / ((clock.squeeze(-1) if clock.dim() else clock) * 1e3)

    def totals(self) -> dict[str, float]:
        """Return the totals of a single configuration as plain numbers."""
        return {name: getattr(self, name).item() for name in TOTALS}


def simulate(network: Network, compression: Compression, machine: Accelerator, *, search: bool = False) -> Cost:
    """Return the cost of one or many configurations on a machine; large batches are priced in chunks.

    `search` looks for the tiling of every layer that moves the fewest bits through DRAM, instead of the closed form.

    **Shapes**: `compression` may have one leading batch axis [configurations, layers]; a part of it without one holds for all.
    **Errors**: InputError when a search is asked of a machine without buffers.
    """
    if search:
        machine = with_exact_tiles(machine)
    parts = _chunks(compression)
    if len(parts) == 1:
        return Cost(network, compression, machine, {})
    totals = []
    for part in parts:
        _, layers = price(network, part, machine)
        totals.append({name: of(layers, network) for name, of in TOTALS.items()})
    joined = {name: torch.cat([total[name] for total in totals]) if totals[0][name].dim() else totals[0][name] for name in TOTALS}
    return Cost(network, compression, machine, joined)


def price(network: Network, compression: Compression, machine: Accelerator) -> tuple[Work, LayerCost]:
    """Return what a machine sees of every layer, and what it costs."""
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


def sum_of(components: Iterable[Tensor]) -> Tensor:
    """Return the sum over components and layers; a component may hold for all configurations."""
    return torch.stack(torch.broadcast_tensors(*(component.sum(-1) for component in components))).sum(0)


def _chunks(compression: Compression) -> list[Compression]:
    """Return a batch in parts of CHUNK configurations, anything else whole."""
    tensors = compression.weight_bits, compression.activation_bits, compression.kept_channels
    batch = torch.broadcast_shapes(*(tensor.shape[:-1] for tensor in tensors))
    if len(batch) != 1 or batch[0] <= CHUNK:
        return [compression]
    parts = (tensor.expand(*batch, -1).split(CHUNK) for tensor in tensors)
    return [Compression(*part) for part in zip(*parts, strict=True)]


def _join(parts: list[T], compression: Compression) -> T:
    """Return dataclasses of tensors joined along their configurations; what holds for all of them is taken once."""
    if len(parts) == 1:
        return parts[0]
    tensors = compression.weight_bits, compression.activation_bits, compression.kept_channels
    (count,) = torch.broadcast_shapes(*(tensor.shape[:-1] for tensor in tensors))

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
