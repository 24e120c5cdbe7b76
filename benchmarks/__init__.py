"""Methods, recipes and results that the product is compared with."""

from pathlib import Path

RESULTS = Path(__file__).parent / "results"
BUILT = Path(__file__).parent.parent / "build"  # what can be made again: data, float models, fast runs
