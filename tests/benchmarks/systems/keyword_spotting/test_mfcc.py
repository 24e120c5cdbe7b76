"""Cepstra: a direct oracle sum by sum, closed forms of filters, transform and lifter, and pure tones in their band."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.systems.keyword_spotting.mfcc import CEPSTRA, FFT, RATE_HZ, filter_bank, hertz, lifter, mel, mfcc, power_spectra, windows
from hwmodel import InputError


@given(frequency=st.floats(0, 8000))
def test_mel_and_hertz_undo_each_other(frequency: float) -> None:
    assert float(hertz(mel(frequency))) == pytest.approx(frequency, abs=1e-7)
    assert float(mel(700)) == pytest.approx(2595 * math.log10(2))


def test_filters_are_triangles_that_sum_to_one_between_the_first_and_last_centre() -> None:
    bank = filter_bank()
    assert bank.shape == (26, 257)
    assert (bank >= 0).all()
    assert (bank.max(1) == 1).all(), "each centre is a whole bin"
    centres = bank.argmax(1)
    assert (np.diff(centres) > 0).all()
    np.testing.assert_allclose(bank[:, centres[0] : centres[-1] + 1].sum(0), 1, rtol=1e-12)
    assert bank[:, 0].sum() == bank[:, -1].sum() == 0
    with pytest.raises(InputError, match="100 mel filters are more than an FFT of 512"):
        filter_bank(100)


def slow_mfcc(samples: list[float]) -> list[list[float]]:
    """One frame, one bin, one filter and one cepstrum after the other."""
    emphasised = [samples[0]] + [samples[i] - 0.97 * samples[i - 1] for i in range(1, len(samples))]
    frames = 1 if len(samples) <= 400 else 1 + math.ceil((len(samples) - 400) / 160)
    found = []
    corners = [math.floor(513 * 700 * (10 ** (2595 * math.log10(1 + 8000 / 700) * i / 27 / 2595) - 1) / 16000 + 1e-12) for i in range(28)]
    for frame in range(frames):
        part = (emphasised[160 * frame : 160 * frame + 400] + [0.0] * 400)[:400]
        power = []
        for k in range(257):
            real = sum(x * math.cos(2 * math.pi * k * n / 512) for n, x in enumerate(part))
            imaginary = sum(x * math.sin(2 * math.pi * k * n / 512) for n, x in enumerate(part))
            power.append((real**2 + imaginary**2) / 512)
        logs = []
        for j in range(26):
            left, centre, right = corners[j : j + 3]
            up = sum(power[k] * (k - left) / (centre - left) for k in range(left, centre))
            down = sum(power[k] * (right - k) / (right - centre) for k in range(centre, right))
            logs.append(math.log(up + down))
        row = [math.log(sum(power))]
        for n in range(1, 26):
            total = sum(value * math.cos(math.pi * n * (2 * j + 1) / 52) for j, value in enumerate(logs))
            row.append((1 + 11 * math.sin(math.pi * n / 22)) * math.sqrt(2 / 26) * total)
        found.append(row)
    return found


def test_cepstra_equal_a_slow_oracle() -> None:
    samples = np.random.RandomState(0).standard_normal(700)
    found = mfcc(samples)
    assert found.shape == (3, 26)
    np.testing.assert_allclose(found, slow_mfcc(samples.tolist()), rtol=1e-8, atol=1e-8)


def test_power_keeps_the_energy_of_a_frame() -> None:
    """Parseval: the sum over all 512 bins, mirrored ones too, is the sum of squares."""
    samples = np.random.RandomState(1).standard_normal(400)
    power = power_spectra(samples)
    emphasised = np.append(samples[0], samples[1:] - 0.97 * samples[:-1])
    assert power.shape == (1, 257)
    assert power[0, 0] + power[0, -1] + 2 * power[0, 1:-1].sum() == pytest.approx((emphasised**2).sum(), rel=1e-12)


@given(bin_number=st.integers(3, 250))
def test_a_tone_is_loudest_in_the_filters_around_it(bin_number: int) -> None:
    tone = np.sin(2 * np.pi * bin_number * RATE_HZ / FFT * np.arange(400) / RATE_HZ)
    energies = power_spectra(tone)[0] @ filter_bank().T
    bank = filter_bank()
    touching = np.flatnonzero(bank[:, bin_number - 1 : bin_number + 2].sum(1))
    assert energies.argmax() in touching


def test_louder_sound_moves_the_energy_alone() -> None:
    """All log energies rise by log 4, which the transform puts into cepstrum 0, and that one is replaced by the energy."""
    samples = np.random.RandomState(2).standard_normal(1000)
    difference = mfcc(2 * samples) - mfcc(samples)
    np.testing.assert_allclose(difference[:, 0], math.log(4), rtol=1e-9)
    np.testing.assert_allclose(difference[:, 1:], 0, atol=1e-9)


def test_the_lifter_has_its_closed_form() -> None:
    factors = lifter()
    assert factors.shape == (CEPSTRA,)
    assert factors[0] == 1
    assert factors[11] == pytest.approx(12)
    assert factors[22] == pytest.approx(1)


def test_silence_is_finite_and_nothing_is_refused() -> None:
    assert np.isfinite(mfcc(np.zeros(400))).all()
    with pytest.raises(InputError, match="0 samples"):
        mfcc(np.zeros(0))


def test_windows_hold_fifteen_frames_oldest_first() -> None:
    features = np.arange(17 * 26, dtype=np.float32).reshape(17, 26)
    found = windows(features)
    assert found.shape == (3, 390)
    for start in range(3):
        assert found[start].tolist() == features[start : start + 15].flatten().tolist()
    with pytest.raises(InputError, match="14 frames are fewer than the 15"):
        windows(features[:14])
