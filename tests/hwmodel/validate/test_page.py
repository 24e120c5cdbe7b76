"""The page in docs/ is what the code says today."""

from pathlib import Path

from typer.testing import CliRunner

from hwmodel.cli import app


def test_the_page_is_up_to_date() -> None:
    result = CliRunner().invoke(app, ["validate", "all"])
    committed = Path(__file__).parents[3] / "docs" / "validation.md"
    assert result.stdout == committed.read_text(encoding="utf-8"), "run: hwmodel validate all > docs/validation.md"
