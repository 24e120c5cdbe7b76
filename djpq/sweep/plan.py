"""A plan: networks x accelerators x methods x budgets x seeds x axes, read from YAML and checked as a whole before anything runs."""

import importlib
import inspect
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from hwmodel import zoo
from hwmodel.efficiency import area_mm2
from hwmodel.errors import InputError, nearest
from hwmodel.profile import machine_of, read_profile
from hwmodel.variant import variant_name, with_numbers

from ..budget import Budget
from ..ladder import ladder
from ..settings import Settings
from ..train import Result, compress
from .entry import Entry, Pretraining, check_path, validated, value_at, with_values
from .points import Axis, Generator, Grid, Ladder, Listed, Optuna, Strict, points

__all__ = ["Entry", "Machine", "Method", "Plan", "Pretraining", "load_method", "read_plan", "validated"]
Method = Callable[..., Result]


class Machine(Strict):
    """A profile with numbers of its own: `{profile: loom, numbers: {lanes: [8, 16], weight_buffer_kib: 32}}`, a list is an axis."""

    profile: str
    numbers: dict[str, float | list[float]] = Field(default={})

    def variants(self) -> Iterator[dict[str, float]]:
        """Yield the numbers of every variant."""
        choices = [each if isinstance(each, list) else [each] for each in self.numbers.values()]
        for values in itertools.product(*choices):
            yield dict(zip(self.numbers, values, strict=True))


class Override(Strict):
    """What is different for some runs: `{when: {network: vgg7}, set: {settings.epochs: 30}}`, keys by their paths."""

    when: dict[str, Any]
    set: dict[str, Any]


@dataclass
class Choice:
    """The runs of a plan, and the machines that were left out because they are larger than its `area_mm2`, with their areas."""

    entries: list[Entry] = field(default_factory=list)
    too_large: dict[str, float] = field(default_factory=dict)


class Plan(Strict):
    """The product of its lists, then of its axes; every key but networks, data and budgets has a default."""

    networks: list[str] = Field(min_length=1)
    data: str
    data_root: str | None = None
    width: float = Field(default=1.0, gt=0)
    accelerators: list[str | Machine] = Field(default=["bitfusion"], min_length=1)
    area_mm2: float | None = Field(default=None, gt=0, description="machines larger than this are left out")
    methods: list[str] = Field(default=["djpq"], min_length=1)
    budgets: list[dict[str, float | str]] = Field(min_length=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    settings: Settings = Settings()
    pretraining: Pretraining = Pretraining()
    axes: dict[str, Axis] = Field(default={})
    overrides: list[Override] = Field(default=[])
    generator: Generator = Grid()

    def entries(self) -> list[Entry]:
        """Return every run of the plan, checked: networks, machines, methods and budgets exist."""
        return self.choice().entries

    def choice(self) -> Choice:
        """Return every run of the plan, and the machines that were too large. **Errors**: InputError for what does not exist."""
        self._check_axes()
        return self.of_points(points(self.generator, self.axes))

    def of_points(self, chosen: Iterator[dict[str, Any]]) -> Choice:
        """Return the runs of some points of the axes."""
        found, checker = Choice(), _Checker(self.area_mm2)
        for point, base in itertools.product(list(chosen), list(self._bases())):
            content = with_values(base, point)
            for override in self.overrides:
                if all(value_at(content, path) == value for path, value in override.when.items()):
                    content = with_values(content, override.set)
            plain = content["settings"] is self.settings and content["pretraining"] is self.pretraining
            entry = Entry(**content) if plain and not point else validated(Entry, content, "plan")
            area = checker.area(entry)
            if self.area_mm2 is not None and area > self.area_mm2:
                found.too_large[variant_name(entry.accelerator, entry.numbers)] = area
            else:
                checker.check(entry)
                found.entries.append(entry)
        return found

    def _bases(self) -> Iterator[dict[str, Any]]:
        """Yield the product of the lists as contents of entries."""
        shared = {
            "width": self.width,
            "data": self.data,
            "data_root": self.data_root,
            "settings": self.settings,
            "pretraining": self.pretraining,
        }
        machines = [
            (machine, numbers)
            for each in self.accelerators
            for machine, variants in [(each, [{}]) if isinstance(each, str) else (each.profile, list(each.variants()))]
            for numbers in variants
        ]
        rungs = isinstance(self.generator, Ladder)
        budgets = self.generator.budgets(self.budgets) if isinstance(self.generator, Ladder) else self.budgets
        for seed, network, (machine, numbers), place, method in itertools.product(
            self.seeds, self.networks, machines, range(len(budgets)), self.methods
        ):
            yield shared | {
                "seed": seed, "network": network, "accelerator": machine, "numbers": numbers, "budget": budgets[place], "method": method,
                "ladder": tuple(budgets) if rungs else (),
            }  # fmt: skip

    def _check_axes(self) -> None:
        paths = [*self.axes, *(path for override in self.overrides for path in (*override.when, *override.set))]
        if isinstance(self.generator, Listed):
            paths += [path for run in self.generator.runs for path in run]
        for path in paths:
            check_path(path, "plan")
        for path, values in self.axes.items():
            if isinstance(values, list) and not values:
                raise InputError(f"plan: axes: {path} is an empty list; give at least one value")
        if isinstance(self.generator, Ladder):
            for name in self.methods:
                load_ladder(name)
        if isinstance(self.generator, Optuna) and not self.axes:
            raise InputError("plan: generator optuna needs axes: it has nothing to choose")


class _Checker:
    """Looks at what entries name, each name once."""

    def __init__(self, limit: float | None) -> None:
        self.limit, self.seen, self.areas = limit, set[Any](), dict[Any, float]()

    def check(self, entry: Entry) -> None:
        """Raise InputError for a network, method or budget that does not exist."""
        for key, look in ((("network", entry.network), check_network), (("method", entry.method), load_method)):
            if key not in self.seen:
                look(key[1])
                self.seen.add(key)
        budget = tuple(entry.budget.items())
        if budget not in self.seen:
            Budget.from_mapping(entry.budget)
            self.seen.add(budget)

    def area(self, entry: Entry) -> float:
        """Return the area of an entry's machine, which must exist; NaN where it is unknown and nothing limits it."""
        key = entry.accelerator, tuple(entry.numbers.items())
        if key not in self.areas:
            parts = area_mm2(machine_of(with_numbers(read_profile(entry.accelerator), entry.numbers)))
            self.areas[key] = sum(parts.values())
            if self.limit is not None and math.isnan(self.areas[key]):
                missing = " and ".join(name for name, part in parts.items() if math.isnan(part))
                raise InputError(
                    f"plan: area_mm2: the profile {entry.accelerator} has no area of its {missing}; give unit_um2 and buffer_mm2 there"
                )
        return self.areas[key]


def check_network(name: str) -> None:
    """Raise InputError for a name that is neither in the zoo nor an import path."""
    if name not in zoo.ZOO and ":" not in name:
        raise InputError(f"unknown network {name!r}{nearest(name, zoo.ZOO)}; known are {', '.join(zoo.ZOO)}, or package.module:factory")


def read_plan(path: Path) -> Plan:
    """Return a plan from YAML. **Errors**: InputError with file, key, value and what is allowed."""
    if not path.is_file():
        raise InputError(f"no plan at {path}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise InputError(f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {getattr(error, 'problem', error)}") from error
    plan: Plan = validated(Plan, content, str(path))
    return plan


def load_method(name: str) -> Method:
    """Return a compress function: `djpq`, a module with `compress`, or `module:function`."""
    if name == "djpq":
        return compress
    module, _, function = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), function or "compress")
    except (ImportError, AttributeError) as error:
        raise InputError(f"unknown method {name!r} ({error}); give djpq, or the import path of a compress function") from error
    if not callable(found) or "budget" not in inspect.signature(found).parameters:
        raise InputError(f"method {name!r} is not a function with the signature of djpq.compress")
    method: Method = found
    return method


def load_ladder(name: str) -> Callable[..., list[Result]]:
    """Return what climbs down a ladder of budgets: `djpq.ladder` for djpq, else `ladder` beside the method. **Errors**: InputError."""
    if name == "djpq":
        return ladder
    load_method(name)
    found = getattr(importlib.import_module(name.partition(":")[0]), "ladder", None)
    if not callable(found) or "budgets" not in inspect.signature(found).parameters:
        raise InputError(f"generator ladder: method {name!r} has no function `ladder(model, data, machine, budgets, settings)` beside it")
    climb: Callable[..., list[Result]] = found
    return climb
