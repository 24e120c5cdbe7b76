"""Speech made by the project: a keyword and other words, spoken by espeak-ng in 96 voices with noise; 16 kHz, mono.

The set of the paper cannot be had; this one copies its size: 96 speakers and about 2,000 utterances to train on. A speaker is one voice
around a pitch and a speed of its own; the accent changes from
utterance to utterance. Unlike the paper, which keeps one utterance a speaker for the test, the voices of
validation and test are heard nowhere else, nor are their relatives (`klatt` and `klatt2`), and half of their other words are new too.
Everything is drawn from numpy's legacy generator and espeak-ng says the same text the same way each time.
"""

import hashlib
import io
import json
import re
import shutil
import subprocess
import wave
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.signal import resample_poly

from hwmodel.errors import InputError
from hwmodel.files import whole

from .mfcc import RATE_HZ

KEYWORD = "aloha"
SPLITS = ("train", "validation", "test")
ACCENTS = ("en-gb", "en-us", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")
VOICES = (
    "Alex", "Alicia", "Andrea", "Andy", "Annie", "AnxiousAndy", "Denis", "Diogo", "Gene", "Gene2", "Henrique", "Hugo", "Jacky", "Lee",
    "Marco", "Mario", "Michael", "Mike", "Nguyen", "RicishayMax", "RicishayMax2", "RicishayMax3", "Storm", "Tweaky", "UniRobot", "adam",
    "anika", "anikaRobot", "announcer", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "croak", "david", "ed", "edward",
    "edward2", "f1", "f2", "f3", "f4", "f5", "grandma", "grandpa", "gustave", "iven", "iven2", "iven3", "iven4", "john", "kaukovalta",
    "klatt", "klatt2", "klatt3", "klatt4", "klatt5", "klatt6", "linda", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "marcelo",
    "max", "michel", "miguel", "norbert", "pablo", "paul", "pedro", "quincy", "rob", "robert", "robosoft", "robosoft2", "robosoft3",
    "robosoft4", "robosoft5", "robosoft6", "robosoft7", "robosoft8", "sandro", "shelby", "steph", "steph2", "steph3", "travis",
    "victor", "zac",
)  # fmt: skip
HELD_OUT_VOICES = 16  # of each of validation and test
OTHERS = (
    "hello", "alone", "aroma", "a loaf of bread", "allow her", "follow", "alarm", "oh la la", "open the door", "cola", "polo", "halo",
    "hola", "later", "good morning", "turn on the light", "what time is it", "ahoy", "holiday", "loyal", "lower the volume", "a lot of",
    "yellow", "already", "also", "solo", "music", "stop", "tomorrow", "alpha", "it's a hat", "ocean",
)  # fmt: skip
"""Words of all splits beside the keyword; about half of them sound or look like it."""
NEW_OTHERS = {
    "validation": ("aloe", "salad", "roller", "call me back", "pillow", "hallo there"),
    "test": ("aloof", "aha", "koala", "below her", "play the song", "marshmallow"),
}
"""Words that no other split has."""
SNR_DB = (40, 20, 10, 5)
NOISES = (0, 1, 2)  # exponent of 1 / f: white, pink, brown
SPEED_WPM, PITCH = (130, 190), (30, 70)
MARGIN_SECONDS = (0.08, 0.2)
TRIM_DB = 35  # below the loudest 10 ms
Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Utterance:
    """One text said once: how it is spoken (the first five) and what is done to it. Gain in dB of full scale, margins in samples."""

    voice: str
    accent: str
    speed_wpm: int
    pitch: int
    text: str
    snr_db: int = 40
    noise: int = 0
    gain_db: float = 0.0
    margins: tuple[int, int] = (0, 0)
    seed: int = 0


@dataclass(frozen=True)
class Amount:
    """How many voices of each split speak, and how often each says the keyword and, as often, another word."""

    voices: tuple[int, int, int] = (len(VOICES) - 2 * HELD_OUT_VOICES, HELD_OUT_VOICES, HELD_OUT_VOICES)
    times: tuple[int, int, int] = (16, 12, 12)


def family(voice: str) -> str:
    """Return the voice without its number: `klatt2` is a relative of `klatt`; `m1` to `m8` and `f1` to `f5` are speakers of their own."""
    return voice if len(voice) == 2 else re.sub(r"\d+$", "", voice)


def voices_by_split() -> dict[str, list[str]]:
    """Return the voices of each split, whole families, in the order in which they were drawn."""
    families = sorted({family(voice) for voice in VOICES})
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name in RandomState(0).permutation(np.array(families)):
        relatives = [voice for voice in VOICES if family(voice) == name]
        room = [split for split in ("test", "validation") if len(found[split]) + len(relatives) <= HELD_OUT_VOICES]
        found[room[0] if room else "train"] += relatives
    return found


def plan(amount: Amount) -> dict[str, list[Utterance]]:
    """Return what is said, by split."""
    voices, plans = voices_by_split(), dict[str, list[Utterance]]()
    for number, split in enumerate(SPLITS):
        if not (1 <= amount.voices[number] <= len(voices[split]) and amount.times[number] >= 1):
            raise InputError(
                f"{amount.voices[number]} voices, {amount.times[number]} times in {split}; give 1 to {len(voices[split])}, once or more"
            )
        draw, plans[split] = RandomState(number), []
        for voice in voices[split][: amount.voices[number]]:
            speed, pitch = draw.randint(*SPEED_WPM), draw.randint(*PITCH)
            for turn in range(2 * amount.times[number]):
                new = NEW_OTHERS.get(split, ())
                others = new if new and turn % 4 == 3 else OTHERS
                text = KEYWORD if turn % 2 == 0 else str(draw.choice(others))
                plans[split].append(
                    Utterance(
                        voice, str(draw.choice(ACCENTS)), int(speed * draw.uniform(0.85, 1.15)), int(pitch + draw.randint(-10, 11)), text,
                        int(draw.choice(SNR_DB)), int(draw.choice(NOISES)), float(draw.uniform(-12, -1)),
                        (_margin(draw), _margin(draw)), int(draw.randint(2**31)),
                    )
                )  # fmt: skip
    return plans


def _margin(draw: RandomState) -> int:
    return int(RATE_HZ * draw.uniform(*MARGIN_SECONDS))


def espeak_version() -> str:
    """Return what espeak-ng says of itself. **Errors**: InputError where it is absent or lacks a voice."""
    if shutil.which("espeak-ng") is None:
        raise InputError("espeak-ng is not installed, and keyword spotting has no speech without it; apt install espeak-ng")
    known = subprocess.run(["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True).stdout
    missing = [voice for voice in VOICES if f"!v/{voice}" not in known.replace("%20", " ").split()]
    if missing:
        raise InputError(f"espeak-ng lacks the voice '{missing[0]}' ({len(missing)} of {len(VOICES)}); install version 1.51 or newer")
    return subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True, check=True).stdout.split("Data at")[0].strip()


def trimmed(samples: Samples) -> Samples:
    """Return what lies between the first and the last 10 ms that are within 35 dB of the loudest."""
    block = RATE_HZ // 100
    levels = np.sqrt(np.mean(samples[: len(samples) // block * block].reshape(-1, block) ** 2, axis=1))
    loud = np.flatnonzero(levels >= levels.max(initial=0) * 10 ** (-TRIM_DB / 20))
    return samples[loud[0] * block : (loud[-1] + 1) * block] if len(loud) else samples


def spoken(said: Utterance) -> Samples:
    """Return clean speech of espeak-ng without silence around it. **Units**: full scale is 1."""
    words = ["espeak-ng", "-v", f"{said.accent}+{said.voice}", "-s", str(said.speed_wpm), "-p", str(said.pitch), "--stdout", said.text]
    ended = subprocess.run(words, capture_output=True, check=False)
    if ended.returncode or len(ended.stdout) < 1000:
        raise InputError(f"{' '.join(words)} ended with {ended.returncode}, {ended.stderr.decode(errors='replace').strip()[:80]}")
    with wave.open(io.BytesIO(ended.stdout)) as sound:
        rate, content = sound.getframerate(), sound.readframes(sound.getnframes())
    divisor = np.gcd(RATE_HZ, rate)
    return trimmed(resample_poly(np.frombuffer(content, "<i2") / 2**15, RATE_HZ // divisor, rate // divisor))


def coloured(count: int, exponent: int, draw: RandomState) -> Samples:
    """Return noise of mean square 1 whose power falls as 1 / f^exponent. **Shapes**: [count]."""
    spectrum = np.fft.rfft(draw.standard_normal(count))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** (-exponent / 2)
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, count)
    return noise / np.sqrt(np.mean(noise**2))


def heard(clean: Samples, said: Utterance) -> Samples:
    """Return speech at its gain with margins, in noise at its ratio to the speech. **Shapes**: [samples + margins]."""
    speech = clean / max(np.abs(clean).max(initial=0), 1e-9) * 10 ** (said.gain_db / 20)
    padded = np.pad(speech, said.margins)
    level = np.sqrt(np.mean(speech**2)) * 10 ** (-said.snr_db / 20)
    return padded + level * coloured(len(padded), said.noise, RandomState(said.seed))


def speech(amount: Amount, folder: Path) -> dict[str, list[tuple[Utterance, Samples]]]:
    """Return every utterance with its samples, by split; clean speech is kept in `folder` and spoken once.

    **Errors**: InputError where espeak-ng is absent.
    """
    plans, version = plan(amount), espeak_version()
    flat = [said for split in SPLITS for said in plans[split]]
    key = hashlib.sha256(json.dumps([version, [astuple(said)[:5] for said in flat]]).encode()).hexdigest()[:16]
    path = folder / f"speech_{key}.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        kept = {f"{i:05}": np.rint(spoken(said) * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16) for i, said in enumerate(flat)}
        with whole(path) as partial:
            save_file(kept, partial)
    clean = load_file(path)
    numbered = iter(range(len(flat)))
    return {split: [(said, heard(clean[f"{next(numbered):05}"] / 2**15, said)) for said in plans[split]] for split in SPLITS}
