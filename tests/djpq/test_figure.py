import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from matplotlib import image

from djpq.figure import plot_front
from djpq.rows import row_of
from hwmodel.errors import InputError


def frame(networks=("resnet8",), costs=(0.5, 2, 8), **overrides):
    """Two methods, two machines, three seeds a point, one decade of BOPs."""
    results = {
        f"{network}-{method}-{machine}-{cost}-{seed}": {
            "method": method, "network": network, "data": "digits", "accelerator": machine,
            "budget": {"bops": f"{cost}%"}, "seed": seed, "float_accuracy": 0.97,
            "test_accuracy": 0.95 - 0.02 / cost - loss + seed * 0.002,
            "bops": cost * 1e7, "bops_percent": cost, "energy_pj": cost * 1e6 * (1 + len(machine)),
        } | overrides
        for network in networks
        for method, loss in (("djpq", 0.0), ("benchmarks.methods.uniform", 0.02))
        for machine in ("loom", "bitfusion")
        for cost in costs
        for seed in range(3)
    }  # fmt: skip
    return pd.DataFrame([row_of(run, result) for run, result in results.items()])


def svg_texts(path):
    return [element.text for element in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def test_writes_a_png_and_an_svg_and_leaves_nothing_else(tmp_path):
    written = plot_front(frame(), tmp_path / "deep" / "front.v1")
    assert written == [tmp_path / "deep" / "front.v1.png", tmp_path / "deep" / "front.v1.svg"]
    assert sorted((tmp_path / "deep").iterdir()) == written
    pixels = image.imread(written[0])
    assert pixels.shape[:2] == (880, 1440)
    assert np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0).shape[0] > 50


def test_says_what_is_shown(tmp_path):
    texts = svg_texts(plot_front(frame(), tmp_path / "front")[1])
    for text in ("resnet8 on digits", "BOPs, % of the 32-bit network", "Test accuracy, %", "uniform", "loom", "2 %"):
        assert text in texts
    assert "32-bit float, 97.0 %" in texts
    energy = svg_texts(plot_front(frame(), tmp_path / "energy", "energy_pj")[1])
    assert "Energy" in energy
    assert "10 µJ" in energy


def test_names_are_not_read_as_mathematics(tmp_path):
    texts = svg_texts(plot_front(frame(data="a$_x$ <b>"), tmp_path / "front")[1])
    assert "resnet8 on a$_x$ <b>" in texts


def test_several_networks_get_a_figure_each(tmp_path):
    written = plot_front(frame(networks=("a/b", "c")), tmp_path / "front")
    assert [path.name for path in written] == [f"front-{network}-digits.{kind}" for network in ("a_b", "c") for kind in ("png", "svg")]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("costs", [(2,), (2, 2.1), (0.001, 90)])
def test_any_span_of_costs_has_at_least_two_tick_labels_that_do_not_repeat(tmp_path, costs):
    ticks = [text for text in svg_texts(plot_front(frame(costs=costs), tmp_path / "front")[1]) if text.endswith(" %")]
    ticks = [text for text in ticks if not text.startswith("32-bit")]
    assert 2 <= len(ticks) == len(set(ticks)) <= 8


def test_the_same_runs_give_the_same_bytes(tmp_path):
    first, second = (plot_front(frame(), tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_without_percentages_bops_are_absolute_and_without_costs_there_is_a_clear_error(tmp_path):
    runs = frame(bops_percent=None, float_accuracy=None)
    assert "BOPs" in svg_texts(plot_front(runs, tmp_path / "front")[1])
    with pytest.raises(InputError, match="cycles"):
        plot_front(runs, tmp_path / "front", "cycles")


def test_a_failed_write_leaves_the_earlier_figure(tmp_path, monkeypatch):
    path = plot_front(frame(), tmp_path / "front")[0]
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        plot_front(frame(costs=(1, 3)), tmp_path / "front")
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".front*"))


def test_three_axes_have_two_panels_and_two_costs_one(tmp_path):
    texts = svg_texts(plot_front(frame(), tmp_path / "three", "accuracy", "bops", "energy_pj")[1])
    assert {"BOPs, % of the 32-bit network", "Energy", "Test accuracy, %"} <= set(texts)
    texts = svg_texts(plot_front(frame(), tmp_path / "two", "bops", "energy_pj")[1])
    assert "Energy" in texts
    assert "Test accuracy, %" not in texts
