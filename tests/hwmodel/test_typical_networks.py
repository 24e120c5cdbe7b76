"""Networks as people write them, small: every operator covered, and the MACs that torch's flop counter counts."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import hwmodel
from hwmodel import trace
from hwmodel.capture import inference_mode_of


class UNet(nn.Module):
    """Down, up by a transposed convolution, and the skip beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.up, self.last = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = F.relu(self.down1(x))
        low = F.relu(self.down2(F.max_pool2d(skip, 2)))
        return self.last(torch.cat((skip, self.up(low)), 1))  # type: ignore[no-any-return]


class WaveNet(nn.Module):
    """Causal dilated convolutions with gates and a sum of skips."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 8, 1)
        self.dilated = nn.ModuleList(nn.Conv1d(8, 16, 2, dilation=2**i) for i in range(3))
        self.skips = nn.ModuleList(nn.Conv1d(8, 8, 1) for _ in range(3))
        self.last = nn.Conv1d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.first(x), torch.zeros(())
        for i, (dilated, skip) in enumerate(zip(self.dilated, self.skips, strict=True)):
            left, right = dilated(F.pad(x, (2**i, 0))).chunk(2, 1)
            y = skip(torch.tanh(left) * torch.sigmoid(right))
            x, total = x + y, total + y
        return self.last(F.relu(total))  # type: ignore[no-any-return]


class Speech(nn.Module):
    """Convolutions over time, a recurrent layer both ways, and an attention that weighs its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.rnn = nn.Conv1d(6, 8, 3, 2), nn.GRU(8, 5, 2, bidirectional=True, batch_first=True)
        self.score, self.last = nn.Linear(10, 1), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(F.relu(self.conv(x)).transpose(1, 2))
        weights = self.score(y).softmax(1)  # (B, T, 1)
        return self.last((weights * y).sum(1))  # type: ignore[no-any-return]


class Translator(nn.Module):
    """Encoder and decoder with embeddings of words and positions, and a causal mask that torch looks into: no export."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(20, 8), nn.Parameter(torch.zeros(1, 16, 8))
        self.transformer = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
        self.last = nn.Linear(8, 20)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1], device=target.device)
        x, y = (self.words(words) + self.positions[:, : words.shape[1]] for words in (source, target))
        return self.last(self.transformer(x, y, tgt_mask=mask))  # type: ignore[no-any-return]


class LinearAttention(nn.Module):
    """Attention without softmax by einsum, and a gated feed-forward."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.gate, self.last = nn.Linear(8, 24), nn.Linear(8, 32), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, 2, 4).unbind(2)  # (B, T, heads, D)
        memory = torch.einsum("bthd,bthe->bhde", F.elu(k) + 1, v)
        y = torch.einsum("bthd,bhde->bthe", F.elu(q) + 1, memory).flatten(2)
        return x + self.last(F.glu(self.gate(x + y), -1))  # type: ignore[no-any-return]


class Autoencoder(nn.Module):
    """Down to a code and up again, in three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv3d(1, 4, 3, 2, 1), nn.ConvTranspose3d(4, 1, 3, 2, 1, 1)
        self.code, self.back = nn.Linear(4 * 64, 10), nn.Linear(5, 4 * 64)

    def forward(self, x: Tensor) -> Tensor:
        mean, spread = self.code(F.relu(self.down(x)).flatten(1)).chunk(2, 1)
        return self.up(self.back(mean + spread.exp()).view(-1, 4, 4, 4, 4))  # type: ignore[no-any-return]


class Unrolled(nn.Module):
    """A cell called in a loop, its states gathered at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.last = nn.GRUCell(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        state, states = x.new_zeros(x.shape[0], 5), []
        for step in x.unbind(1):
            state = self.cell(step, state)
            states.append(state)
        return self.last(torch.stack(states, 1))  # type: ignore[no-any-return]


NETWORKS: list[tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...], str]] = [
    (UNet, ((3, 8, 8),), "export"),
    (WaveNet, ((1, 20),), "export"),
    (Speech, ((6, 15),), "export"),
    (Translator, ((7,), (5,)), "recorded"),
    (LinearAttention, ((7, 8),), "export"),
    (Autoencoder, ((1, 8, 8, 8),), "export"),
    (Unrolled, ((4, 6),), "export"),
]


@pytest.mark.parametrize(("factory", "shapes", "capture"), NETWORKS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("batch", [1, 3])
def test_macs_are_those_of_the_flop_counter(factory, shapes, capture: str, batch: int) -> None:  # type: ignore[no-untyped-def]
    with torch.device("cpu" if capture == "recorded" else "meta"):
        model = factory().eval()
        example = tuple(torch.zeros(batch, *shape, dtype=torch.long if factory is Translator else torch.float32) for shape in shapes)
        network = trace(model, example)
        math = sdpa_kernel(SDPBackend.MATH)  # torch does not count the fused attention of a CPU
        with inference_mode_of(model), math, FlopCounterMode(display=False) as counter:
            model(*example)
    assert hwmodel.macs(network) == counter.get_total_flops() // 2 // batch
    assert int(hwmodel.work(network, hwmodel.uniform(network, 8, 8)).macs.sum()) == hwmodel.macs(network)
    assert network.coverage.share == network.coverage.byte_share == 1
    assert network.capture == capture
    matrices = {name: p.numel() for name, p in model.named_parameters() if p.dim() > 1 and name != "positions"}
    cost = hwmodel.simulate(network, hwmodel.uniform(network, 1, 8), hwmodel.load_accelerator("loom"))
    assert int(cost.weight_bits) == sum(matrices.values())
