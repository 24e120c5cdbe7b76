"""Profiles: each mistake a user can make is one line with file, line, key, value and what is allowed."""

import re
from pathlib import Path

import pytest

from hwmodel import InputError, available, load_accelerator
from hwmodel.bit_serial import BitSerial
from hwmodel.composable import BitComposable
from hwmodel.profile import profile_path, read_profile

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
        ("vale: 980, unit: MHz", ".vale: unknown key; did you mean 'value'?; known are value, unit, source, confidence, node_nm"),
        ("value: 980, unit: MHz, note: hi", ".note: unknown key; known are value, unit, source, confidence, node_nm"),
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
    text, count = re.subn(rf"(?m)^  {key}: .*\n    .*\n", "", LOOM)
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
        ("lom", "unknown accelerator 'lom'; did you mean 'loom'?; known are bitfusion,"),
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
