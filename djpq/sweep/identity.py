"""What a run is: its entry, the machine's profile as it was when the sweep began, the code, the data. All of it is in its name."""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwmodel.profile import Profile, profile_path, read_profile
from hwmodel.variant import profile_yaml, with_numbers

from ..datasets import Data, load_data
from .plan import Entry

CODE = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Task:
    """One run to carry out. The profile is the one that was read when the sweep began: an edit meanwhile changes nothing."""

    name: str
    entry: Entry
    profile: Profile
    profile_text: str
    rungs: "tuple[Task, ...]" = ()  # of a ladder, this one among them


def digest(content: Any) -> str:
    """Return a short hash of JSON content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@functools.lru_cache(maxsize=2)
def _loaded(name: str, root: str | None) -> Data:
    return load_data(name, Path(root) if root else None)


def data_of(entry: Entry) -> Data:
    """Return the data of an entry, read once a process."""
    return _loaded(entry.data, entry.data_root)


@functools.cache
def code_version() -> str:
    """Return a hash of this package's sources: another code is another run."""
    total = hashlib.sha256()
    for package in ("hwmodel", "djpq", "benchmarks"):
        for path in sorted((CODE / package).rglob("*.py")):
            total.update(path.read_bytes())
    return total.hexdigest()[:12]


def profile_of(entry: Entry) -> tuple[Profile, str]:
    """Return the profile of an entry's machine and its text: the file's own, or written out where it includes or varies another."""
    profile = with_numbers(read_profile(entry.accelerator), entry.numbers)
    return profile, profile_yaml(profile) if entry.numbers else text_of(entry.accelerator)


def text_of(accelerator: str) -> str:
    """Return a profile's text: its file's own, or written out where it includes another."""
    text = profile_path(accelerator).read_text(encoding="utf-8")
    return profile_yaml(read_profile(accelerator)) if "include:" in text else text


def task_maker() -> Callable[[Entry], Task]:
    """Return a function from entries to tasks that reads every profile and all data once."""
    seen: dict[Any, tuple[Profile, str, str]] = {}

    def make(entry: Entry) -> Task:
        machine = entry.accelerator, tuple(entry.numbers.items())
        if machine not in seen:
            profile, text = profile_of(entry)
            seen[machine] = profile, text, digest(profile.model_dump(mode="json"))
        profile, text, profile_digest = seen[machine]

        def name(of: Entry) -> str:
            return _name(of, profile_digest, data_of(of).fingerprint)

        rungs = tuple(Task(name(rung), rung, profile, text) for rung in entry.rungs())
        return Task(name(entry), entry, profile, text, rungs)

    return make


def task_of(entry: Entry) -> Task:
    """Return the task of one entry."""
    return task_maker()(entry)


def run_name(entry: Entry) -> str:
    """Return the folder's name of an entry."""
    return task_of(entry).name


def _name(entry: Entry, profile_digest: str, fingerprint: str) -> str:
    """Readable, and unique for entry, profile, code, data and seed."""
    limit = "-".join(f"{name}{str(value).replace('%', 'pct')}" for name, value in entry.budget.items())
    machine = Path(entry.accelerator).stem
    key = digest([entry.model_dump(mode="json"), profile_digest, fingerprint, code_version()])
    return f"{entry.network.replace(':', '.')}_{machine}_{entry.method.rsplit('.', 1)[-1]}_{limit}_s{entry.seed}_{key}"
