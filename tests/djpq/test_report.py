import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from djpq.catalogue import UnreadableRun
from djpq.report import write_report
from djpq.report.page import LARGEST, TRACE_POINTS_PER_RUN, Pool, number, read_trace, render, report_data, thinned
from hwmodel.errors import InputError

PROFILE = "name: loom  # <b>bit-serial</b>\nrows: {value: 16, unit: lanes, source: 'Loom, section 4'}\n"
EVIL = "</script><script>window['pwned']=1</script><img src=x onerror=window['pwned']=1>&amp;'\"<!--"


def make_layers(share, width):
    """A ResNet8-like stack: bits fall with the share of the cost that is left, channels with its root."""
    full = [3, *(width * step for step in (1, 1, 1, 2, 2, 2, 4, 4, 4)), 10]
    kept = [3, *(max(1, round(n * min(1, (5 * share) ** 0.35))) for n in full[1:-1]), 10]
    names = ["stem", *(f"layer{1 + i // 3}.0.conv{1 + i % 3}" for i in range(8)), "fc"]
    bits = [max(2, min(8, round(8 * (20 * share) ** 0.3 + math.sin(i)))) for i in range(11)]
    layers = []
    for i, name in enumerate(names):
        macs = kept[i] * kept[i + 1] * (9 * 1024 / 4 ** (i // 3) if name != "fc" else 1)
        layers.append({
            "name": name, "kind": "linear" if name == "fc" else "conv", "bound": ["compute", "dram", "none"][i % 3],
            "in_channels": kept[i], "full_in_channels": full[i], "out_channels": kept[i + 1],
            "full_out_channels": full[i + 1], "weight_bits": bits[i], "input_bits": bits[i - 1] if i else 8,
            "activation_bits": bits[(i + 3) % 11], "macs": macs, "bops": macs * bits[i] * 6,
            "cycles": macs * bits[i] / 4096 + 300, "compute_pj": macs * bits[i] * 0.06, "buffer_pj": macs * 0.4,
            "dram_pj": 4e3 * kept[i] * bits[i],
        })  # fmt: skip
    return layers


def make_result(network, method, machine, share, seed):
    """One plausible `result.json`."""
    layers = make_layers(share, 8 if network == "resnet8" else 16)
    total = {key: sum(layer[key] for layer in layers) for key in ("macs", "bops", "cycles")}
    scale = 1 + 0.9 * len(machine) / 10
    energy_pj = scale * sum(layer[key] for layer in layers for key in ("compute_pj", "buffer_pj", "dram_pj"))
    wiggle = 0.004 * math.sin(12.9 * seed + 78 * share + len(machine) + len(method))
    loss = {"djpq": 0.0009, "benchmarks.methods.bits_only": 0.0016}.get(method, 0.0027)
    costs = total | {"energy_pj": energy_pj, "weight_bits": 5.1e5 * share, "peak_activation_bits": 2.7e5 * share**0.6}
    baseline = {key: value / (share if key in ("bops", "energy_pj") else share**0.5) for key, value in costs.items()}
    return costs | {
        "method": method, "network": network, "data": "digits", "accelerator": machine, "seed": seed,
        "budget": {"bops": f"{100 * share:g}%"},
        "float_accuracy": 0.972, "test_accuracy": 0.975 - loss * (share * 1.02) ** -0.8 + wiggle,
        "validation_accuracy": 0.966, "bops_percent": 100 * share * (1 + wiggle), "epochs": 20, "seconds": 431.5,
        "versions": {"python": "3.11.7", "torch": "2.13.0"}, "baseline": baseline, "layers": layers, "profile": PROFILE,
        "command": f"djpq train {network} --data digits -a {machine} --bops {100 * share:g}% --seed {seed}",
        "groups": [
            {"name": f"g{i}", "kept": it["out_channels"], "channels": it["full_out_channels"], "prunable": i < 9}
            for i, it in enumerate(layers)
        ],
        "proof": {"largest_logit_difference": 3.1e-6, "same_predictions": True, "within_budget": True, "images": 360},
        "saved_by_channels": 0.62, "saved_by_bits": 1.1,
    }  # fmt: skip


def make_metrics(result, steps=400):
    bops = result["baseline"]["bops"]
    for step in range(steps):
        ramp = min(1.0, step / (0.7 * steps))
        cross_entropy = 2.2 * math.exp(-step / 60) + 0.08 + 0.05 * math.sin(step * 1.7) ** 2 + 0.1 * ramp
        validated = {"validation_accuracy": 0.97 - 0.5 * math.exp(-step / 50) - 0.01 * ramp} if step % 20 == 19 else {}
        yield validated | {
            "step": step, "epoch": step // 20, "loss": cross_entropy + 0.2 * ramp, "task_loss": cross_entropy,
            "excess": 0.3 * math.sin(step / 9) * math.exp(-step / 150), "multiplier": 0.4 * ramp,
            "bops": bops * (result["bops_percent"] / 100) ** ramp,
        }  # fmt: skip


FIVE_THOUSAND = (
    ("loom", "bitfusion", "unpu", "stripes", "eyeriss"), ("djpq", "a.uniform", "a.bits_only", "a.two_stage"), [0.004 * 1.15**i for i in range(25)],
)  # fmt: skip


def make_runs(folder, networks=("resnet8",), machines=("loom",), methods=("djpq",), shares=(0.01, 0.04), seeds=2, steps=400):
    """A finished sweep below `folder`, and beside it a cache of float models that must be ignored."""
    for network in networks:
        for method in methods:
            for machine in machines:
                for share in shares:
                    for seed in range(seeds):
                        run = folder / f"{network}-{method}-{machine}-{share:g}-{seed}"
                        run.mkdir(parents=True)
                        result = make_result(network, method, machine, share, seed)
                        (run / "result.json").write_text(json.dumps(result))
                        lines = (json.dumps(row) + "\n" for row in make_metrics(result, steps))
                        (run / "metrics.jsonl").write_text("".join(lines))
    (folder / "float-resnet8-digits").mkdir()
    return folder


@pytest.fixture
def runs(tmp_path):
    return make_runs(tmp_path / "runs")


def embedded(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_carries_everything_and_asks_the_network_for_nothing(runs, tmp_path):
    path = write_report(runs, tmp_path / "deep" / "report.html")
    assert list(path.parent.iterdir()) == [path]
    page = path.read_text(encoding="utf-8")
    own = page.replace(embedded_plotly(page), "")
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?\s*(?:https?:)?//", own)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|innerHTML|insertAdjacentHTML|document\.write", own)
    assert "default-src 'none'" in own
    assert "{{" not in own
    assert "plotly.js v" in page
    data = embedded(page)
    assert data["runs"]["run"] == sorted(path.parent.name for path in runs.glob("*/result.json"))


def embedded_plotly(page):
    return max(re.findall(r"<script>(.*?)</script>", page, re.DOTALL), key=len)


def test_what_is_embedded_is_what_was_recorded(runs):
    data = report_data(runs)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    place = data["runs"]["run"].index("resnet8-djpq-loom-0.04-1")
    result = json.loads((runs / "resnet8-djpq-loom-0.04-1" / "result.json").read_text())
    layers = {key: data["pool"][index] for key, index in data["details"][place]["layers"].items()}
    assert layers["name"] == [layer["name"] for layer in result["layers"]]
    assert layers["bops"] == pytest.approx([layer["bops"] for layer in result["layers"]], rel=1e-4)
    assert data["pool"][data["details"][place]["profile"]] == PROFILE
    assert data["runs"]["command"][place] == result["command"]
    assert data["runs"]["test_accuracy"][place] == pytest.approx(result["test_accuracy"], rel=1e-4)
    assert ["same_predictions", True] in data["details"][place]["proof"]
    assert len(data["fronts"]["bops_percent"]["budget"]) == 2


def test_names_from_users_stay_text(runs):
    result = json.loads((runs / "resnet8-djpq-loom-0.04-1" / "result.json").read_text())
    (runs / "evil <b>&").mkdir()
    (runs / "evil <b>&" / "result.json").write_text(json.dumps(result | {"method": EVIL, "network": EVIL, "command": EVIL}))
    data = report_data(runs)
    page = render(data, title=f"runs {EVIL}")
    assert embedded(page) == data
    assert EVIL in embedded(page)["runs"]["method"]
    scripts = len(re.findall("<script", page.replace(embedded_plotly(page), "")))
    assert scripts == 3
    assert "<img src=x" not in page
    assert "runs &lt;/script>" in page


def test_a_corrupted_run_is_warned_about_and_left_out(runs, tmp_path):
    (runs / "torn").mkdir()
    (runs / "torn" / "result.json").write_text('{"method": "djpq", "bo')
    with pytest.warns(UnreadableRun, match=r"torn.result\.json"):
        page = write_report(runs, tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(embedded(page)["runs"]["run"]) == 4


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"layers": "many", "groups": 3, "proof": [1], "versions": None, "profile": 5, "baseline": [], "budget": 2},
        {
            "layers": [1, {"name": "conv"}, {"macs": math.nan, "bops": 10**400}],
            "groups": [{}],
            "proof": {"a": math.inf, "b": [1]},
        },
        {"method": "m", "bops": math.nan, "test_accuracy": math.inf, "command": "\ud800"},
    ],
)
def test_missing_and_odd_keys_do_no_harm(tmp_path, result):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_text(json.dumps(result))
    data = embedded(write_report(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert data["runs"]["run"] == ["run"]
    assert data["details"][0]["trace"] == {}


def test_without_runs_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match="no finished run"):
        write_report(tmp_path, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_earlier_report(runs, tmp_path, monkeypatch):
    path = write_report(runs, tmp_path / "out" / "report.html")
    before = path.stat().st_mtime_ns
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_report(runs, path)
    assert path.stat().st_mtime_ns == before
    assert list(path.parent.iterdir()) == [path]


def test_a_long_trace_is_thinned_and_keeps_both_ends_and_validation(tmp_path):
    rows = [{"step": step, "loss": 1.0} | ({"validation_accuracy": 0.9} if step % 500 == 499 else {}) for step in range(5000)]
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + '\n{"step": 50')
    trace = read_trace(tmp_path.parent, tmp_path.name, TRACE_POINTS_PER_RUN)
    assert 190 <= len(trace["step"]) <= TRACE_POINTS_PER_RUN
    assert trace["step"][0] == 0
    assert trace["step"][-1] >= 4950
    assert [s for s, v in zip(trace["step"], trace["validation_accuracy"], strict=True) if v] == list(range(499, 5000, 500))
    assert set(trace) == {"step", "loss", "validation_accuracy"}


@given(st.lists(st.integers(), max_size=300), st.integers(2, 250))
def test_thinned_keeps_order_ends_and_the_limit(items, limit):
    kept = thinned(items, limit)
    assert len(kept) == min(limit, len(items))
    assert kept[:1] == items[:1]
    assert kept[-1:] == items[-1:]
    rest = iter(items)
    assert all(any(item == other for other in rest) for item in kept)


@given(st.floats())
def test_number_keeps_five_digits_or_says_null(value):
    if abs(value) < LARGEST:
        assert number(value) == pytest.approx(value, rel=5.1e-5, abs=0)
    else:
        assert number(value) is None
    assert number(10**400) is number("1") is number(True) is None


def test_pool_stores_equal_values_once_and_keeps_types_apart():
    pool = Pool()
    assert [pool.index(value) for value in ([1], ["1"], [1], [True], "x")] == [0, 1, 0, 2, 3]
    assert pool.values == [[1], ["1"], [True], "x"]
