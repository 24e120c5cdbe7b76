"""Which channels can only be removed together: union-find over channel groups, each with the reasons for what befell it."""

from .network import ChannelGroup

Piece = tuple[int, int]
"""`(group number, repeat)`: the channels of one group in order, each `repeat` times in a row."""


class Coupling:
    """Channel groups under construction. Groups are numbers until `resolve` names them after the first layer that writes them."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._size: list[int] = []
        self._frozen: list[bool] = []
        self._reasons: list[list[str]] = []

    def new(self, channels: int, frozen: str | None = None) -> int:
        """Return a new group; `frozen` gives the reason why nothing of it may be removed."""
        self._parent.append(len(self._parent))
        self._size.append(channels)
        self._frozen.append(frozen is not None)
        self._reasons.append([frozen] if frozen else [])
        return len(self._parent) - 1

    def find(self, group: int) -> int:
        """Return the representative of the group's set."""
        while self._parent[group] != group:
            self._parent[group] = self._parent[self._parent[group]]
            group = self._parent[group]
        return group

    def size(self, group: int) -> int:
        """Return the number of channels of a group."""
        return self._size[group]

    def frozen(self, group: int) -> bool:
        """Return whether nothing of the group may be removed."""
        return self._frozen[self.find(group)]

    def note(self, pieces: tuple[Piece, ...], reason: str) -> None:
        """Record a reason for coupling."""
        for group, _ in pieces:
            reasons = self._reasons[self.find(group)]
            if reason not in reasons:
                reasons.append(reason)

    def freeze(self, pieces: tuple[Piece, ...], reason: str) -> None:
        """Forbid the removal of any channel of these groups."""
        for group, _ in pieces:
            self._frozen[self.find(group)] = True
        self.note(pieces, reason)

    def unite(self, first: tuple[Piece, ...], second: tuple[Piece, ...], reason: str) -> None:
        """Couple two tensors channel by channel; where their pieces do not line up both are frozen."""
        lined_up = len(first) == len(second) and all(
            (self._size[a], repeat_a) == (self._size[b], repeat_b) for (a, repeat_a), (b, repeat_b) in zip(first, second, strict=True)
        )
        if not lined_up:
            self.freeze(first, f"{reason} of differently grouped channels")
            self.freeze(second, f"{reason} of differently grouped channels")
            return
        for (a, _), (b, _) in zip(first, second, strict=True):
            root, other = self.find(a), self.find(b)
            if root == other:
                continue
            root, other = min(root, other), max(root, other)
            self._parent[other] = root
            self._frozen[root] |= self._frozen[other]
            for what in self._reasons[other]:
                if what not in self._reasons[root]:
                    self._reasons[root].append(what)
            self.note(((root, 1),), reason)

    def resolve(self, writers: list[tuple[str, tuple[Piece, ...]]]) -> tuple[dict[int, str], tuple[ChannelGroup, ...]]:
        """Return the name of every representative and the groups, in the order of the layers that first write them."""
        names: dict[int, str] = {}
        for layer, pieces in writers:
            for group, _ in pieces:
                root = self.find(group)
                if root not in names:
                    taken = sum(name == layer or name.startswith(f"{layer}#") for name in names.values())
                    names[root] = layer if not taken else f"{layer}#{taken + 1}"
        groups = tuple(ChannelGroup(name, self._size[g], not self._frozen[g], tuple(self._reasons[g])) for g, name in names.items())
        return names, groups
