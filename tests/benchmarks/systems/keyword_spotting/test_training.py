"""The CTC loss against all paths one by one, and both stages on words made of prototypes, one a letter."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from benchmarks.systems.keyword_spotting.data import Spoken, aligned, rates, symbols, texts
from benchmarks.systems.keyword_spotting.text import BLANK, SYMBOLS, merged
from benchmarks.systems.keyword_spotting.training import aligner_network, ctc, train_aligner, train_spotter


@given(seed=st.integers(0, 10**6))
def test_the_loss_is_that_of_all_paths_that_say_the_word(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    kinds = [SYMBOLS.index(letter) for letter in "ab-"]
    scores = [torch.full((length, len(SYMBOLS)), -1e4) for length in (4, 3)]
    for one in scores:
        one[:, kinds] = torch.randn(len(one), 3, generator=draw)
    wanted = []
    for one, word in zip(scores, ("ab", "aa"), strict=True):
        logs = torch.log_softmax(one, 1)
        total = sum(
            math.exp(sum(float(logs[t, symbol]) for t, symbol in enumerate(path)))
            for path in itertools.product(kinds, repeat=len(one))
            if merged("".join(SYMBOLS[symbol] for symbol in path)) == word
        )
        wanted.append(-math.log(total) / len(word))
    found = ctc(nn.Identity(), scores, [torch.tensor([0, 1]), torch.tensor([0, 0])])
    assert float(found) == pytest.approx(sum(wanted) / 2, rel=1e-4)


def prototype_words(count: int, seed: int) -> Spoken:
    """Words of 390-dimensional prototypes, one a letter and one for silence, with jitter of duration and noise."""
    prototypes = torch.randn(len(SYMBOLS), 390, generator=torch.Generator().manual_seed(99))
    draw = torch.Generator().manual_seed(seed)
    words = ["aloha", "halo", "alone", "hello", "hola"]
    frames, said = [], []
    for i in range(count):
        text = words[i % 2 * (1 + i // 2 % 4)]
        path = [BLANK] * 3
        for letter in text:
            path += [SYMBOLS.index(letter)] * int(torch.randint(3, 7, (1,), generator=draw))
            path += [BLANK] * int(torch.randint(1, 3, (1,), generator=draw))
        frames.append(prototypes[path] + 0.5 * torch.randn(len(path), 390, generator=draw))
        said.append(text)
    return Spoken(frames, said, [40] * count)


def test_both_stages_learn_words_of_prototypes() -> None:
    spoken = {"train": prototype_words(160, 0), "validation": prototype_words(20, 1), "test": prototype_words(40, 2)}
    aligner = train_aligner(spoken["train"], epochs=25)
    data = aligned(aligner, spoken)
    model = train_spotter(data, epochs=4)
    for network in (aligner, model):
        found = rates(texts(symbols(network, data.test[0]), spoken["test"]), spoken["test"])
        assert found.tp_rate >= 0.95
        assert found.tn_rate >= 0.95
        assert found.exact_tp_rate >= 0.9
    again = train_spotter(data, epochs=4)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_the_aligner_has_four_hidden_layers() -> None:
    sizes = [(layer.in_features, layer.out_features) for layer in aligner_network() if isinstance(layer, nn.Linear)]
    assert sizes == [(390, 256), (256, 256), (256, 256), (256, 256), (256, 29)]
