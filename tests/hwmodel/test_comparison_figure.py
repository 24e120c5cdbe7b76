"""The figure of a comparison: what it shows, that it is reproducible, and what it refuses."""

from pathlib import Path

import pytest

from hwmodel import InputError, uniform
from hwmodel.comparison import price
from hwmodel.comparison_figure import _draw, plot_comparison


@pytest.fixture
def priced(zoo):  # type: ignore[no-untyped-def]
    network = zoo("resnet8")
    return price(network, uniform(network, 4, 4), ["loom", "eyeriss", "mpic"])


def test_marks_and_whiskers_are_the_costs(priced) -> None:  # type: ignore[no-untyped-def]
    time, _, energy, _, classes = _draw(priced, "t").axes
    marks = [line for line in energy.lines if line.get_marker() == "o"]
    assert [mark.get_xdata()[0] for mark in marks] == pytest.approx([each.energy_band_pj[1] * 1e-12 for each in priced])
    whiskers = [line.get_xdata() for line in energy.lines if line.get_marker() == "|"]
    assert [tuple(ends) for ends in whiskers] == [pytest.approx((e.energy_band_pj[0] * 1e-12, e.energy_band_pj[2] * 1e-12)) for e in priced]
    assert [mark.get_markerfacecolor() for mark in marks][2] == "white", "a device is hollow"
    assert [line.get_xdata()[0] for line in time.lines] == pytest.approx([each.cost.milliseconds.item() * 1e-3 for each in priced])
    assert [label.get_text() for label in classes.get_yticklabels()] == ["loom", "eyeriss", "mpic"]


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_costs_give_the_same_bytes(kind: str, priced, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first, second = (plot_comparison(priced, "t", tmp_path / f"{name}.{kind}").read_bytes() for name in "ab")
    assert first == second
    assert len(first) > 5000
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{kind}", f"b.{kind}"]


def test_other_files_are_refused(priced, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=r"cannot draw .*; the file must end in .png or .svg"):
        plot_comparison(priced, "t", tmp_path / "figure.pdf")
    with pytest.raises(InputError, match="there is no folder"):
        plot_comparison(priced, "t", tmp_path / "no" / "figure.png")
