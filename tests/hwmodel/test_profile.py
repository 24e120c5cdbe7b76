"""Profiles: each mistake a user can make is one line with file, line, key, value and what is allowed."""

import re
from pathlib import Path

import pytest
import torch

from hwmodel import InputError, available, load_accelerator
from hwmodel.bit_serial import BitSerial
from hwmodel.composable import BitComposable
from hwmodel.profile import profile_path, read_profile
from hwmodel.technology import area_scale, energy_scale

LOOM = available()["loom"].read_text(encoding="utf-8")


def line_of(text: str, word: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), 1) if word in line)


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def to_file(text: str | bytes) -> str:
        path = tmp_path / "mine.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return to_file


def test_a_profile_by_name_and_by_path(write) -> None:  # type: ignore[no-untyped-def]
    by_name, by_path = load_accelerator("loom"), load_accelerator(write(LOOM))
    assert isinstance(by_name, BitSerial)
    assert isinstance(by_path, BitSerial)
    assert (by_name.name, by_name.filters, by_name.memory.weight_buffer_kib) == ("loom", 128, 512)
    assert by_path.lanes == by_name.lanes
    assert isinstance(load_accelerator("bitfusion"), BitComposable)


def test_every_shipped_profile_is_found_by_its_file_name() -> None:
    assert all(profile_path(name) == path and path.stem == name for name, path in available().items())


def test_the_descriptions_are_one_line() -> None:
    assert all("\n" not in read_profile(name).description for name in available())


def check_mistake(path: str, line: int, message: str) -> None:
    with pytest.raises(InputError) as raised:
        load_accelerator(path)
    found = str(raised.value)
    assert found.startswith(f"{path}:{line}: "), found
    assert message in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("old", "new", "at", "message"),
    [
        ("  lanes:", "  lane:", "  lane:", "numbers.lane: unknown key; did you mean 'lanes'?; known are clock_mhz, filters,"),
        ("family: bit_serial", "family: bitserial", "family:", "family 'bitserial' is unknown; did you mean 'bit_serial'?; known are bit_"),
        ("family: bit_serial\n", "", "name: loom", "family is missing"),
        ("name: loom", "name: 7", "name:", "name: value is 7; input should be a valid string"),
        ("name: loom", 'name: ""', "name:", "name: value is ''; string should have at least 1 character"),
        ("memory:", "memories:", "memories:", "memories: unknown key; did you mean 'memory'?; known are name, family,"),
        (
            "confidence: read in source",
            "confidence: sure",
            "sure",
            "confidence: value is 'sure'; input should be 'read in source', 'second",
        ),
        ('"Loom LM1b"', '""', 'source: ""', "numbers.weight_step_bits.source: value is ''; string should have at least 1 character"),
        ("node_nm: 28", "node_nm: -28", "-28", "node_nm: value is -28; input should be greater than 0"),
        (
            "value: 512, unit: KiB",
            "value: 1e9, unit: KiB",
            "1e9",
            "memory.weight_buffer_kib.value: value is '1e9'; input should be a valid",
        ),
        (
            "value: 2, unit: copies",
            "value: 0, unit: copies",
            "0, unit: copies",
            "memory.buffer_copies: value is 0 copies; the range is 1 to 2",
        ),
    ],
)
def test_mistakes_in_a_profile(old: str, new: str, at: str, message: str, write) -> None:  # type: ignore[no-untyped-def]
    assert old in LOOM
    text = LOOM.replace(old, new, 1)
    check_mistake(write(text), line_of(text, at), message)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("value: 980", ".unit is missing"),
        ("unit: MHz", ".value is missing"),
        (
            "vale: 980, unit: MHz",
            ".vale: unknown key; did you mean 'value'?; known are value, unit, source, confidence, node_nm, low, high, band_source",
        ),
        (
            "value: 980, unit: MHz, note: hi",
            ".note: unknown key; known are value, unit, source, confidence, node_nm, low, high, band_source",
        ),
        ("value: 980, unit: GHz", ": unit is 'GHz'; it must be 'MHz'"),
        ("value: 0, unit: MHz", ": value is 0 MHz; the range is 0.001 to 100000 MHz"),
        ("value: 1.0e+9, unit: MHz", ": value is 1e+09 MHz; the range is 0.001 to 100000 MHz"),
        ("value: .nan, unit: MHz", ".value: value is nan; input should be a finite number"),
        ("value: -.inf, unit: MHz", ".value: value is -inf; input should be a finite number"),
        ("value: fast, unit: MHz", ".value: value is 'fast'; input should be a valid number"),
        ("value: true, unit: MHz", ".value: value is True; input should be a valid number"),
        ("value: [980], unit: MHz", ".value: value is [980]; input should be a valid number"),
    ],
)
def test_mistakes_in_a_number(given: str, message: str, write) -> None:  # type: ignore[no-untyped-def]
    text = LOOM.replace("value: 980, unit: MHz", given, 1)
    check_mistake(write(text), line_of(text, "clock_mhz"), f"numbers.clock_mhz{message}")


@pytest.mark.parametrize("number", ["value: 980, unit: MHz, confidence: assumption", "value: 980, unit: MHz, source: paper"])
def test_a_number_without_source_or_confidence(number: str, write) -> None:  # type: ignore[no-untyped-def]
    text = re.sub(r"(?m)^  clock_mhz: .*\n    .*\n", f"  clock_mhz: {{{number}}}\n", LOOM)
    missing = "source" if "confidence" in number else "confidence"
    check_mistake(write(text), line_of(text, "clock_mhz"), f"numbers.clock_mhz.{missing} is missing")


@pytest.mark.parametrize(
    ("key", "section", "unit"),
    [
        ("lanes", "numbers", "lanes"),
        ("clock_mhz", "numbers", "MHz"),
        ("dram_pj_per_bit", "memory", "pJ/bit"),
        ("buffer_copies", "memory", "copies"),
    ],
)
def test_a_missing_number_is_named_with_its_unit(key: str, section: str, unit: str, write) -> None:  # type: ignore[no-untyped-def]
    text, count = re.subn(rf"(?m)^  {key}: .*\n(?:    .*\n)+", "", LOOM)
    assert count == 1
    path = write(text)
    with pytest.raises(InputError) as raised:
        load_accelerator(path)
    assert str(raised.value) == f"{path}:{line_of(text, f'{section}:')}: {section}.{key} is missing; give it in {unit}"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("name: [loom\nfamily: x\n", 2, "not valid YAML: "),
        ("name: loom\n\tfamily: x\n", 2, "not valid YAML: found character '\\t' that cannot start any token"),
        ("name: a: b\n", 1, "not valid YAML: mapping values are not allowed here"),
        ("name: *nothing\n", 1, "not valid YAML: found undefined alias"),
        ("name: !!python/object:os.system x\n", 1, "not valid YAML: could not determine a constructor for the tag"),
        ("name: lo\x00om\n", 1, "not valid YAML: special characters are not allowed"),
        (b"name: lo\xffom\n", 1, "not valid YAML: byte 8 is not UTF-8"),
        ("", 1, "a profile is a mapping with the keys name, family, description, numbers, memory"),
        ("- loom\n", 1, "a profile is a mapping with the keys"),
        ("loom", 1, "a profile is a mapping with the keys"),
        ("numbers: 3\n", 1, "name is missing"),
    ],
)
def test_what_is_no_profile(text: str | bytes, line: int, message: str, write) -> None:  # type: ignore[no-untyped-def]
    path = write(text)
    with pytest.raises(InputError) as raised:
        load_accelerator(path)
    assert str(raised.value).startswith(f"{path}:{line}: {message}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lom", "unknown accelerator 'lom'; did you mean 'loom'?; known are bismo, bitblade, bitfusion,"),
        ("", "unknown accelerator ''; known are"),
        ("nowhere/mine.yaml", "no accelerator profile at nowhere/mine.yaml"),
        ("mine.yml", "no accelerator profile at mine.yml"),
        ("/tmp", "no accelerator profile at /tmp"),
    ],
)
def test_what_is_not_found(name: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        load_accelerator(name)
    assert str(raised.value).startswith(message)


def test_a_key_that_stands_twice_is_refused(write) -> None:  # type: ignore[no-untyped-def]
    text = LOOM.replace("memory:\n", '  lanes: {value: 8, unit: lanes, confidence: assumption, source: "again"}\nmemory:\n')
    first = line_of(text, "  lanes:")
    last = max(i for i, line in enumerate(text.splitlines(), 1) if line.startswith("  lanes:"))
    check_mistake(write(text), last, f"the key lanes stands twice, first in line {first}; keep one")


def test_a_switch_is_0_or_1(write) -> None:  # type: ignore[no-untyped-def]
    text = LOOM.replace("partial_sums_always_spill: {value: 0,", "partial_sums_always_spill: {value: 0.5,")
    check_mistake(write(text), line_of(text, "always_spill"), "value is 0.5; it must be 0 or 1")


# ---- variants --------------------------------------------------------------------------------------------------------

VARIANT = """name: mine
include: loom
description: "half of Loom"
numbers:
  filters: {value: 64, unit: filters, confidence: assumption,
    source: "half of 128"}
"""


def test_a_variant_is_what_it_includes_but_for_its_own_numbers(write) -> None:  # type: ignore[no-untyped-def]
    loom, mine = read_profile("loom"), read_profile(write(VARIANT))
    assert (mine.name, mine.family, mine.description) == ("mine", "bit_serial", "half of Loom")
    assert mine.numbers == {**loom.numbers, "filters": mine.numbers["filters"]}
    assert mine.numbers["filters"].value == 64
    assert mine.memory == loom.memory
    machine = load_accelerator(write(VARIANT))
    assert isinstance(machine, BitSerial)
    assert (machine.name, machine.filters, machine.windows) == ("mine", 64, 16)


def test_a_variant_may_include_a_variant_in_a_file_beside_it(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "base.yaml").write_text(VARIANT, encoding="utf-8")
    text = "name: third\ninclude: base.yaml\ndescription: d\nmemory:\n  buffer_copies: {value: 1, unit: copies, confidence: assumption, source: single}\n"
    machine = load_accelerator(write(text))
    assert isinstance(machine, BitSerial)
    assert (machine.filters, machine.memory.buffer_copies) == (64, 1)


@pytest.mark.parametrize(
    ("old", "new", "at", "message"),
    [
        ("include: loom", "include: lom", "include:", "include: unknown accelerator 'lom'; did you mean 'loom'?"),
        ("include: loom", "include: gone.yaml", "include:", "include: no accelerator profile at"),
        ("include: loom", "include: mine.yaml", "include:", "include: profiles include each other: mine.yaml includes mine.yaml"),
        ("include: loom", "include: loom\nfamily: bit_serial", "family:", "family: unknown key; known are include, name, description,"),
        ("  filters:", "  filter:", "  filter:", "numbers.filter: unknown key; did you mean 'filters'?"),
        ("  filters:", "  rows:", "  rows:", "numbers.rows: unknown key"),
        ("value: 64", "value: 0", "value: 0", "numbers.filters: value is 0 filters; the range is 1 to 1e+06 filters"),
        ("include: loom", "include: mpic", "  filters:", "numbers.filters: unknown key"),
        ("name: mine\n", "", "include:", "name is missing"),
    ],
)
def test_mistakes_in_a_variant(old: str, new: str, at: str, message: str, write) -> None:  # type: ignore[no-untyped-def]
    text = VARIANT.replace(old, new, 1)
    check_mistake(write(text), 1 if "missing" in message else line_of(text, at), message)


def test_a_cycle_of_two_files_is_one_line(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "other.yaml").write_text(VARIANT.replace("include: loom", "include: mine.yaml"), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"other.yaml:2: include: profiles include each other: mine.yaml includes other.yaml includes mine.yaml"
    ):
        load_accelerator(write(VARIANT.replace("include: loom", "include: other.yaml")))


def test_a_family_without_memory_refuses_the_section(write) -> None:  # type: ignore[no-untyped-def]
    text = available()["mpic"].read_text(encoding="utf-8")
    text += '\nmemory:\n  buffer_copies: {value: 1, unit: copies, confidence: assumption, source: "none"}\n'
    check_mistake(write(text), line_of(text, "memory:"), "memory: a measured machine has none; delete the section")


# ---- bands and technology --------------------------------------------------------------------------------------------


def test_a_band_is_a_column_of_low_nominal_high() -> None:
    machine = load_accelerator("loom", band=True)
    assert isinstance(machine, BitSerial)
    assert torch.as_tensor(machine.memory.dram_pj_per_bit).tolist() == [[8], [8], [28.75]]
    assert machine.filters == 128
    assert load_accelerator("loom").memory.dram_pj_per_bit == 8  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("band", "message"),
    [
        ("low: 9, band_source: x", "the band is 9 to 8 pJ/bit; it must hold the value, 8"),
        ("high: 7, band_source: x", "the band is 8 to 7 pJ/bit; it must hold the value, 8"),
        ("high: 10", "low and high need a band_source"),
        ("high: 1.0e+9, band_source: x", "high is 1e+09 pJ/bit; the range is 0 to 10000 pJ/bit"),
        ("low: .nan, band_source: x", "low: value is nan; input should be a finite number"),
    ],
)
def test_mistakes_in_a_band(band: str, message: str, write) -> None:  # type: ignore[no-untyped-def]
    text = re.sub(r"(?m)^    low: 8, high: 28.75, band_source: .*$", f"    {band},", LOOM)
    with pytest.raises(InputError) as raised:
        load_accelerator(write(text))
    assert message in str(raised.value)
    assert ":" + str(line_of(text, "dram_pj_per_bit")) + ":" in str(raised.value) or "low" in str(raised.value)


def test_energies_scale_to_another_node_but_for_dram_and_numbers_without_a_node() -> None:
    at_45, at_28 = load_accelerator("bitfusion"), load_accelerator("bitfusion", node_nm=28)
    assert isinstance(at_45, BitComposable)
    assert isinstance(at_28, BitComposable)
    assert at_28.unit_pj_per_cycle == pytest.approx(at_45.unit_pj_per_cycle * energy_scale(45, 28), rel=1e-15)
    assert at_28.unit_um2 == pytest.approx(at_45.unit_um2 * area_scale(45, 28), rel=1e-15)
    assert at_28.memory.weight_read_pj_per_bit == pytest.approx(at_45.memory.weight_read_pj_per_bit * energy_scale(45, 28), rel=1e-15)
    assert (at_28.memory.dram_pj_per_bit, at_28.rows, at_28.clock_mhz) == (15, 16, 500)


def test_dram_is_not_scaled_even_when_its_node_is_given(write) -> None:  # type: ignore[no-untyped-def]
    text = LOOM.replace("dram_pj_per_bit: {value: 8,", "dram_pj_per_bit: {value: 8, node_nm: 45,")
    assert load_accelerator(write(text), node_nm=16).memory.dram_pj_per_bit == 8  # type: ignore[attr-defined]
