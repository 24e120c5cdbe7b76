"""Mel-frequency cepstra and the spotter's windows of them, as the keyword-spotting benchmark has them (abr/power_benchmarks).

    16 kHz -> pre-emphasis 0.97 -> frames of 25 ms every 10 ms -> |FFT 512|^2 / 512 -> 26 mel filters -> log -> DCT -> lifter 22

The first of 26 cepstra is replaced by the logarithm of the frame's energy. 15 frames side by side are the 390 inputs of one inference;
a new inference starts every 10 ms. Frames are not windowed, and filters end on whole bins of the FFT, as in python_speech_features.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from hwmodel.errors import InputError

RATE_HZ = 16_000
FRAME, STRIDE, FFT = 400, 160, 512  # samples
CEPSTRA, CONTEXT = 26, 15
PRE_EMPHASIS, LIFTER = 0.97, 22
Array = NDArray[np.float64]


def mel(hertz: Array | float) -> Array:
    """Return frequencies in mel: 2595 log10(1 + f / 700)."""
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def hertz(mels: Array | float) -> Array:
    """Return frequencies in Hz, the inverse of `mel`."""
    return 700 * (10 ** (np.asarray(mels) / 2595) - 1)


def filter_bank(filters: int = CEPSTRA, fft: int = FFT, rate_hz: int = RATE_HZ) -> Array:
    """Return triangles of height 1, evenly spaced in mel from 0 to half the rate, corners on whole bins. **Shapes**: [filters, fft / 2 + 1]."""
    corners = np.floor((fft + 1) * hertz(np.linspace(0, mel(rate_hz / 2), filters + 2)) / rate_hz)
    if not (np.diff(corners) > 0).all():
        raise InputError(f"{filters} mel filters are more than an FFT of {fft} at {rate_hz} Hz can tell apart; take fewer")
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    bins = np.arange(fft // 2 + 1)
    bank: Array = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clip(min=0)
    return bank


def lifter(cepstra: int = CEPSTRA) -> Array:
    """Return the factor 1 + 11 sin(pi n / 22) of cepstrum n. **Shapes**: [cepstra]."""
    factors: Array = 1 + LIFTER / 2 * np.sin(np.pi * np.arange(cepstra) / LIFTER)
    return factors


def power_spectra(samples: Array) -> Array:
    """Return |FFT|^2 / 512 of every frame; the end is filled with zeros. **Shapes**: [samples] -> [frames, 257]."""
    if len(samples) == 0:
        raise InputError("0 samples have no spectrum; give at least 1")
    emphasised = np.append(samples[0], samples[1:] - PRE_EMPHASIS * samples[:-1])
    frames = 1 + -(-max(0, len(samples) - FRAME) // STRIDE)
    padded = np.pad(emphasised, (0, (frames - 1) * STRIDE + FRAME - len(samples)))
    spectrum = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::STRIDE], FFT)
    return np.abs(spectrum) ** 2 / FFT


def mfcc(samples: Array) -> Array:
    """Return 26 cepstra every 10 ms, the first of them the logarithm of the energy. **Shapes**: [samples] -> [frames, 26]."""
    power = power_spectra(np.asarray(samples, dtype=np.float64))
    tiny = np.finfo(np.float64).eps
    energies = power @ filter_bank().T
    cepstra: Array = dct(np.log(np.where(energies > 0, energies, tiny)), type=2, norm="ortho", axis=1) * lifter()
    total = power.sum(1)
    cepstra[:, 0] = np.log(np.where(total > 0, total, tiny))
    return cepstra


def windows(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 15 frames side by side, the oldest first, for every start. **Shapes**: [frames, 26] -> [frames - 14, 390]."""
    if len(features) < CONTEXT:
        raise InputError(f"{len(features)} frames are fewer than the {CONTEXT} of one window; give {(CONTEXT - 1) * 10 + 25} ms or more")
    view = np.lib.stride_tricks.sliding_window_view(features, CONTEXT, axis=0)  # [windows, 26, 15]
    return np.ascontiguousarray(view.swapaxes(1, 2)).reshape(len(view), -1)
