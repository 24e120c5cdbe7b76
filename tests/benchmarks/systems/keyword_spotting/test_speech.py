"""What is planned and what noise does, without espeak-ng; a few spoken words where it is installed, which CI must have."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.systems.keyword_spotting import speech as module
from benchmarks.systems.keyword_spotting.speech import (
    ACCENTS,
    HELD_OUT_VOICES,
    KEYWORD,
    NEW_OTHERS,
    OTHERS,
    SNR_DB,
    SPLITS,
    VOICES,
    Amount,
    Utterance,
    coloured,
    espeak_version,
    family,
    heard,
    plan,
    speech,
    spoken,
    trimmed,
    voices_by_split,
)
from hwmodel import InputError

PRESENT = shutil.which("espeak-ng") is not None or os.environ.get("CI") == "true"
needs_espeak = pytest.mark.skipif(not PRESENT, reason="espeak-ng is not installed (apt install espeak-ng)")


def test_no_voice_nor_a_relative_of_it_is_in_two_splits() -> None:
    found = voices_by_split()
    assert sorted(voice for voices in found.values() for voice in voices) == sorted(VOICES)
    assert len(set(VOICES)) == len(VOICES) == 96
    assert [len(found[split]) for split in SPLITS] == [64, HELD_OUT_VOICES, HELD_OUT_VOICES]
    families = [{family(voice) for voice in found[split]} for split in SPLITS]
    assert not families[0] & families[1] | families[0] & families[2] | families[1] & families[2]
    assert (family("klatt2"), family("klatt"), family("m3")) == ("klatt", "klatt", "m3")


def test_a_plan_says_the_keyword_every_other_time_and_is_always_the_same() -> None:
    found = plan(Amount())
    assert {split: len(said) for split, said in found.items()} == {"train": 2048, "validation": 384, "test": 384}
    assert found == plan(Amount())
    for split, said in found.items():
        assert sum(one.text == KEYWORD for one in said) == len(said) / 2
        assert {one.text for one in said} - {KEYWORD} <= set(OTHERS) | set(NEW_OTHERS.get(split, ()))
        assert {one.snr_db for one in said} == set(SNR_DB)
        assert all(one.accent in ACCENTS and 100 <= one.speed_wpm <= 220 and 0 <= one.pitch < 100 for one in said)
    trained = {one.text for one in found["train"]}
    new = [{one.text for one in found[split]} - trained for split in ("validation", "test")]
    assert new[0] == set(NEW_OTHERS["validation"])
    assert new[1] == set(NEW_OTHERS["test"])


@pytest.mark.parametrize("amount", [Amount((65, 16, 16)), Amount((0, 1, 1)), Amount((1, 1, 1), (1, 0, 1))])
def test_amounts_have_a_range(amount: Amount) -> None:
    with pytest.raises(InputError, match="voices, "):
        plan(amount)


@given(exponent=st.integers(0, 2), seed=st.integers(0, 1000))
def test_noise_has_its_power_and_its_slope(exponent: int, seed: int) -> None:
    noise = coloured(16384, exponent, np.random.RandomState(seed))
    assert np.mean(noise**2) == pytest.approx(1, rel=1e-9)
    power = np.abs(np.fft.rfft(noise)) ** 2
    low, high = power[256:512].mean(), power[2048:4096].mean()
    assert low / high == pytest.approx(8**exponent, rel=0.5)


@given(snr=st.sampled_from(SNR_DB), gain=st.floats(-12, -1), exponent=st.integers(0, 2))
def test_speech_stands_above_noise_by_the_ratio(snr: int, gain: float, exponent: int) -> None:
    clean = np.sin(np.arange(8000) / 7)
    said = Utterance("m1", "en-us", 160, 50, "aloha", snr, exponent, gain, (1600, 800), 3)
    quiet = Utterance("m1", "en-us", 160, 50, "aloha", 300, exponent, gain, (1600, 800), 3)
    loud, still = heard(clean, said), heard(clean, quiet)
    assert len(loud) == 1600 + 8000 + 800
    assert np.abs(still).max() == pytest.approx(10 ** (gain / 20), rel=1e-3)
    speech_power, noise_power = np.mean(still[1600:9600] ** 2), np.mean((loud - still) ** 2)
    assert 10 * np.log10(speech_power / noise_power) == pytest.approx(snr, abs=1e-6)


def test_silence_around_speech_is_cut_in_whole_blocks() -> None:
    loud = np.ones(320)
    assert trimmed(np.concatenate([np.zeros(480), loud, np.full(160, 0.1), np.full(160, 0.01), np.zeros(300)])).tolist() == [
        *loud, *[0.1] * 160,
    ]  # fmt: skip
    assert len(trimmed(np.zeros(100))) == 100


def test_the_absence_of_espeak_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"^espeak-ng is not installed, .*; apt install espeak-ng$"):
        speech(Amount((1, 1, 1), (1, 1, 1)), tmp_path)


@needs_espeak
def test_every_voice_is_known_and_speaks_the_same_twice() -> None:
    assert "eSpeak NG" in espeak_version()
    said = Utterance("m1", "en-us", 160, 50, "aloha")
    first = spoken(said)
    assert 0.2 < len(first) / 16_000 < 1.5
    assert np.abs(first).max() <= 1
    assert np.array_equal(first, spoken(said))
    assert not np.array_equal(first[:1000], spoken(Utterance("f1", "en-us", 160, 50, "aloha"))[:1000])
    assert len(spoken(Utterance("m1", "en-us", 80, 50, "aloha"))) > 1.3 * len(first), "slower is longer"


@needs_espeak
def test_a_voice_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VOICES", (*VOICES, "nobody"))
    with pytest.raises(InputError, match=r"lacks the voice 'nobody' \(1 of 97\)"):
        espeak_version()


@needs_espeak
def test_speech_is_kept_and_the_same_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    amount = Amount((2, 1, 1), (1, 1, 1))
    first = speech(amount, tmp_path)
    assert [len(first[split]) for split in SPLITS] == [4, 2, 2]
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(module, "spoken", lambda said: pytest.fail("spoken again"))
    again = speech(amount, tmp_path)
    for split in SPLITS:
        for (said, samples), (same, kept) in zip(first[split], again[split], strict=True):
            assert said == same
            assert np.array_equal(samples, kept)
