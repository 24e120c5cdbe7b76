"""What tracing takes beside `torch.export` alone, in pairs: `python -m benchmarks.capture_time OUT.json` in the environment of `make vision`.

A pair runs both one after the other in changing order, so that what else the machine does falls on both. The figure is the ratio of
the medians of processor time; the target is 1.3.
"""

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.coverage import build
from hwmodel import trace
from hwmodel.capture import inference_mode_of
from hwmodel.files import write_text

MODELS = ("resnet18", "mobilenet_v2", "vit_b_16", "swin_t")
PAIRS = 7
TARGET = 1.3


def seconds(function: Callable[[], object]) -> float:
    """Return the processor time of one call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def compare(name: str, pairs: int = PAIRS) -> dict[str, float]:
    """Return the median times of both and their ratio."""
    model, args = build("classification", name)

    def alone() -> object:
        with inference_mode_of(model):
            return torch.export.export(model, args, strict=False)

    def traced() -> object:
        return trace(model, args)

    alone(), traced()  # the first call of each loads what torch loads lazily
    times: dict[Callable[[], object], list[float]] = {alone: [], traced: []}
    for i in range(pairs):
        for function in (alone, traced) if i % 2 else (traced, alone):
            times[function].append(seconds(function))
    export, ours = statistics.median(times[alone]), statistics.median(times[traced])
    return {"export_seconds": export, "trace_seconds": ours, "ratio": ours / export}


def main() -> None:
    """Measure all models and write the result."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.capture_time OUT.json")
    torch.set_num_threads(1)
    found = {name: compare(name) for name in MODELS}
    about = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "pairs": PAIRS,
        "target": TARGET,
    }
    write_text(Path(sys.argv[1]), json.dumps({**about, "models": found}, indent=2) + "\n")
    for name, row in found.items():
        print(f"{name:14s} export {row['export_seconds']:.3f} s, trace {row['trace_seconds']:.3f} s, ratio {row['ratio']:.3f}")


if __name__ == "__main__":
    main()
