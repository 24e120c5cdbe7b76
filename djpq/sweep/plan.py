"""A plan: networks x accelerators x methods x budgets x seeds, read from YAML and checked as a whole before anything runs."""

import importlib
import inspect
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hwmodel import zoo
from hwmodel.errors import InputError, nearest
from hwmodel.profile import read_profile

from ..budget import Budget
from ..settings import Settings
from ..train import Result, compress

Method = Callable[..., Result]


class Pretraining(BaseModel):
    """How the float model is trained that every method starts from."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    epochs: int = Field(default=25, ge=1)
    batch_size: int = Field(default=100, ge=2)
    lr: float = Field(default=6e-3, gt=0)


class Entry(BaseModel):
    """One run."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    network: str
    width: float = Field(default=1.0, gt=0)
    data: str
    data_root: str | None = None
    accelerator: str
    numbers: dict[str, float] = {}
    method: str = "djpq"
    budget: dict[str, float | str]
    seed: int = 0
    settings: Settings = Settings()
    pretraining: Pretraining = Pretraining()
    ladder: tuple[dict[str, float | str], ...] = ()

    def rung_before(self) -> "Entry | None":
        """Return the run whose result this one starts from: the same at the last budget of its ladder; None without one."""
        return self.model_copy(update={"budget": self.ladder[-1], "ladder": self.ladder[:-1]}) if self.ladder else None


class Plan(BaseModel):
    """The product of its lists; every key but networks, data and budgets has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    networks: list[str] = Field(min_length=1)
    data: str
    data_root: str | None = None
    width: float = Field(default=1.0, gt=0)
    accelerators: list[str] = Field(default=["bitfusion"], min_length=1)
    methods: list[str] = Field(default=["djpq"], min_length=1)
    budgets: list[dict[str, float | str]] = Field(min_length=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    settings: Settings = Settings()
    pretraining: Pretraining = Pretraining()

    def entries(self) -> list[Entry]:
        """Return every run of the plan, checked: networks, machines, methods and budgets exist."""
        for name in self.networks:
            if name not in zoo.ZOO and ":" not in name:
                raise InputError(
                    f"unknown network {name!r}{nearest(name, zoo.ZOO)}; known are {', '.join(zoo.ZOO)}, or package.module:factory"
                )
        for name in self.accelerators:
            read_profile(name)
        for name in self.methods:
            load_method(name)
        for limits in self.budgets:
            Budget.from_mapping(limits)
        return [
            Entry(
                network=network, width=self.width, data=self.data, data_root=self.data_root, accelerator=machine, method=method,
                budget=limits, seed=seed, settings=self.settings, pretraining=self.pretraining,
            )
            for seed, network, machine, limits, method in itertools.product(
                self.seeds, self.networks, self.accelerators, self.budgets, self.methods
            )
        ]  # fmt: skip


def read_plan(path: Path) -> Plan:
    """Return a plan from YAML. **Errors**: InputError with file, key, value and what is allowed."""
    if not path.is_file():
        raise InputError(f"no plan at {path}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise InputError(f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {getattr(error, 'problem', error)}") from error
    return validated(Plan, content, str(path))


def validated(model: type[Any], content: Any, where: str) -> Any:
    """Return a pydantic model of the content; InputError with the first problem in one line."""
    if not isinstance(content, dict):
        raise InputError(f"{where}: expected a mapping with the keys {', '.join(model.model_fields)}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        owner = Settings if key.startswith("settings") else Pretraining if key.startswith("pretraining") else model
        if problem["type"] == "extra_forbidden":
            name = str(problem["loc"][-1])
            raise InputError(
                f"{where}: {key}: unknown key{nearest(name, owner.model_fields)}; known are {', '.join(owner.model_fields)}"
            ) from None
        if problem["type"] == "missing":
            raise InputError(f"{where}: {key} is missing") from None
        message = problem["msg"]
        raise InputError(f"{where}: {key} is {problem['input']!r}; {message[0].lower()}{message[1:]}") from None


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
