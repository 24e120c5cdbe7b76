"""The spotter's two stages of training, as in the paper: a deeper network aligns frames to letters, the spotter learns its frames.

The aligner (four hidden layers) is trained on whole utterances by the CTC loss; the symbol it hears most in a frame is the frame's label.
The spotter (two hidden layers) is trained on frames by themselves with cross-entropy: RMSProp 5e-4, falling by 0.7 every 8,000
steps, batches of 64, 8 epochs, gradients of the summed loss cut to a norm of 5 (all sourced: abr/power_benchmarks). Ours: the aligner is
trained by Adam with one cycle in batches of 16 utterances, without the branch that tells speakers apart.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from djpq.datasets import Data
from djpq.pretraining import check_finite
from hwmodel.zoo import kws

from .data import Spoken
from .spotter import HIDDEN, INPUTS
from .text import BLANK, SYMBOLS, encode

ALIGNER_LAYERS, ALIGNER_LR, ALIGNER_BATCH = 4, 1e-3, 16
RATE, DECAY, DECAY_STEPS, BATCH, NORM = 5e-4, 0.7, 8000, 64, 5.0
RMS_DECAY, RMS_EPSILON = 0.9, 1e-10  # defaults of TensorFlow's RMSProp


def aligner_network() -> nn.Sequential:
    """Return the perceptron 390-256-256-256-256-29. **Shapes**: [frames, 390] -> [frames, 29]."""
    widths = [INPUTS] + [HIDDEN] * ALIGNER_LAYERS
    hidden = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(HIDDEN, len(SYMBOLS)))


def ctc(model: nn.Module, frames: list[Tensor], targets: list[Tensor]) -> Tensor:
    """Return the mean over utterances of the CTC loss of a letter. **Shapes**: `frames` each [windows, 390], `targets` each [letters]."""
    lengths, letters = torch.tensor([len(f) for f in frames]), torch.tensor([len(t) for t in targets])
    scores = torch.log_softmax(model(torch.cat(frames)), 1)
    padded = pad_sequence(list(scores.split(lengths.tolist())))
    return functional.ctc_loss(padded, torch.cat(targets), lengths, letters, blank=BLANK, zero_infinity=True)


def train_aligner(spoken: Spoken, epochs: int, seed: int = 0) -> nn.Module:
    """Return an aligner trained on one split."""
    torch.manual_seed(seed)
    model, generator = aligner_network(), torch.Generator().manual_seed(seed)
    targets = [torch.tensor(encode(text)) for text in spoken.texts]
    batches = -(-len(targets) // ALIGNER_BATCH)
    optimizer = torch.optim.Adam(model.parameters(), ALIGNER_LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, ALIGNER_LR, total_steps=epochs * batches)
    for epoch in range(epochs):
        for rows in torch.randperm(len(targets), generator=generator).split(ALIGNER_BATCH):
            loss = ctc(model, [spoken.frames[i] for i in rows], [targets[i] for i in rows])
            _step(optimizer, model, loss)
            schedule.step()
        check_finite(loss, epoch)
    return model.eval()


def train_spotter(data: Data, epochs: int, seed: int = 0) -> nn.Module:
    """Return the spotter trained on labelled frames."""
    torch.manual_seed(seed)
    model, generator = kws(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.RMSprop(model.parameters(), RATE, alpha=RMS_DECAY, eps=RMS_EPSILON)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: DECAY ** (step / DECAY_STEPS))
    for epoch in range(epochs):
        for x, y in data.batches("train", BATCH, generator):
            loss = functional.cross_entropy(model(x), y, reduction="sum")
            _step(optimizer, model, loss)
            schedule.step()
        check_finite(loss, epoch)
    return model.eval()


def _step(optimizer: torch.optim.Optimizer, model: nn.Module, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), NORM)
    optimizer.step()
