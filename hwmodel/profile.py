"""From a YAML profile to a machine: numbers only, each with value, unit, source and confidence.

A profile names its family and fills the family's numbers:

    name: loom
    family: bit_serial
    description: one line
    numbers: {clock_mhz: {value: 980, unit: MHz, source: "…", confidence: assumption}, …}
    memory:  {weight_buffer_kib: {…}, …}

The families declare unit and range of each number; this file only checks and fills. Every mistake is one line with file, line,
key, value and what is allowed.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .accelerator import SWITCH, Accelerator
from .bit_serial import BitSerial
from .composable import BitComposable
from .errors import InputError, nearest
from .memory import Memory

FAMILIES: dict[str, type] = {"bit_serial": BitSerial, "bit_composable": BitComposable}
PROFILES = Path(__file__).resolve().parent.parent / "accelerators"


class Quantity(BaseModel):
    """A number of a profile."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    value: float = Field(allow_inf_nan=False)
    unit: str = Field(min_length=1)
    source: str = Field(min_length=1)
    confidence: Literal["read in source", "secondary", "derived", "assumption"]
    node_nm: float | None = Field(default=None, gt=0)


class Profile(BaseModel):
    """A profile as written; `load_accelerator` turns it into a machine."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    name: str = Field(min_length=1)
    family: str
    description: str = Field(min_length=1)
    numbers: dict[str, Quantity]
    memory: dict[str, Quantity]


def available() -> dict[str, Path]:
    """Return the profiles that ship with the package, by name."""
    return {path.stem: path for path in sorted(PROFILES.glob("*.yaml"))}


def profile_path(name: str) -> Path:
    """Return the file of a profile given by name or path; InputError with the known names when there is none."""
    known = available()
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or "/" in name:
        if not path.is_file():
            raise InputError(f"no accelerator profile at {name}")
        return path
    raise InputError(f"unknown accelerator {name!r}{nearest(name, known)}; known are {', '.join(known)}, or give the path of a YAML file")


def read_profile(name: str) -> Profile:
    """Return a profile by name or path, checked against its family's numbers, units and ranges."""
    path = profile_path(name)
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}:1: not valid YAML: byte {error.start} is not UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        raise InputError(f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {problem}") from error
    if tree is None or not isinstance(content, dict):
        raise InputError(f"{path}:1: a profile is a mapping with the keys {', '.join(Profile.model_fields)}")
    _check_no_key_twice(path, tree)
    try:
        profile = Profile.model_validate(content)
    except ValidationError as error:
        raise InputError(_first_problem(path, tree, error)) from error
    if profile.family not in FAMILIES:
        raise InputError(
            f"{path}:{_line(tree, ('family',))}: family {profile.family!r} is unknown"
            f"{nearest(profile.family, FAMILIES)}; known are {', '.join(FAMILIES)}"
        )
    for section, given, family in (("numbers", profile.numbers, FAMILIES[profile.family]), ("memory", profile.memory, Memory)):
        _check_section(path, tree, section, given, family)
    return profile


def load_accelerator(name: str) -> Accelerator:
    """Return the machine of a profile: a name in `accelerators/` or the path of a YAML file.

    **Errors**: InputError names file, line, key, value and allowed range.
    """
    profile = read_profile(name)
    memory = Memory(**{key: quantity.value for key, quantity in profile.memory.items()})
    numbers = {key: quantity.value for key, quantity in profile.numbers.items()}
    machine: Accelerator = FAMILIES[profile.family](name=profile.name, memory=memory, **numbers)
    return machine


def _specifications(family: type) -> dict[str, Mapping[str, Any]]:
    return {spec.name: spec.metadata for spec in fields(family) if "unit" in spec.metadata}


def _optional(family: type) -> set[str]:
    return {spec.name for spec in fields(family) if spec.default is not MISSING}


def _check_no_key_twice(path: Path, node: yaml.Node) -> None:
    """YAML lets a later key win over an earlier one in silence; a profile must not."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise InputError(f"{path}:{line}: the key {key.value} stands twice, first in line {seen[key.value]}; keep one")
            seen[key.value] = line
            _check_no_key_twice(path, value)


def _check_section(path: Path, tree: yaml.Node, section: str, given: Mapping[str, Quantity], family: type) -> None:
    wanted = _specifications(family)
    for key, quantity in given.items():
        at = f"{path}:{_line(tree, (section, key))}: {section}.{key}"
        if key not in wanted:
            raise InputError(f"{at}: unknown key{nearest(key, wanted)}; known are {', '.join(wanted)}")
        spec = wanted[key]
        if quantity.unit != spec["unit"]:
            raise InputError(f"{at}: unit is {quantity.unit!r}; it must be {spec['unit']!r}")
        if not spec["low"] <= quantity.value <= spec["high"]:
            raise InputError(
                f"{at}: value is {quantity.value:g} {quantity.unit}; the range is {spec['low']:g} to {spec['high']:g} {quantity.unit}"
            )
        if quantity.unit == SWITCH and quantity.value not in (0, 1):
            raise InputError(f"{at}: value is {quantity.value:g}; it must be 0 or 1")
    missing = [key for key in wanted if key not in given and key not in _optional(family)]
    if missing:
        unit = wanted[missing[0]]["unit"]
        raise InputError(f"{path}:{_line(tree, (section,))}: {section}.{missing[0]} is missing; give it in {unit}")


def _first_problem(path: Path, tree: yaml.Node, error: ValidationError) -> str:
    problems = error.errors()
    problem = next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])  # a misspelt key is also a missing one
    where = tuple(str(part) for part in problem["loc"])
    at = f"{path}:{_line(tree, where)}: {'.'.join(where)}"
    known = Profile.model_fields if len(where) == 1 else Quantity.model_fields
    if problem["type"] == "extra_forbidden":
        return f"{at}: unknown key{nearest(where[-1], known)}; known are {', '.join(known)}"
    if problem["type"] == "missing":
        return f"{at} is missing"
    return f"{at}: value is {problem['input']!r}; {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _line(tree: yaml.Node, where: tuple[str, ...]) -> int:
    """Return the line of the deepest key of a path that the file has."""
    line, node = 1, tree
    for part in where:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((key, value) for key, value in pairs if key.value == part), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line
