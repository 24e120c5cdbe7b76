"""Data handling on synthetic sound: standardised windows, labels of an aligner, texts cut at utterances."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.systems.keyword_spotting.data import Spoken, aligned, new_word_rate, rates, spoken_frames, symbols, texts
from benchmarks.systems.keyword_spotting.mfcc import mfcc
from benchmarks.systems.keyword_spotting.speech import SPLITS, Utterance
from benchmarks.systems.keyword_spotting.text import BLANK, SYMBOLS
from hwmodel import InputError


def noise(seconds: float, seed: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.RandomState(seed).standard_normal(int(16_000 * seconds)) * (1 + seed)


def sounds() -> dict[str, list[tuple[Utterance, np.ndarray]]]:  # type: ignore[type-arg]
    def said(text: str, seed: int, snr: int) -> tuple[Utterance, np.ndarray]:  # type: ignore[type-arg]
        return Utterance("m1", "en-us", 160, 50, text, snr), noise(0.2 + seed / 50, seed)

    return {split: [said("aloha", 3 * i, 40), said("hello", 3 * i + 1, 5)] for i, split in enumerate(SPLITS)}


class Names(nn.Module):
    """Says the symbol whose number stands in the first input."""

    def forward(self, frames: Tensor) -> Tensor:
        return nn.functional.one_hot(frames[:, 0].long(), len(SYMBOLS)).float()


def spoken_of(words: list[tuple[str, str]], snr: int = 40) -> Spoken:
    """Utterances whose frames name the symbols of the second text."""
    frames = []
    for _, frame_text in words:
        each = torch.zeros(len(frame_text), 390)
        each[:, 0] = torch.tensor([SYMBOLS.index(letter) for letter in frame_text]).float()
        frames.append(each)
    return Spoken(frames, [text for text, _ in words], [snr] * len(words))


def test_cepstra_are_standardised_by_the_training_split_alone() -> None:
    given = sounds()
    found = spoken_frames(given)
    cepstra = [mfcc(samples) for _, samples in given["train"]]
    joined = np.concatenate(cepstra)
    for split in SPLITS:
        for (said, samples), frames, text in zip(given[split], found[split].frames, found[split].texts, strict=True):
            wanted = (mfcc(samples) - joined.mean(0)) / joined.std(0)
            assert text == said.text
            assert frames.shape == (len(wanted) - 14, 390)
            np.testing.assert_allclose(frames[0].reshape(15, 26), wanted[:15], rtol=1e-4, atol=1e-4)
    assert found["test"].snr_db == [40, 5]


def test_labels_are_what_the_aligner_says_and_frames_keep_theirs_when_shuffled() -> None:
    words = [("aloha", "a-loha"), ("hello", "he-l-lo")]
    spoken = {split: spoken_of(words) for split in SPLITS}
    data = aligned(Names(), spoken, seed=1)
    assert data.num_classes == 29
    for split in SPLITS:
        inputs, labels = data.split(split)
        assert torch.equal(inputs[:, 0].long(), labels)
    assert data.validation[1].tolist() == [SYMBOLS.index(letter) for letter in "a-lohahe-l-lo"]
    assert sorted(data.train[1].tolist()) == sorted(data.test[1].tolist())
    assert data.train[1].tolist() != data.test[1].tolist()
    assert torch.equal(aligned(Names(), spoken, seed=1).train[1], data.train[1])


def test_symbols_are_cut_into_utterances_and_judged() -> None:
    spoken = spoken_of(
        [("aloha", "-aal-oha"), ("aloha", "-l-oha"), ("aloha", "--ha--"), ("hello", "hel-o"), ("aloof", "aloha"), ("koala", "koala")]
    )
    said = texts(symbols(Names(), torch.cat(list(spoken.frames))), spoken)
    assert said == ["aloha", "loha", "ha", "helo", "aloha", "koala"]
    found = rates(said, spoken)
    assert (found.tp_rate, found.exact_tp_rate, found.tn_rate) == (2 / 3, 1 / 3, 2 / 3)
    assert new_word_rate(said, spoken) == 0.5, "aloof and koala, not hello"
    assert spoken.where([True, False, False, True, False, False]).texts == ["aloha", "hello"]


def test_utterances_need_texts() -> None:
    with pytest.raises(InputError, match="1 utterances, 0 texts"):
        Spoken([torch.zeros(1, 390)], [], [])
    assert SYMBOLS[BLANK] == "-"
