"""Build the report: gather the runs as one JSON object and set it, the scripts and plotly.js into `page.html`.

The page makes no request (its content security policy forbids it) and inserts what users named as text, never as HTML.
It stays small because columns that runs share, such as layer names or a machine's profile, are stored once (`Pool`) and
because a run keeps at most 200 of its logged steps, fewer when there are more than 750 runs.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from plotly.offline import get_plotlyjs

from djpq.catalogue import finished_runs, load_runs, read_file
from djpq.pareto import front, short_names
from djpq.rows import COSTS, NUMBERS
from hwmodel.files import whole

SCRIPTS = ("format.js", "charts.js", "front.js", "layers.js", "detail.js", "page.js")
SHOWN_COSTS = [
    {"key": "bops", "name": "BOPs", "unit": "", "scale": 1},
    {"key": "energy_pj", "name": "Energy", "unit": "J", "scale": 1e-12},
    {"key": "cycles", "name": "Cycles", "unit": "", "scale": 1},
    {"key": "weight_bits", "name": "Stored weights", "unit": "bit", "scale": 1},
    {
        "key": "peak_activation_bits",
        "name": "Peak activation memory",
        "short": "Peak memory",
        "unit": "bit",
        "scale": 1,
    },
]
RUN_TEXTS = ("run", "method", "network", "data", "accelerator", "settings", "budget", "command")
RUN_COLUMNS = (*RUN_TEXTS, *NUMBERS, *(f"{cost}_percent" for cost in COSTS if cost != "bops"))
LAYER_TEXTS = ("name", "kind", "bound")
LAYER_NUMBERS = (
    *("full_in_channels", "full_out_channels", "in_channels", "out_channels", "weight_bits", "input_bits"),
    *("activation_bits", "macs", "bops", "cycles", "compute_pj", "buffer_pj", "dram_pj", "leakage_pj", "device_pj"),
)
TRACE_COLUMNS = ("step", "epoch", "loss", "task_loss", "excess", "multiplier", "bops", "validation_accuracy")
TRACE_POINTS_PER_RUN = 200
TRACE_POINTS = 150_000
LARGEST = 1e300


def write_report(runs_folder: Path | str, html_path: Path | str, title: str | None = None) -> Path:
    """Write the report of all finished runs and return its path; the file is replaced in one step.

    **Errors**: as `djpq.load_runs`; a corrupted run is warned about and left out.
    """
    path = Path(html_path)
    page = render(report_data(runs_folder), title or f"Co-design report · {Path(runs_folder).resolve().name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        partial.write_text(page, encoding="utf-8", errors="replace")
    return path


def render(data: dict[str, Any], title: str) -> str:
    """The page as text."""
    here = files("djpq.report")
    parts = {
        "title": title.replace("&", "&amp;").replace("<", "&lt;"),
        "style": (here / "page.css").read_text(encoding="utf-8"),
        "plotly": get_plotlyjs(),
        "script": "\n".join((here / name).read_text(encoding="utf-8") for name in SCRIPTS),
        # inside JSON "<" only stands in strings: escaped, no text can end the element or open a comment
        "data": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    template = (here / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def report_data(runs_folder: Path | str) -> dict[str, Any]:
    """What the page shows, as plain JSON values; a number that is NaN or infinite becomes null."""
    results = finished_runs(runs_folder)
    frame = load_runs(runs_folder)
    most = max(20, min(TRACE_POINTS_PER_RUN, TRACE_POINTS // len(results)))
    pool = Pool()
    return {
        "costs": SHOWN_COSTS,
        "methods": _labels(frame["method"]),
        "machines": _labels(frame["accelerator"]),
        "runs": _columns(frame, RUN_COLUMNS),
        "details": [_detail(result, pool) | {"trace": read_trace(runs_folder, run, most)} for run, result in results.items()],
        "fronts": {column: _front(frame, column) for cost in COSTS for column in (cost, f"{cost}_percent")},
        "pool": pool.values,
        "unfinished": unfinished(Path(runs_folder), set(results)),
    }


def unfinished(folder: Path, finished: set[str]) -> dict[str, int]:
    """Count the runs that have no result by what they are doing: `{"running": 2, "failed": 1}`."""
    found: Counter[str] = Counter()
    for path in folder.glob("*/status.json"):
        if path.parent.name not in finished:
            try:
                state = str(json.loads(path.read_bytes())["state"])
            except (OSError, ValueError, TypeError, KeyError):
                continue
            found[state] += 1
    return dict(sorted(found.items()))


class Pool:
    """Values stored once: `index(value)` is its place in `values`."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def index(self, value: Any) -> int:
        place = self._places.setdefault(json.dumps(value), len(self.values))
        if place == len(self.values):
            self.values.append(value)
        return place


def _labels(names: pd.Series) -> list[dict[str, str]]:
    return [{"name": name, "label": label or "–"} for name, label in short_names(names.unique()).items()]


def _columns(frame: pd.DataFrame, names: Iterable[str]) -> dict[str, list[Any]]:
    return {name: [plain(value) for value in frame[name].tolist()] for name in names}


def _front(frame: pd.DataFrame, column: str) -> dict[str, list[Any]]:
    rows = front(frame, column)
    rows = rows.rename(columns=lambda name: name.replace("test_accuracy", "accuracy").replace(f"{column}_", "cost_"))
    names = ("network", "data", "accelerator", "method", "settings", "budget", "runs", "accuracy_median", "accuracy_q1")
    return _columns(rows, (*names, "accuracy_q3", "cost_median", "on_front", "on_method_front", "knee"))


def _detail(result: dict[str, Any], pool: Pool) -> dict[str, Any]:
    layers, groups = _objects(result.get("layers")), _objects(result.get("groups"))
    columns: dict[str, list[Any]] = {key: [str(layer.get(key) or "") for layer in layers] for key in LAYER_TEXTS}
    columns |= {key: [number(layer.get(key)) for layer in layers] for key in LAYER_NUMBERS}
    sizes = [[str(it.get("name")), *map(number, (it.get("kept"), it.get("channels"))), bool(it.get("prunable"))]
             for it in groups]  # fmt: skip
    return {
        "layers": {key: pool.index(values) for key, values in columns.items()} if layers else None,
        "groups": pool.index(sizes),
        "proof": _pairs(result.get("proof")),
        "versions": pool.index(_pairs(result.get("versions"))),
        "profile": pool.index(str(result.get("profile") or "")),
    }


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _pairs(value: Any) -> list[list[Any]]:
    return [[str(key), plain(item)] for key, item in value.items()] if isinstance(value, dict) else []


def plain(value: Any) -> Any:
    """A JSON value without NaN or infinity; anything nested becomes text."""
    if isinstance(value, bool | int | str | None):
        return value
    return number(value) if isinstance(value, float) else str(value)


def number(value: Any) -> float | int | None:
    """The number at five digits, which is what the page can show; null for what is none or not below `LARGEST`."""
    kind = type(value)
    if kind is int and -100_000 < value < 100_000:
        return value
    if (kind is not float and kind is not int) or not -LARGEST < value < LARGEST:
        return None
    rounded = float(f"{value:.5g}")
    return int(rounded) if rounded.is_integer() else rounded


def read_trace(folder: Path | str, run: str, most: int) -> dict[str, list[Any]]:
    """At most `most` evenly spaced lines of a run's `metrics.jsonl` as columns; up to half of them go to validation lines.

    Lines that cannot be read, such as the torn last line of a killed run, are left out.
    """
    try:
        lines = read_file(folder, run, "metrics.jsonl").splitlines()
    except OSError:
        return {}
    measured = thinned([place for place, line in enumerate(lines) if b'"validation_accuracy"' in line], most // 2)
    chosen = sorted({*measured, *thinned(range(len(lines)), most - len(measured))})
    rows = [row for row in _json_lines([lines[place] for place in chosen]) if isinstance(row, dict)]
    limits = sorted({key for row in rows for key in row if key.startswith("excess_")})
    columns = {key: [number(row.get(key)) for row in rows] for key in (*TRACE_COLUMNS, *limits)}
    gates = [[value for key, value in row.items() if key.startswith("kept_") and isinstance(value, int | float)] for row in rows]
    columns["kept_channels"] = [number(sum(kept)) if kept else None for kept in gates]
    return {key: values for key, values in columns.items() if any(value is not None for value in values)}


def thinned(items: Sequence[int], most: int) -> list[int]:
    """At most `most` of the items, evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, most).round()]


def _json_lines(lines: Sequence[bytes]) -> list[Any]:
    """The readable ones among the lines; all at once when all are, which is much faster."""
    try:
        whole: list[Any] = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        return [row for line in lines for row in _json_lines([line])] if len(lines) > 1 else []
    return whole
