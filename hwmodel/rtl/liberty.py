"""What the area and energy of a netlist need from a Liberty file: areas, pin loads, functions, internal energy, flip-flops.

Internal energies are tables over load and slew; they are nearly flat, so the nearest entry to a typical load is taken. Timing is
left to the synthesis tool. Latches, scan and asynchronous set or reset are not read: a cell that has them is not simulated.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..errors import InputError
from .neutral import liberty_text

TYPICAL_LOAD_PF, TYPICAL_SLEW_NS = 0.03, 0.18
TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[{}();:,]|[^\s{}();:,"]+')
PICOFARAD = {"pf": 1.0, "ff": 1e-3}


@dataclass(frozen=True)
class Group:
    """A Liberty group or attribute: `name(arguments) { items }` or `name : value;`."""

    name: str
    arguments: tuple[str, ...]
    items: tuple["Group", ...] = ()

    def attributes(self) -> dict[str, str]:
        """Return the simple attributes by name."""
        return {item.name: item.arguments[0] for item in self.items if item.arguments and not item.items}

    def all(self, *names: str) -> list["Group"]:
        """Return the inner groups of these names."""
        return [item for item in self.items if item.name in names]


@dataclass(frozen=True)
class Cell:
    """One cell. **Units**: area as in its library, loads in pF, energy of a rise and a fall at a pin in pJ, leakage in nW."""

    name: str
    area: float
    leakage_nw: float
    input_pf: Mapping[str, float]
    functions: Mapping[str, str]
    energy_pj: Mapping[str, tuple[float, float]]
    next_state: str | None = None
    state: str = ""
    clock: str = ""


@dataclass(frozen=True, eq=False)
class Library:
    """A cell library; `sha256` names its text in results. `nand2_area` is what areas are counted in."""

    name: str
    text: str
    volts: float
    cells: Mapping[str, Cell]
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha256", hashlib.sha256(self.text.encode()).hexdigest())

    @property
    def nand2_area(self) -> float:
        """Area of the smallest NAND of two inputs; the cell is found by its function, whatever its name."""
        nands = [cell.area for cell in self.cells.values() if _is_nand2(cell)]
        if not nands:
            raise InputError(f"library {self.name} has no NAND of two inputs to count areas in")
        return min(nands)


@cache
def neutral_library() -> Library:
    """Return the project's own library."""
    return read_library(liberty_text(), "neutral")


def load_library(path: Path | None = None) -> Library:
    """Return the library of a Liberty file, or the neutral one. **Errors**: InputError names the file and what it lacks."""
    if path is None:
        return neutral_library()
    if not path.is_file():
        raise InputError(f"no Liberty file at {path}")
    return read_library(path.read_text(encoding="utf-8", errors="replace"), str(path))


def read_library(text: str, name: str) -> Library:
    """Return the library in a Liberty text."""
    libraries = [group for group in _parse(text) if group.name == "library"]
    if not libraries:
        raise InputError(f"{name} is not a Liberty file: it has no library group")
    library = libraries[0]
    simple = library.attributes()
    unit = next((item.arguments for item in library.items if item.name == "capacitive_load_unit"), ("1", "pf"))
    if unit[1].lower() not in PICOFARAD:
        raise InputError(f"{name}: capacitive_load_unit is {unit[1]!r}; it must be pf or ff")
    farad = float(unit[0]) * PICOFARAD[unit[1].lower()]
    templates = {
        group.arguments[0]: [item.arguments[0] for item in group.items if item.name.startswith("variable_")]
        for group in library.all("lu_table_template", "power_lut_template")
    }
    cells = [_cell(group, templates, farad) for group in library.all("cell")]
    if not cells:
        raise InputError(f"{name}: the library has no cells")
    return Library(name, text, float(simple.get("nom_voltage", "1")), {cell.name: cell for cell in cells})


def _is_nand2(cell: Cell) -> bool:
    functions = {re.sub(r"[\s*&]+", " ", text).replace("(", "").replace(")", "").strip() for text in cell.functions.values()}
    pins = sorted(cell.input_pf)
    return len(pins) == 2 and bool(functions & {f"!{pins[0]} {pins[1]}", f"!{pins[1]} {pins[0]}"}) and "+" not in str(functions)


def _cell(group: Group, templates: Mapping[str, Sequence[str]], farad: float) -> Cell:
    simple = group.attributes()
    input_pf, functions, energy, clock = {}, {}, {}, ""
    for pin in group.all("pin"):
        name, about = pin.arguments[0], pin.attributes()
        tables = [table for power in pin.all("internal_power") for table in power.items]
        rises, falls = (
            [_entry(table, templates, farad) for table in tables if table.name in (edge, "power") and table.items]
            for edge in ("rise_power", "fall_power")
        )
        if rises or falls:
            energy[name] = (sum(rises) / max(1, len(rises)) * farad, sum(falls) / max(1, len(falls)) * farad)
        if about.get("direction") == "input":
            input_pf[name] = float(about.get("capacitance", "0")) * farad
            clock = name if about.get("clock") == "true" else clock
        elif about.get("direction") == "output" and "function" in about:
            functions[name] = about["function"]
    registers = group.all("ff")
    state = registers[0] if registers and not {"clear", "preset"} & set(registers[0].attributes()) else None
    return Cell(
        group.arguments[0], float(simple.get("area", "0")), float(simple.get("cell_leakage_power", "0")), input_pf, functions, energy,
        next_state=state.attributes()["next_state"] if state else None,
        state=state.arguments[0] if state else "",
        clock=clock or (state.attributes().get("clocked_on", "") if state else ""),
    )  # fmt: skip


def _entry(table: Group, templates: Mapping[str, Sequence[str]], farad: float) -> float:
    """Return the entry nearest to a typical load and slew."""
    axes = {int(item.name[-1]): _numbers(item.arguments[0]) for item in table.items if item.name.startswith("index_")}
    rows = [_numbers(row) for item in table.items if item.name == "values" for row in item.arguments]
    variables = templates.get(table.arguments[0] if table.arguments else "", ())
    nearest = []
    for axis in sorted(axes):
        is_load = axis <= len(variables) and "capacitance" in variables[axis - 1]
        wanted = TYPICAL_LOAD_PF / farad if is_load else TYPICAL_SLEW_NS
        nearest.append(min(range(len(axes[axis])), key=lambda i, at=axes[axis], near=wanted: abs(at[i] - near)))  # type: ignore[misc]
    if not rows:
        return 0.0
    flat = [value for row in rows for value in row]
    if len(nearest) == 2 and len(flat) == len(axes[1]) * len(axes[2]):
        return flat[nearest[0] * len(axes[2]) + nearest[1]]
    return flat[nearest[0]] if len(nearest) == 1 and len(flat) == len(axes[1]) else flat[0]


def _numbers(text: str) -> list[float]:
    return [float(part) for part in re.split(r"[,\s]+", text.strip()) if part]


def _parse(text: str) -> list[Group]:
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    tokens = TOKENS.findall(re.sub(r"//[^\n]*", " ", text).replace("\\\n", " "))
    groups, _ = _items(tokens, 0)
    return list(groups)


def _items(tokens: Sequence[str], at: int) -> tuple[tuple[Group, ...], int]:
    """Return the items from a token on up to the brace that closes them, and where reading goes on."""
    found: list[Group] = []
    while at < len(tokens) and tokens[at] != "}":
        name, following = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ";"
        if following == ":":
            found.append(Group(name, (tokens[at + 2].strip('"'),)))
            at += 3
        elif following == "(":
            close = tokens.index(")", at)
            arguments = tuple(token.strip('"') for token in tokens[at + 2 : close] if token != ",")
            inner: tuple[Group, ...] = ()
            at = close + 1
            if at < len(tokens) and tokens[at] == "{":
                inner, at = _items(tokens, at + 1)
            found.append(Group(name, arguments, inner))
        else:
            at += 1
    return tuple(found), at + 1
