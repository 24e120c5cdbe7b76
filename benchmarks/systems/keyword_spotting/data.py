"""Utterances as the spotter sees them: windows of standardised cepstra, what was said in them, and frames with labels for `djpq`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from djpq.datasets import Data
from hwmodel.errors import InputError

from .mfcc import mfcc, windows
from .speech import KEYWORD, NEW_OTHERS, SPLITS, Samples, Utterance
from .text import SYMBOLS, Spotting, decode, spotting


@dataclass(frozen=True, eq=False)
class Spoken:
    """Utterances of one split: windows of each, what was said, at which ratio of speech to noise. **Shapes**: `frames` each [windows, 390]."""

    frames: Sequence[Tensor]
    texts: Sequence[str]
    snr_db: Sequence[int]

    def __post_init__(self) -> None:
        if not len(self.frames) == len(self.texts) == len(self.snr_db) > 0:
            raise InputError(f"{len(self.frames)} utterances, {len(self.texts)} texts, {len(self.snr_db)} ratios; give as many of each")

    def where(self, wanted: Sequence[bool]) -> "Spoken":
        """Return the utterances for which `wanted` holds."""
        kept = [i for i, want in enumerate(wanted) if want]
        return Spoken([self.frames[i] for i in kept], [self.texts[i] for i in kept], [self.snr_db[i] for i in kept])


def spoken_frames(speech: Mapping[str, Sequence[tuple[Utterance, Samples]]]) -> dict[str, Spoken]:
    """Return windows by split; each cepstrum is standardised by its mean and deviation over the frames of the training split."""
    cepstra = {split: [mfcc(samples) for _, samples in speech[split]] for split in SPLITS}
    training = np.concatenate(cepstra["train"])
    mean, deviation = training.mean(0), np.maximum(training.std(0), 1e-6)
    return {
        split: Spoken(
            [torch.from_numpy(windows(((c - mean) / deviation).astype(np.float32))) for c in cepstra[split]],
            [said.text for said, _ in speech[split]],
            [said.snr_db for said, _ in speech[split]],
        )
        for split in SPLITS
    }


def aligned(aligner: nn.Module, spoken: Mapping[str, Spoken], seed: int = 0) -> Data:
    """Return all frames of each split, training frames shuffled, each labelled with what the aligner hears most in it."""
    pairs = {}
    for split in SPLITS:
        frames = torch.cat(list(spoken[split].frames))
        pairs[split] = (frames, symbols(aligner, frames))
    order = torch.randperm(len(pairs["train"][1]), generator=torch.Generator().manual_seed(seed))
    return Data(f"spoken {KEYWORD}", tuple(t[order] for t in pairs["train"]), pairs["validation"], pairs["test"], num_classes=len(SYMBOLS))  # type: ignore[arg-type]


@torch.no_grad()
def symbols(model: nn.Module, frames: Tensor) -> Tensor:
    """Return the most likely symbol of each frame. **Shapes**: [frames, 390] -> [frames]."""
    model.eval()
    return torch.cat([model(part).argmax(1) for part in frames.split(10_000)])


def texts(found: Tensor, spoken: Spoken) -> list[str]:
    """Return what the symbols of all frames, one utterance after the other, say. **Shapes**: [frames of all utterances]."""
    return [decode(part.tolist()) for part in found.split([len(frames) for frames in spoken.frames])]


def rates(found: Sequence[str], spoken: Spoken) -> Spotting:
    """Return how well the keyword was told from the other words."""
    return spotting(spoken.texts, found, KEYWORD)


def new_word_rate(found: Sequence[str], spoken: Spoken) -> float:
    """Return the true negative rate over the words that no other split has."""
    new = {word for words in NEW_OTHERS.values() for word in words} | {KEYWORD}
    kept = [i for i, text in enumerate(spoken.texts) if text in new]
    return spotting([spoken.texts[i] for i in kept], [found[i] for i in kept], KEYWORD).tn_rate
