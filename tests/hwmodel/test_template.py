"""Every profile can be copied, the copy is the same machine, and its comments name every number of the family."""

from dataclasses import fields
from pathlib import Path

import pytest

from hwmodel import InputError, available
from hwmodel.profile import FAMILIES, read_profile
from hwmodel.template import template


@pytest.mark.parametrize("name", available())
def test_a_copy_is_the_same_machine_under_another_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(template("mine", name, tmp_path), encoding="utf-8")
    copy, original = read_profile(str(path)), read_profile(name)
    assert copy == original.model_copy(update={"name": "mine", "claims": []}), "it meets no published rows"
    comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    for spec in fields(FAMILIES[original.family]):
        assert "unit" not in spec.metadata or any(line.startswith(f"#   {spec.name}: {spec.metadata['unit']}, ") for line in comments)


def test_a_copy_of_a_variant_needs_the_file_it_includes(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(template("base", "loom", tmp_path), encoding="utf-8")
    (tmp_path / "variant.yaml").write_text("name: variant\ninclude: base.yaml\ndescription: d\n", encoding="utf-8")
    assert "name: mine\ninclude: base.yaml" in template("mine", str(tmp_path / "variant.yaml"), tmp_path)
    with pytest.raises(InputError, match=r"it includes base.yaml; give an --out in the folder"):
        template("mine", str(tmp_path / "variant.yaml"), tmp_path / "elsewhere")
