"""Figures of studies: a line a method, or a row a method where there is one budget."""

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from benchmarks import study_figure


def table(budgets: int) -> pd.DataFrame:
    rows = [
        {
            "method": method,
            "budget": f"bops {limit}%",
            "limit": float(limit),
            "mean": 90.0 + limit,
            "sd": sd,
            "seeds": seeds,
            "collapsed": False,
        }
        for limit in range(1, budgets + 1)
        for method, sd, seeds in (("djpq", 0.1, 3), ("other", float("nan"), 1), ("refused", float("nan"), 0))
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("draw", [study_figure.draw_lines, study_figure.draw_rows])
def test_every_method_that_ran_is_named_and_float_is_a_line(draw) -> None:  # type: ignore[no-untyped-def]
    axes = Figure().subplots()
    shown = table(1)
    draw(axes, shown[shown.seeds > 0], 92.4)
    legend = axes.get_legend()
    names = legend.get_texts() if legend else axes.get_yticklabels()
    assert [name.get_text() for name in names] == ["djpq", "other"]
    assert "float" in [text.get_text() for text in axes.texts]
    assert any(92.4 in line.get_data()[draw is study_figure.draw_lines] for line in axes.lines)


@pytest.mark.parametrize(
    ("budgets", "draw", "text"), [(2, "draw_lines", "below:\nother: 12.3 % at 1 %"), (1, "draw_rows", "\u2190 12.3 %")]
)
def test_what_collapsed_is_named_beyond_the_axis(budgets: int, draw: str, text: str) -> None:
    axes, shown = Figure().subplots(), table(budgets).query("seeds > 0").copy()
    shown.loc[shown.method.eq("other") & shown.limit.eq(1), ["mean", "collapsed"]] = 12.3, True
    getattr(study_figure, draw)(axes, shown, None)
    assert (axes.get_ylim() if draw == "draw_lines" else axes.get_xlim())[0] > 90
    assert [text.get_text() for text in axes.texts] == [text]


def test_one_budget_gives_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for name in ("draw_lines", "draw_rows"):
        monkeypatch.setattr(study_figure, name, lambda *_, name=name: drawn.append(name))
    for budgets in (1, 2):
        study_figure.draw(table(budgets), tmp_path / f"{budgets}.png")
        assert (tmp_path / f"{budgets}.png").read_bytes().startswith(b"\x89PNG")
    assert drawn == ["draw_rows", "draw_lines"]
