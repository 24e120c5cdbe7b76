"""What a finished run is in a table: one flat row of names, numbers and costs."""

import math
from typing import Any

from .settings import Settings

COSTS = ("bops", "macs", "cycles", "energy_pj", "weight_bits", "peak_activation_bits")
TEXTS = ("method", "network", "data", "accelerator", "command")
DEFAULTS = Settings().model_dump(mode="json")
MISSING = object()
NUMBERS = (
    *("seed", "float_accuracy", "test_accuracy", "validation_accuracy"),
    *COSTS,
    *("bops_percent", "epochs", "seconds", "saved_by_channels", "saved_by_bits"),
)


def check_result(result: Any) -> dict[str, Any]:
    """Return the content of a `result.json`; TypeError when it is no object or a number of it is none."""
    if not isinstance(result, dict):
        raise TypeError(f"expected a JSON object, found {type(result).__name__}")
    for key in NUMBERS:
        value = result.get(key)
        if not isinstance(value, int | float | None) or (isinstance(value, int) and abs(value) >= 2**63):
            raise TypeError(f"{key} is {value!r:.40}, expected a number")
    return result


def row_of(run: str, result: dict[str, Any]) -> dict[str, Any]:
    """Return one row: texts ("" when absent), numbers (NaN when absent), percentages, and the hardware numbers that were varied."""
    row: dict[str, Any] = {"run": run, "budget": budget_text(result.get("budget"))}
    row |= {key: "" if result.get(key) is None else str(result[key]) for key in TEXTS}
    row |= {key: math.nan if result.get(key) is None else result[key] for key in NUMBERS}
    baseline = result.get("baseline")
    for cost in COSTS:
        full = baseline.get(cost) if isinstance(baseline, dict) else None
        if isinstance(full, int | float) and full > 0 and math.isnan(row.get(f"{cost}_percent", math.nan)):
            row[f"{cost}_percent"] = 100 * row[cost] / full
        row.setdefault(f"{cost}_percent", math.nan)
    row["settings"] = settings_text(result)
    row["profile_name"] = str(result.get("profile_name") or row["accelerator"])
    row["area_mm2"] = result["area_mm2"] if isinstance(result.get("area_mm2"), int | float) else math.nan
    numbers = result.get("numbers")
    if isinstance(numbers, dict):
        row |= {f"numbers.{key.rpartition('.')[2]}": value for key, value in numbers.items() if isinstance(value, int | float)}
    return row


def settings_text(result: dict[str, Any]) -> str:
    """What a run's settings, float training and width change from the defaults, the seed left out: `width 0.5, epochs 20, gamma 0`."""
    entry = result.get("entry")
    if not isinstance(entry, dict):
        return ""
    parts = {"width": entry.get("width")} if entry.get("width", 1) != 1 else {}
    for prefix, section, defaults in (("", "settings", DEFAULTS), ("float ", "pretraining", {})):
        given = entry.get(section)
        changed = given.items() if isinstance(given, dict) else ()
        parts |= {prefix + key: value for key, value in changed if key != "seed" and defaults.get(key, MISSING) != value}
    return ", ".join(f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in parts.items())


def budget_text(budget: Any) -> str:
    """A budget in words: `{"bops": "2%", "energy_pj": 1.5e9}` → "bops 2%, energy_pj 1.5e+09"; "none" without one."""
    if not isinstance(budget, dict):
        return str(budget) if budget else "none"
    limits = (f"{key} {limit:g}" if isinstance(limit, int | float) else f"{key} {limit}" for key, limit in budget.items())
    return ", ".join(limits) or "none"
