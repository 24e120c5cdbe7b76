"""What a compressed network costs: the one formula behind report, training and sweep.

Counting conventions: one MAC is one multiplication and one addition; `BOPs = MACs x weight bits x input bits`, for a product of
two activations both operands' bits, of weights that are zero none; every convolution, linear layer and matrix product counts, bias and element-wise work
does not. Example: a 3 x 3 convolution from 16 to 32 channels on 8 x 8 positions has 9 x 16 x 32 x 64 = 294,912 MACs; at 4-bit
weights and 8-bit inputs 9,437,184 BOPs.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor

from .accelerator import Accelerator
from .breakdown import module_totals
from .compression import Compression
from .errors import InputError
from .layer_cost import LayerCost, layer_cost
from .memory import with_exact_tiles
from .network import Network
from .numeric import Number, float64, minimum
from .work import Work, work

CHUNK = 1024  # configurations priced at once: stays in cache and bounds memory


def most_alive(footprint: Tensor, network: Network) -> Tensor:
    """Return the largest sum of tensors alive at the same step [...]; of many configurations the steps come first, which is much faster."""
    return (network.alive @ footprint).amax() if footprint.dim() == 1 else (network.alive @ footprint.mT).amax(-2)


TOTALS: dict[str, Callable[[LayerCost, Network], Tensor]] = {
    "macs": lambda layers, _: layers.macs.sum(-1),
    "bops": lambda layers, _: layers.bops.sum(-1),
    "cycles": lambda layers, _: layers.cycles.sum(-1),
    "energy_pj": lambda layers, _: sum_of(layers.energy_pj.values()),
    "weight_bits": lambda layers, _: layers.weight_bits.sum(-1),
    "peak_activation_bits": lambda layers, network: most_alive(layers.activation_bits, network),
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
    def per_layer(self) -> LayerCost:
        """Costs by layer."""
        return _join([layer_cost(self.network, part, self.accelerator) for part in _chunks(self.compression)], self.compression)

    @property
    def work(self) -> Work:
        """What the machine sees of each layer."""
        return self.per_layer.work

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

    def live_bits(self, *, in_place: bool = False) -> Tensor:
        """Return the bits of all tensors that are alive while each row runs.

        `in_place`: an element-wise operator or a fused add writes over an operand that nobody reads later, so the smaller of both
        needs no memory.

        **Shapes**: [..., layers].
        """
        footprint, network = self.per_layer.activation_bits, self.network
        alive = footprint @ network.alive.T
        if not in_place:
            return alive
        overwrites = network.overwritten != torch.arange(len(network.layers))
        return alive - minimum(footprint, footprint[..., network.overwritten]) * overwrites

    def peak_tensors(self, *, in_place: bool = False) -> pd.DataFrame:
        """Return the tensors that are alive at the peak with their bits, the largest first; `while_running` names the row that runs.

        Where the row that runs writes over one of them, the one that needs no memory of its own has 0 bits.
        """
        self._single("peak_tensors")
        step = int(self.live_bits(in_place=in_place).argmax())
        bits = self.per_layer.activation_bits.detach() * self.network.alive[step]
        other = int(self.network.overwritten[step])
        if in_place and other != step:
            bits[step if bits[step] <= bits[other] else other] = 0
        names = [layer.name for layer in self.network.layers]
        frame = pd.DataFrame({"tensor": names, "bits": bits.tolist(), "alive": self.network.alive[step].tolist()})
        frame = frame[frame["alive"] > 0].drop(columns="alive").sort_values("bits", ascending=False, kind="stable")
        return frame.assign(while_running=names[step]).reset_index(drop=True)

    # ---- where it goes ----------------------------------------------------------------------------------------------

    def _single(self, what: str) -> None:
        """Raise InputError for a batch of configurations."""
        if self.per_layer.cycles.dim() > 1:
            raise InputError(f"{what} needs one configuration, this cost holds {tuple(self.per_layer.cycles.shape[:-1])}")

    def by_layer(self) -> pd.DataFrame:
        """Return what each layer adds to the totals, by the layer's name; `operator` is its kind.

        **Errors**: InputError for a batch of configurations.
        """
        self._single("by_layer")
        layer = self.per_layer
        energy = torch.stack(torch.broadcast_tensors(*layer.energy_pj.values())).sum(0)
        columns = {
            "macs": layer.macs, "bops": layer.bops, "cycles": layer.cycles, "energy_pj": energy,
            "dram_bits": layer.dram_bits, "weight_bits": layer.weight_bits,
        }  # fmt: skip
        count = len(self.network.layers)
        frame = pd.DataFrame({name: values.detach().expand(count).tolist() for name, values in columns.items()})
        frame.insert(0, "operator", [row.kind for row in self.network.layers])
        return frame.set_index(pd.Index([row.name for row in self.network.layers], name="layer"))

    def by_operator(self) -> pd.DataFrame:
        """Return the totals of each kind of operator."""
        return self.by_layer().groupby("operator", sort=False).sum(min_count=1)

    def by_module(self) -> pd.DataFrame:
        """Return the totals of each module with all that it contains; "" is the whole network."""
        return module_totals(self.by_layer().drop(columns="operator"))

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
        layers = layer_cost(network, part, machine)
        totals.append({name: of(layers, network) for name, of in TOTALS.items()})
    joined = {name: torch.cat([total[name] for total in totals]) if totals[0][name].dim() else totals[0][name] for name in TOTALS}
    return Cost(network, compression, machine, joined)


def sum_of(components: Iterable[Tensor]) -> Tensor:
    """Return the sum over components and layers; a component may hold for all configurations."""
    return torch.stack(torch.broadcast_tensors(*(component.sum(-1) for component in components))).sum(0)


def _chunks(compression: Compression) -> list[Compression]:
    """Return a batch in parts of CHUNK configurations, anything else whole."""
    tensors = compression.tensors.values()
    batch = torch.broadcast_shapes(*(tensor.shape[:-1] for tensor in tensors))
    if len(batch) != 1 or batch[0] <= CHUNK:
        return [compression]
    parts = (tensor.expand(*batch, -1).split(CHUNK) for tensor in tensors)
    return [compression.with_tensors(part) for part in zip(*parts, strict=True)]


def _join(parts: list[LayerCost], compression: Compression) -> LayerCost:
    """Return costs joined along their configurations; what holds for all of them is taken once."""
    if len(parts) == 1:
        return parts[0]
    tensors = compression.tensors.values()
    (count,) = torch.broadcast_shapes(*(tensor.shape[:-1] for tensor in tensors))

    def joined(parts: list) -> object:  # type: ignore[type-arg]
        first = parts[0]
        if isinstance(first, Tensor):
            whole = sum(part.shape[0] for part in parts if part.dim() > 1)
            return torch.cat(parts) if first.dim() > 1 and whole == count else first
        if isinstance(first, Mapping):
            return {key: joined([part[key] for part in parts]) for key in first}
        if not isinstance(first, (LayerCost, Work)):
            return first  # the machine
        kind: Any = type(first)
        return kind(**{name: joined([getattr(part, name) for part in parts]) for name in first.__dataclass_fields__})

    return cast(LayerCost, joined(parts))


def macs(network: Network, compression: Compression | None = None) -> int:
    """Return the multiply-accumulates of a network, before compression unless one is given."""
    if compression is None:
        return sum(layer.macs for layer in network.layers)
    return int(work(network, compression).macs.sum().item())


def bops(network: Network, compression: Compression) -> int:
    """Return the bit operations of one configuration; needs no machine."""
    return int(work(network, compression).bops.sum().item())
