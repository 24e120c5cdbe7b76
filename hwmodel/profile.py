"""From a YAML profile to a machine: numbers only, each with value, unit, source and confidence.

A profile names its family and fills the family's numbers:

    name: loom
    family: bit_serial
    description: one line
    numbers: {clock_mhz: {value: 980, unit: MHz, source: "…", confidence: assumption}, …}
    memory:  {weight_buffer_kib: {…}, …}
    validate: [{study: peaks, metrics: [area], within_percent: 1}]      # published rows that it must meet

or it says `include: loom` instead of `family` and gives only what differs. A number may carry `low` and `high` with a
`band_source`, where sources disagree. A number whose source is `rtl` has no value in the file: it is worked out from the netlist of
the machine's unit (`hwmodel.gates`), again whenever lanes or widths change. The families declare unit and range of each number; this file only checks and fills. Every
mistake is one line with file, line, key, value and what is allowed; half of this file is those checks.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .accelerator import SWITCH, Accelerator
from .bit_parallel import BitParallel
from .bit_serial import BitSerial
from .composable import BitComposable
from .device import Device
from .errors import InputError, nearest
from .gates import SOURCE, number_from_gates, shipped_constants
from .measured import Measured
from .memory import Memory
from .numeric import Number
from .profile_file import ProfileFile
from .row_stationary import RowStationary
from .subword import SubWord
from .technology import area_scale, energy_scale

FAMILIES: dict[str, type] = {
    "bit_parallel": BitParallel,
    "row_stationary": RowStationary,
    "subword": SubWord,
    "bit_serial": BitSerial,
    "bit_composable": BitComposable,
    "measured": Measured,
    "device": Device,
}
PROFILES = Path(__file__).resolve().parent.parent / "accelerators"
SCALES = {"pJ": energy_scale, "pJ/bit": energy_scale, "pJ/cycle": energy_scale, "um2": area_scale, "mm2": area_scale}
NEVER_SCALED = "dram_"  # another technology


class Quantity(BaseModel):
    """A number of a profile."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    value: float = Field(allow_inf_nan=False)
    unit: str = Field(min_length=1)
    source: str = Field(min_length=1)
    confidence: Literal["read in source", "secondary", "derived", "assumption"]
    node_nm: float | None = Field(default=None, gt=0)
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)
    band_source: str | None = Field(default=None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _value_from_gates(cls, given: Any) -> Any:
        """Let a number from gates come without its value, which `_read` fills in."""
        return {"value": 0.0, **given} if isinstance(given, dict) and given.get("source") == SOURCE else given

    @property
    def band(self) -> tuple[float, float, float]:
        """Low, nominal and high; the nominal value where nothing else is known."""
        return (self.value if self.low is None else self.low, self.value, self.value if self.high is None else self.high)


class Claim(BaseModel):
    """Published rows that a profile must meet: those of a study for its machine, of some metrics or of all."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    study: str = Field(min_length=1)
    metrics: list[str] = []
    within_percent: float = Field(ge=0)


class Profile(BaseModel):
    """A profile, what it includes filled in; `load_accelerator` turns it into a machine. A variant makes no claims of its base."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    name: str = Field(min_length=1)
    family: str
    description: str = Field(min_length=1)
    numbers: dict[str, Quantity]
    memory: dict[str, Quantity] = {}
    claims: list[Claim] = Field(default=[], alias="validate")


class Variant(BaseModel):
    """A profile that gives what differs from the one it includes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    include: str = Field(min_length=1)
    name: str = Field(min_length=1)
    description: str = Field(min_length=1)
    numbers: dict[str, Quantity] = {}
    memory: dict[str, Quantity] = {}
    claims: list[Claim] = Field(default=[], alias="validate")


def keys(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys of a model as they stand in a file."""
    return tuple(spec.alias or name for name, spec in model.model_fields.items())


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
    return _read(profile_path(name), ())


def load_accelerator(name: str, *, band: bool = False, node_nm: float | None = None) -> Accelerator:
    """Return the machine of a profile: a name in `accelerators/` or the path of a YAML file.

    With `band` every number that has a low and a high becomes a column [low, nominal, high], so costs get a leading axis of 3.
    With `node_nm` energies and areas whose own node is known are scaled to that node, never those of DRAM.

    **Errors**: InputError names file, line, key, value and allowed range.
    """
    return machine_of(read_profile(name), band=band, node_nm=node_nm)


def machine_of(profile: Profile, *, band: bool = False, node_nm: float | None = None) -> Accelerator:
    """Return the machine of a profile that was read or varied; `band` and `node_nm` as for `load_accelerator`."""

    def numbers(section: Mapping[str, Quantity]) -> dict[str, Number]:
        return {key: _number(key, quantity, band, node_nm) for key, quantity in section.items()}

    family = FAMILIES[profile.family]
    memory = {"memory": Memory(**numbers(profile.memory))} if has_memory(family) else {}
    machine: Accelerator = family(name=profile.name, **memory, **numbers(profile.numbers))
    return machine


def _number(key: str, quantity: Quantity, band: bool, node_nm: float | None) -> Number:
    scale = 1.0
    if node_nm is not None and quantity.node_nm is not None and quantity.unit in SCALES and not key.startswith(NEVER_SCALED):
        scale = SCALES[quantity.unit](quantity.node_nm, node_nm)
    if band and len(set(quantity.band)) > 1:
        return torch.tensor(quantity.band, dtype=torch.float64)[:, None] * scale
    return quantity.value * scale


def _read(path: Path, including: tuple[Path, ...]) -> Profile:
    file = ProfileFile.read(path, keys(Profile))
    model: type[Profile] | type[Variant] = Variant if "include" in file.content else Profile
    try:
        given = model.model_validate(file.content)
    except ValidationError as error:
        raise file.problem(error, keys(model), (*keys(Quantity), *keys(Claim))) from error
    profile = given if isinstance(given, Profile) else _fill(file, given, (*including, path.resolve()))
    if profile.family not in FAMILIES:
        raise InputError(
            f"{file.at('family')}: family {profile.family!r} is unknown{nearest(profile.family, FAMILIES)}; known are {', '.join(FAMILIES)}"
        )
    family = FAMILIES[profile.family]
    profile = _fill_from_gates(file, profile)
    _check_section(file, "numbers", profile.numbers, family)
    if has_memory(family):
        _check_section(file, "memory", profile.memory, Memory)
    elif profile.memory:
        raise InputError(f"{file.at('memory')}: memory: a {profile.family} machine has none; delete the section")
    return profile


def _fill_from_gates(file: ProfileFile, profile: Profile) -> Profile:
    """Return the profile with the numbers that come from gates."""
    wanted = [key for key, quantity in profile.numbers.items() if quantity.source == SOURCE]
    if not wanted:
        return profile
    numbers = {spec.name: spec.default for spec in fields(FAMILIES[profile.family]) if spec.default is not MISSING}
    numbers |= {key: quantity.value for key, quantity in profile.numbers.items()}
    filled = dict(profile.numbers)
    for key in wanted:
        at, given = f"{file.at('numbers', key)}: numbers.{key}", filled[key].value
        try:
            value = number_from_gates(profile.family, key, numbers, shipped_constants())
        except (InputError, KeyError) as error:
            missing = isinstance(error, KeyError)
            raise InputError(f"{at}: {f'needs numbers.{error.args[0]}, which is missing' if missing else error}") from error
        if given and "include" not in file.content and not math.isclose(given, value, rel_tol=1e-6):
            raise InputError(f"{at}: value is {given:g}; gates give {value:g}; delete the value, it is worked out")
        filled[key] = filled[key].model_copy(update={"value": value})
    return profile.model_copy(update={"numbers": filled})


def _fill(file: ProfileFile, variant: Variant, including: tuple[Path, ...]) -> Profile:
    beside = file.path.parent / variant.include
    is_path = Path(variant.include).suffix in (".yaml", ".yml")
    try:
        path = profile_path(str(beside) if is_path else variant.include)
    except InputError as error:
        raise InputError(f"{file.at('include')}: include: {error}") from error
    if path.resolve() in including:
        chain = " includes ".join(each.name for each in (*including, path))
        raise InputError(f"{file.at('include')}: include: profiles include each other: {chain}; delete one include")
    base = _read(path, including)
    return Profile(
        name=variant.name,
        family=base.family,
        description=variant.description,
        numbers={**base.numbers, **variant.numbers},
        memory={**base.memory, **variant.memory},
        validate=variant.claims,
    )


def has_memory(family: type) -> bool:
    return any(spec.name == "memory" for spec in fields(family))


def _check_section(file: ProfileFile, section: str, given: Mapping[str, Quantity], family: type) -> None:
    wanted: dict[str, Mapping[str, Any]] = {spec.name: spec.metadata for spec in fields(family) if "unit" in spec.metadata}
    for key, quantity in given.items():
        at = f"{file.at(section, key)}: {section}.{key}"
        if key not in wanted:
            raise InputError(f"{at}: unknown key{nearest(key, wanted)}; known are {', '.join(wanted)}")
        spec = wanted[key]
        if quantity.unit != spec["unit"]:
            raise InputError(f"{at}: unit is {quantity.unit!r}; it must be {spec['unit']!r}")
        for name, value in (("value", quantity.value), ("low", quantity.band[0]), ("high", quantity.band[2])):
            if not spec["low"] <= value <= spec["high"]:
                raise InputError(
                    f"{at}: {name} is {value:g} {quantity.unit}; the range is {spec['low']:g} to {spec['high']:g} {quantity.unit}"
                )
        if quantity.unit == SWITCH and quantity.value not in (0, 1):
            raise InputError(f"{at}: value is {quantity.value:g}; it must be 0 or 1")
        low, value, high = quantity.band
        if not low <= value <= high:
            raise InputError(f"{at}: the band is {low:g} to {high:g} {quantity.unit}; it must hold the value, {value:g}")
        if low != high and quantity.band_source is None:
            raise InputError(f"{at}: low and high need a band_source: say which source disagrees")
    optional = {spec.name for spec in fields(family) if spec.default is not MISSING}
    missing = [key for key in wanted if key not in given and key not in optional]
    if missing:
        unit = wanted[missing[0]]["unit"]
        raise InputError(f"{file.at(section)}: {section}.{missing[0]} is missing; give it in {unit}")
