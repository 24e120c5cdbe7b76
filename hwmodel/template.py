"""The text of a new profile: a copy of one that exists, under a new name, with what may stand in it as comments."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

import yaml

from .errors import InputError
from .memory import Memory
from .profile import FAMILIES, profile_path, read_profile

HEADER = """\
# A machine in numbers. Every number has value, unit, source and confidence (read in source, secondary, derived or assumption);
# node_nm where it depends on the technology; low and high with a band_source where sources disagree.
# `include: NAME` instead of `family` takes over a profile: then give only what differs. `hwmodel check FILE` tells what is wrong.
"""


def template(name: str, like: str, folder: Path) -> str:
    """Return the YAML text of a profile that is like another, for a file in `folder`.

    **Errors**: InputError when the other profile is none, or includes a file that `folder` does not have.
    """
    profile, source = read_profile(like), profile_path(like)
    text = source.read_text(encoding="utf-8")
    included = re.search(r"(?m)^include:\s*[\"']?([^\s\"'#]+\.ya?ml)", text)
    if included and not (folder / included.group(1)).is_file():
        raise InputError(f"cannot copy {like}: it includes {included.group(1)}; give an --out in the folder {source.parent}")
    named = yaml.safe_dump({"name": name}).strip()
    text, count = re.subn(r"(?m)^name:.*$", lambda _: named, text, count=1)
    if not count:
        raise InputError(f"cannot copy {like}: it has no line that begins with 'name:'")
    text = re.sub(r"(?ms)^validate:.*?(?=^\S|\Z)", "", text)  # another machine meets other rows
    family = FAMILIES[profile.family]
    summary = (family.__doc__ or "").splitlines()[0]
    lines = [f"# Family {profile.family}: {summary}", "# numbers:", *_known(family)]
    if any(spec.name == "memory" for spec in fields(family)):
        lines += ["# memory:", *_known(Memory)]
    return HEADER + "\n".join(lines) + "\n" + text.removeprefix(HEADER)


def _known(family: type) -> list[str]:
    specs = [spec for spec in fields(family) if "unit" in spec.metadata]
    return [
        f"#   {spec.name}: {spec.metadata['unit']}, {spec.metadata['low']:g} to {spec.metadata['high']:g}"
        + ("" if spec.default is MISSING else f"; {spec.default:g} when left out")
        for spec in specs
    ]
