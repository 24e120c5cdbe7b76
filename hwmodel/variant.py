"""Machines that differ from a profile in some numbers: the hardware axes of a co-design sweep.

Area follows: the array's from its sides and the area of a unit, the buffers' with their capacity (more banks of the same kind, so
the energy of an access stays as the profile has it). A profile without areas has variants without areas.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import yaml

from .errors import InputError, nearest
from .memory import Memory
from .profile import FAMILIES, Profile, Quantity, has_memory, keys

BUFFERS = ("weight_buffer_kib", "input_buffer_kib", "output_buffer_kib")


def with_numbers(profile: Profile, numbers: Mapping[str, float]) -> Profile:
    """Return the profile with other numbers, named as in the file: `rows`, `weight_buffer_kib`, or `memory.weight_buffer_kib`.

    The variant's name tells what differs: `loom lanes=8`. Numbers equal to the profile's own change nothing but the name.

    **Errors**: InputError for an unknown number, a value outside its range, or a memory number of a machine without memory.
    """
    if not numbers:
        return profile
    own, memory = dict(profile.numbers), dict(profile.memory)
    for key, value in numbers.items():
        section, name, unit = _checked(profile, key, value)
        source = f"variant of {profile.name}" + (f": {section[name].value:g} there" if name in section else "")
        (memory if section is profile.memory else own)[name] = Quantity(value=value, unit=unit, source=source, confidence="assumption")
    capacity = [sum(section[name].value for name in BUFFERS if name in section) for section in (profile.memory, memory)]
    stated = profile.memory.get("buffer_mm2")
    if stated and capacity[0] != capacity[1] and memory["buffer_mm2"] is stated:
        note = f"derived: with the capacity, {capacity[1]:g} of {capacity[0]:g} KiB; {stated.source}"
        change = {"value": stated.value * capacity[1] / capacity[0], "source": note, "confidence": "derived", "low": None, "high": None}
        memory["buffer_mm2"] = stated.model_copy(update=change)
    return profile.model_copy(update={"name": variant_name(profile.name, numbers), "numbers": own, "memory": memory, "claims": []})


def variant_name(name: str, numbers: Mapping[str, float]) -> str:
    """Return the name of a variant: `loom lanes=8 weight_buffer_kib=32`."""
    return " ".join([name, *(f"{key.rpartition('.')[2]}={value:g}" for key, value in numbers.items())])


def _checked(profile: Profile, key: str, value: float) -> tuple[Mapping[str, Quantity], str, str]:
    """Return the section, the name and the unit of a number."""
    family = FAMILIES[profile.family]
    own: dict[str, Mapping[str, Any]] = {spec.name: spec.metadata for spec in fields(family) if "unit" in spec.metadata}
    stores = {spec.name: spec.metadata for spec in fields(Memory) if "unit" in spec.metadata} if has_memory(family) else {}
    prefix, _, name = key.rpartition(".")
    if prefix in ("", "numbers") and name in own:
        section, spec = profile.numbers, own[name]
    elif prefix in ("", "memory") and name in stores:
        section, spec = profile.memory, stores[name]
    else:
        known = [*own, *stores]
        raise InputError(f"{profile.name} has no number {key!r}{nearest(name, known)}; known are {', '.join(known)}")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not spec["low"] <= value <= spec["high"]:
        raise InputError(f"{profile.name}: {key} is {value!r}; the range is {spec['low']:g} to {spec['high']:g} {spec['unit']}")
    return section, name, spec["unit"]


def profile_yaml(profile: Profile) -> str:
    """Return a profile as the text of a file that `load_accelerator` reads back, what it included filled in."""
    content = profile.model_dump(exclude_none=True, exclude_defaults=True, by_alias=True)
    return yaml.safe_dump({key: content[key] for key in keys(Profile) if key in content}, sort_keys=False, width=140, allow_unicode=True)
