"""The last reallocation: from real-valued widths to integers that hold every limit and spend what is left.

Widths start at their rounded values. While a limit is broken, the tensor whose real width lies furthest below its integer is
lowered; when no width can fall, the weakest channels go. Then the tensor furthest above its integer is raised while the limits
hold; to use the rest, pairs are exchanged (one up, one down), channels given back, and at last a few channels traded for a width.
All candidates of a round are priced in one batched call, on exact costs.

With a `unit` for each gate, its channels come and go in whole units (a machine's granule), or are all kept.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from hwmodel.accelerator import Accelerator
from hwmodel.compression import Compression
from hwmodel.cost import CHUNK, simulate
from hwmodel.errors import InputError
from hwmodel.network import Network

from .budget import costs_of

CompressionOf = Callable[[Tensor, Tensor | None], Compression]
FULL_ENOUGH = 0.99
FARTHEST = 3  # places that a width moves in an exchange
MOST_TRADED = 16  # channels, or units of them, given for one width


class Allocation:
    """Integer widths (as positions in each tensor's allowed list) and kept counts under exact limits."""

    def __init__(
        self, network: Network, machine: Accelerator, limits: dict[str, float], compression_of: CompressionOf,
        widths: list[tuple[int, ...]], real: Tensor, bits: Tensor, kept: Tensor | None, most: Tensor | None, unit: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.network, self.machine, self.limits, self.compression_of = network, machine, limits, compression_of
        self.widths, self.real, self.kept = widths, real.detach().double(), None if kept is None else kept.detach().double().clone()
        self.most = None if most is None else most.double()
        if self.kept is not None and self.most is not None:
            self.unit = torch.ones_like(self.most) if unit is None else torch.minimum(unit.double(), self.most)
            self.kept = torch.minimum((self.kept / self.unit).ceil() * self.unit, self.most)
        self.at = torch.tensor([allowed.index(int(b)) for allowed, b in zip(widths, bits.tolist(), strict=True)])
        self.last = torch.tensor([len(allowed) - 1 for allowed in widths])
        longest = int(self.last.max()) + 1
        self.table = torch.tensor([[*allowed, *[allowed[-1]] * (longest - len(allowed))] for allowed in widths], dtype=torch.float64)
        self._caps = torch.tensor(list(limits.values()), dtype=torch.float64)

    def bits(self, at: Tensor) -> Tensor:
        """Return widths of positions [..., tensors]."""
        return self.table.expand(*at.shape, -1).gather(-1, at[..., None])[..., 0]

    @torch.no_grad()
    def use(self, at: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return the largest share of a limit that is used, [...]; at most 1 holds them all. Many candidates are priced in chunks."""
        kept = self.kept if kept is None else kept
        if at.dim() > 1 and len(at) > CHUNK:
            chunks = at.split(CHUNK)
            parts = [kept] * len(chunks) if kept is None or kept.dim() == 1 else kept.split(CHUNK)
            return torch.cat([self.use(some, part) for some, part in zip(chunks, parts, strict=True)])
        if kept is not None:
            leading = torch.broadcast_shapes(at.shape[:-1], kept.shape[:-1])
            at, kept = at.expand(*leading, -1), kept.expand(*leading, -1)
        cost = simulate(self.network, self.compression_of(self.bits(at), kept), self.machine)
        return (costs_of(cost, self.limits) / self._caps).amax(-1)

    def moves(self, change: int) -> Tensor:
        """Return the tensors whose width may change by one place."""
        return ((self.at + change >= 0) & (self.at + change <= self.last)).nonzero().flatten()

    def moved(self, tensors: Tensor, change: int) -> Tensor:
        """Return one allocation per tensor, with that tensor moved [tensors, all]."""
        return self.at.repeat(len(tensors), 1).scatter_add(1, tensors[:, None], torch.full((len(tensors), 1), change))

    def lower_until_held(self) -> None:
        """Lower widths, then channels, until every limit holds."""
        while (now := self.use(self.at)) > 1:
            tensors = self.moves(-1)
            if not len(tensors):
                self._drop_a_channel()
                continue
            saves = self.use(self.moved(tensors, -1)) < now
            tensors = tensors[saves] if bool(saves.any()) else tensors
            self.at[tensors[(self.real - self.bits(self.at))[tensors].argmin()]] -= 1

    def _drop_a_channel(self) -> None:
        """Give one unit of channels of the group where it saves most for its share of the group."""
        if self.kept is None or not bool((self.kept > self.unit).any()):
            raise InputError(f"no allocation holds the limits {self.limits}")
        candidates = (self.kept > self.unit).nonzero().flatten()
        fewer = self.kept.repeat(len(candidates), 1)
        less = ((self.kept / self.unit).ceil() - 1) * self.unit
        fewer[torch.arange(len(candidates)), candidates] = less[candidates]
        saved = self.use(self.at) - self.use(self.at, fewer)
        self.kept = fewer[(saved * self.kept[candidates]).argmax()]

    def raise_while_held(self) -> None:
        """Raise the widths that training wanted higher, as long as every limit holds."""
        while len(tensors := self.moves(1)):
            fits = self.use(self.moved(tensors, 1)) <= 1
            if not bool(fits.any()):
                return
            wanted = (self.bits(self.at) - self.real)[tensors].masked_fill(~fits, torch.inf)
            self.at[tensors[wanted.argmin()]] += 1

    def exchange(self) -> None:
        """Move one width up and another down, by up to `FARTHEST` places, where that uses more of the limits; nearest to training's wish."""
        for _ in range(4 * len(self.at)):
            now = float(self.use(self.at))
            if now >= FULL_ENOUGH:
                return
            tensors, places = torch.arange(len(self.at)), torch.arange(1, FARTHEST + 1)
            up, down, rise, fall = torch.cartesian_prod(tensors, tensors, places, places).unbind(1)
            at = self.at.repeat(len(up), 1)
            rows = torch.arange(len(up))
            at[rows, up] += rise
            at[rows, down] -= fall
            at = at[(up != down) & ((at >= 0) & (at <= self.last)).all(-1)]
            if not len(at):
                return
            use = self.use(at)
            better = (use <= 1) & (use > now)
            if not bool(better.any()):
                return
            enough = better & (use >= FULL_ENOUGH)
            distance = (self.bits(at) - self.real).square().sum(-1)
            choice = distance.masked_fill(~enough, torch.inf).argmin() if bool(enough.any()) else use.masked_fill(~better, 0).argmax()
            self.at = at[choice]

    def trade_channels(self) -> None:
        """Where widths are too coarse a grain: raise one of them and give the fewest channels for it, if that uses more of the limits."""
        now = float(self.use(self.at))
        if self.kept is None or now >= FULL_ENOUGH or not len(tensors := self.moves(1)):
            return
        options = [
            (int(tensor), gate, count)
            for tensor in tensors
            for gate, (held, unit) in enumerate(zip(self.kept.tolist(), self.unit.tolist(), strict=True))
            for count in range(int(held % unit or unit), int(min(held - unit, MOST_TRADED * unit)) + 1, int(unit))
        ]
        if not options:
            return
        tensor, gate, count = torch.tensor(options).unbind(1)
        rows, at, kept = torch.arange(len(options)), self.at.repeat(len(options), 1), self.kept.repeat(len(options), 1)
        at[rows, tensor] += 1
        kept[rows, gate] -= count.double()
        use = self.use(at, kept)
        better = (use <= 1) & (use > now)
        if bool(better.any()):
            enough = better & (use >= FULL_ENOUGH)
            share = (count.double() / self.kept[gate]).masked_fill(~enough, torch.inf)
            choice = share.argmin() if bool(enough.any()) else use.masked_fill(~better, 0).argmax()
            self.at, self.kept = at[choice], kept[choice]

    def regrow(self) -> None:
        """Give channels back where widths alone cannot use the limits: as many of one group as fit, those training rated next."""
        while self.kept is not None and float(self.use(self.at)) < FULL_ENOUGH:
            assert self.most is not None
            room = self.most - self.kept
            steps = [
                (gate, 2**power)
                for gate, units in enumerate((room / self.unit).ceil().tolist())
                for power in range(int(units).bit_length())
            ]
            if not steps:
                return
            more = self.kept.repeat(len(steps), 1)
            for row, (gate, count) in enumerate(steps):
                more[row, gate] = torch.minimum(more[row, gate] + count * self.unit[gate], self.most[gate])
            use = self.use(self.at, more)
            if not bool((use <= 1).any()):
                return
            self.kept = more[use.masked_fill(use > 1, 0).argmax()]


def settle(allocation: Allocation) -> tuple[Tensor, Tensor | None]:
    """Return integer widths [tensors] and kept counts [gates] that hold the limits and use them."""
    allocation.lower_until_held()
    allocation.raise_while_held()
    allocation.exchange()
    allocation.regrow()
    allocation.trade_channels()
    return allocation.bits(allocation.at), allocation.kept
