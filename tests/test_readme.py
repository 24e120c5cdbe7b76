"""The README's example runs as printed."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def test_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, str(README), "exec"), names)
    printed = capsys.readouterr().out
    assert "proof holds" in printed
    result = names["result"]
    assert float(result.cost.energy_pj) <= 0.05 * float(result.baseline.energy_pj)  # type: ignore[attr-defined]


def test_files_that_the_readme_names_exist() -> None:
    root = README.parent
    for name in re.findall(r"\]\((docs/[\w./]+|CONTRIBUTING\.md)\)|`(benchmarks/results/[\w.]+)`", README.read_text()):
        assert (root / (name[0] or name[1])).is_file(), name
