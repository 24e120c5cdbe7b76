"""Variants are the profile with other numbers: checked, priced like a file of their own, with the area that follows."""

from pathlib import Path

import pytest

from hwmodel import load_accelerator, simulate, uniform
from hwmodel.efficiency import area_mm2
from hwmodel.errors import InputError
from hwmodel.profile import machine_of, read_profile
from hwmodel.variant import profile_yaml, with_numbers


def test_a_variant_is_what_a_file_with_these_numbers_is(zoo, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    variant = with_numbers(read_profile("bitfusion_physical"), {"rows": 8, "memory.weight_buffer_kib": 32})
    (tmp_path / "mine.yaml").write_text(profile_yaml(variant))
    assert read_profile(str(tmp_path / "mine.yaml")) == variant
    network = zoo("resnet8")
    costs = [
        simulate(network, uniform(network, 4, 4), machine).totals()
        for machine in (machine_of(variant), load_accelerator(str(tmp_path / "mine.yaml")))
    ]
    assert costs[0] == costs[1]
    assert costs[0] != simulate(network, uniform(network, 4, 4), load_accelerator("bitfusion_physical")).totals()
    assert variant.name == "bitfusion_physical rows=8 weight_buffer_kib=32"


def test_areas_follow_the_sides_of_the_array_and_the_capacity_of_the_buffers() -> None:
    profile = read_profile("bitfusion_physical")  # 64, 32 and 16 KiB
    before, after = (area_mm2(machine_of(each)) for each in (profile, with_numbers(profile, {"columns": 8, "output_buffer_kib": 44})))
    assert after["array"] == pytest.approx(before["array"] / 4)
    assert after["buffers"] == pytest.approx(before["buffers"] * 140 / 112)
    stated = with_numbers(profile, {"output_buffer_kib": 44, "buffer_mm2": 2})
    assert area_mm2(machine_of(stated))["buffers"] == 2


def test_no_numbers_change_nothing() -> None:
    profile = read_profile("loom")
    assert with_numbers(profile, {}) is profile


@pytest.mark.parametrize(
    ("name", "numbers", "message"),
    [
        ("loom", {"lane": 8}, "loom has no number 'lane'; did you mean 'lanes'"),
        ("loom", {"lanes": 0}, "lanes is 0; the range is 1 to 1e.06 lanes"),
        ("loom", {"lanes": True}, "lanes is True"),
        ("mpic", {"weight_buffer_kib": 8}, "mpic has no number 'weight_buffer_kib'"),
    ],
)
def test_mistakes_are_named(name: str, numbers: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        with_numbers(read_profile(name), numbers)
    assert "\n" not in str(caught.value)
