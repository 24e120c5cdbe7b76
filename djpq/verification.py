"""`djpq verify`: the proof of a run made again from its files alone, link by link.

The trained model is loaded into the user's own class and finalized again, which repeats the whole chain of `finalize`; what comes out is
compared with the files that were handed over, with what `result.json` reports, and with what other tools make of the exports.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hwmodel.accelerator import Accelerator
from hwmodel.cost import simulate
from hwmodel.errors import InputError
from hwmodel.onnx_import import load_onnx
from hwmodel.profile import load_accelerator

from .datasets import Data
from .export import export_onnx, pack_weights
from .finalize import Finished, finalize
from .integer import IntegerModel, prove
from .pretraining import accuracy
from .saving import Loaded, load_finished, load_trained
from .sweep.plan import Entry, validated
from .sweep.runs import build, data_of

SAMPLES = 64


@dataclass(frozen=True)
class Check:
    """One link: what was compared, whether it holds, and the measured difference."""

    name: str
    holds: bool
    found: str


@dataclass(frozen=True, eq=False)
class Run:
    """A run as its files tell it; `model` is the user's class before training."""

    folder: Path
    entry: Entry
    result: dict[str, Any]
    data: Data
    model: nn.Module
    machine: Accelerator


def open_run(folder: Path) -> Run:
    """Read a run. **Errors**: InputError when its folder holds no finished run."""
    parts = []
    for name in ("config.json", "result.json"):
        try:
            parts.append(json.loads((folder / name).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise InputError(f"no run at {folder}: {name} is missing; give the folder that `djpq train` names") from None
        except (OSError, json.JSONDecodeError) as error:
            raise InputError(f"{folder / name}: not readable ({error})") from None
    entry: Entry = validated(Entry, parts[0], str(folder / "config.json"))
    data = data_of(entry)
    return Run(folder, entry, parts[1], data, build(entry, data), load_accelerator(entry.accelerator))


def verify(folder: Path) -> list[Check]:
    """Return every link of a run. **Errors**: InputError for files that are missing, cut off or changed."""
    run = open_run(folder)
    loaded = load_finished(run.model, folder)
    again = finalize(load_trained(run.model, folder), run.machine, run.data.validation[0][:SAMPLES])
    return [
        Check("trained = fixed = pruned = integers = priced", again.proof.holds, str(again.proof)),
        same_files(again, loaded),
        *integer_checks(again, loaded, run),
        same_cost(again, run),
        same_accuracy(loaded, run),
        packed_size(loaded, again),
        *onnx_checks(loaded, again, run),
    ]


def same_files(again: Finished, loaded: Loaded) -> Check:
    """Compare the model finalized again with the one on file."""
    ours, theirs = again.model.state_dict(), loaded.model.state_dict()
    different = [name for name in ours if name not in theirs or not torch.equal(ours[name], theirs[name])]
    return Check(
        "model finalized again = model on file",
        not different and len(ours) == len(theirs),
        f"{len(different)} of {len(ours)} tensors differ",
    )


def integer_checks(again: Finished, loaded: Loaded, run: Run) -> list[Check]:
    """Compare the integer program on file with the pruned model on file."""
    if loaded.integers is None:
        return [Check("integer program", again.integers is None, f"none: {again.proof.integers}")]
    proof = prove(loaded.model, loaded.grids, loaded.integers, (run.data.validation[0][:SAMPLES],))
    return [Check("integer program on file = model on file", proof.holds, str(proof))]


def same_cost(again: Finished, run: Run) -> Check:
    """Compare the cost with the one reported."""
    off = {
        name: value - run.result[name] for name, value in again.cost.totals().items() if name in run.result and value != run.result[name]
    }
    return Check("cost = result.json", not off, f"differences {off}" if off else f"{float(again.cost.bops):.6g} BOPs, and all other totals")


def same_accuracy(loaded: Loaded, run: Run) -> Check:
    """Compare the test accuracy with the one reported."""
    found = accuracy(loaded.model, run.data, "test")
    return Check("test accuracy = result.json", found == run.result["test_accuracy"], f"{found:.4%} of {len(run.data.test[0])} images")


def packed_size(loaded: Loaded, again: Finished) -> Check:
    """Compare the size of the packed weights with the footprint reported."""
    stored = sum(grid.bits * loaded.model.get_parameter(name).numel() for name, grid in loaded.grids.items())
    with tempfile.TemporaryDirectory() as place:
        packed = pack_weights(loaded, Path(place) / "weights.bin")
        size = packed.path.stat().st_size
    reported = float(again.cost.weight_bits)
    text = f"{size} bytes = {packed.stored_bits} bits + {packed.header_bytes} bytes of header; reported {reported:.0f} bits"
    return Check("packed weights = footprint", size == packed.file_bytes and packed.stored_bits == stored == reported, text)


def onnx_checks(loaded: Loaded, again: Finished, run: Run) -> list[Check]:
    """Run the QDQ file in onnxruntime on all test images, and price it read back; nothing where the extra is not installed."""
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return [Check("QDQ file", True, "not checked: pip install 'djpq[onnx]'")]
    x = run.data.test[0]
    ours = loaded.integers if loaded.integers is not None else loaded.model.eval()
    with tempfile.TemporaryDirectory() as place:
        path = export_onnx(loaded, Path(place) / "qdq.onnx")
        theirs = run_onnx(path, x)
        read = load_onnx(path, axes={"batch": 1})
    cost = simulate(read.network, read.compression, run.machine)
    with torch.no_grad():
        mine = torch.cat([torch.as_tensor(ours(part)) for part in x.split(500)])
    other = int((mine.argmax(1) != theirs.argmax(1)).sum())
    checks = [
        Check(
            "onnxruntime on the QDQ file: same class",
            other == 0,
            f"{other} of {len(x)} test images differ, outputs by {float((mine - theirs).abs().max()):.2g}",
        ),
        Check(
            "QDQ file read back costs the same", cost.totals() == again.cost.totals(), f"{float(cost.bops):.6g} BOPs, and all other totals"
        ),
    ]
    return checks if isinstance(ours, IntegerModel) or other == 0 else checks[1:]


def run_onnx(path: Path, x: Tensor) -> Tensor:
    """Return the first output of an ONNX file in onnxruntime, in batches; the graph as written, since rewrites change float functions' last bit."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return torch.cat([torch.from_numpy(session.run(None, {name: part.numpy()})[0]) for part in x.split(500)])
