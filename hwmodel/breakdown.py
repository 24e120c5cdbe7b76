"""Totals of a table by layer for every module of the model's tree."""

import pandas as pd


def modules_of(layer: str) -> list[str]:
    """Return a layer's own path and those of all modules around it: `a.b#2` is in `a.b`, `a` and ""."""
    parts = layer.split("#")[0].split(".")
    return [".".join(parts[:depth]) for depth in range(len(parts) + 1)]


def module_totals(by_layer: pd.DataFrame) -> pd.DataFrame:
    """Return the sums of the layers within each module, in the order in which they first run."""
    pairs = pd.DataFrame([(module, layer) for layer in by_layer.index for module in modules_of(layer)], columns=["module", "layer"])
    return pairs.join(by_layer, on="layer").drop(columns="layer").groupby("module", sort=False).sum(min_count=1)
