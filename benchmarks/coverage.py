"""What of torchvision's models is traced, with MACs beside those of torch's and fvcore's counters: `python -m benchmarks.coverage`.

Writes `docs/coverage.md` and the golden file that `tests/vision` checks. Needs the packages of `make vision`. A script that reads
from the list of models to the page, longer for the two other counters beside ours.
"""

import argparse
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torchvision
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model, list_models

from hwmodel import InputError, macs, trace
from hwmodel.capture import capture, inference_mode_of
from hwmodel.trace import batch_of, walk_captured

DOCUMENT = Path(__file__).parents[1] / "docs" / "coverage.md"
GOLDEN = Path(__file__).parents[1] / "tests" / "reference" / "torchvision_macs.csv"
FAMILIES = {
    "classification": torchvision.models,
    "segmentation": torchvision.models.segmentation,
    "detection backbone": torchvision.models.detection,
    "video": torchvision.models.video,
    "optical flow": torchvision.models.optical_flow,
}
SHAPES = {"segmentation": (3, 224, 224), "detection backbone": (3, 320, 320), "video": (3, 16, 224, 224), "optical flow": (3, 128, 128)}
FVCORE_PRODUCTS = ("conv", "linear", "matmul", "bmm", "addmm", "einsum")


@dataclass(frozen=True)
class Result:
    """One model: our count, the counts of others (each a multiply-accumulate), and what explains the differences.

    `constant_macs`: products of constants alone, which torch counts and we do not. `attention_macs`: fused attention, which fvcore does
    not count.
    """

    family: str
    model: str
    rows: int
    macs: int
    flop_counter_macs: int
    constant_macs: int
    attention_macs: int
    coverage: float
    bytes_covered: float
    capture: str


# ---- models without weights ------------------------------------------------------------------------------------------


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Build modules whose parameters hold no data, while what their constructors compute stays real."""
    plain = nn.Module.register_parameter

    def register(self: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        empty = None if parameter is None else nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
        plain(self, name, empty)

    nn.Module.register_parameter = register  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = plain  # type: ignore[method-assign]


def build(family: str, name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return a model on the meta device in eval mode, the backbone of a detector, and its example."""
    options: dict[str, object] = {"weights": None}
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False
    if family in ("segmentation", "detection backbone"):
        options["weights_backbone"] = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"):
                model = get_model(name, **options)
        except NotImplementedError:  # RegNet computes its widths with tensors
            with parameters_on_meta():
                model = get_model(name, **options)
    model = (model.backbone if family == "detection backbone" else model).to("meta").eval()
    side = 299 if name == "inception_v3" else 224
    image = torch.empty(1, *SHAPES.get(family, (3, side, side)), device="meta")
    return model, (image, image) if family == "optical flow" else (image,)


def models() -> list[tuple[str, str]]:
    """Return every family and model."""
    return [(family, name) for family, module in FAMILIES.items() for name in list_models(module=module)]


# ---- counts ----------------------------------------------------------------------------------------------------------


def flop_counter_macs(model: nn.Module, args: tuple[Tensor, ...]) -> int:
    """Return half of the FLOPs that torch counts."""
    with inference_mode_of(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*args)
    return int(counter.get_total_flops()) // 2


def constant_macs(model: nn.Module, args: tuple[Tensor, ...]) -> int:
    """Return the multiply-accumulates of products that no input reaches: they are computed once, before any inference."""
    captured = capture(model, args)
    walk = walk_captured(captured, batch_of(args))
    total = 0
    for node in captured.graph.nodes:
        if node.op != "call_function" or any(operand in walk.flows for operand in node.all_input_nodes):
            continue
        operands = tree_map(
            lambda value: on_meta(value.meta["val"]) if isinstance(value, torch.fx.Node) else value, (node.args, node.kwargs)
        )
        with FlopCounterMode(display=False) as counter:
            if any(isinstance(value, Tensor) for value in tree_leaves(operands)):
                node.target(*operands[0], **operands[1])
        total += int(counter.get_total_flops()) // 2
    return total


def on_meta(value: object) -> object:
    """Return a tensor without data of the same shape."""
    return torch.empty(value.shape, dtype=value.dtype, device="meta") if isinstance(value, Tensor) else value


class FusedAttention(TorchDispatchMode):
    """Counts the multiply-accumulates of calls of `scaled_dot_product_attention`: scores, and what they weigh."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.scaled_dot_product_attention.default:
            query, key, value = args[:3]
            self.macs += prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        return func(*args, **(kwargs or {}))


def attention_macs(model: nn.Module, args: tuple[Tensor, ...]) -> int:
    """Return the multiply-accumulates of fused attention."""
    with inference_mode_of(model), torch.inference_mode(), FusedAttention() as fused:  # in which a mode sees attention whole
        model(*args)
    return fused.macs


def fvcore_macs(model: nn.Module, args: tuple[Tensor, ...]) -> int:
    """Return what fvcore counts of products; it runs the model on zeros."""
    model = model.to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        nn.init.zeros_(tensor)
    logging.getLogger("fvcore").setLevel(logging.CRITICAL)
    with inference_mode_of(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis  # it uses what torch deprecates

        analysis = FlopCountAnalysis(model, tuple(torch.zeros(arg.shape) for arg in args)).unsupported_ops_warnings(False)
        counted = analysis.uncalled_modules_warnings(False).by_operator()
    return round(sum(count for name, count in counted.items() if name in FVCORE_PRODUCTS))


def measure(family: str, name: str) -> Result:
    """Return the counts of one model. **Errors**: InputError when it cannot be traced."""
    model, args = build(family, name)
    with torch.device("meta"):  # for the constants that a model makes while it runs
        network, counted, constant = trace(model, args), flop_counter_macs(model, args), constant_macs(model, args)
        fused = attention_macs(model, args)
    share, byte_share = network.coverage.share, network.coverage.byte_share
    return Result(family, name, len(network.layers), macs(network), counted, constant, fused, share, byte_share, network.capture)


# ---- document and golden file ----------------------------------------------------------------------------------------

HEAD = """# Coverage

Made by `python -m benchmarks.coverage` with torch {torch} and torchvision {torchvision}; `make vision` checks it. Every model is built
without weights and traced at batch 1 (images 224 x 224, Inception 299 x 299, detection backbones 320 x 320, optical flow 128 x 128, video
16 frames of 224 x 224): {count} of {all} models pass, each with all of its operators covered.

A MAC is one multiplication and one addition. Our count equals half of what `torch.utils.flop_counter` counts for every model but for
the differences explained below, and what fvcore counts of convolutions, linear layers and matrix products.

## Differences

| counter | models | difference | reason |
|---|---|---|---|
{differences}

## Models

| family | model | rows | MACs | operators covered | bytes covered | captured by |
|---|---|---|---|---|---|---|
{table}
"""


def difference_table(results: pd.DataFrame) -> str:
    """Return the rows that explain where another counter differs."""
    rows = []
    constant = results[results.flop_counter_macs != results.macs]
    for row in constant.itertuples():
        reason = "products of constants alone (a position bias computed from a table, a first step from zeros): once, not per inference"
        rows.append(f"| torch | {row.model} | {row.flop_counter_macs - row.macs:+,} | {reason} |")
    fvcore = results[results.fvcore_macs.notna() & (results.fvcore_macs != results.macs)]
    for row in fvcore.itertuples():
        reason = {
            row.macs - row.attention_macs: "fvcore does not count `scaled_dot_product_attention`",
            row.macs + row.constant_macs: "products of constants alone, as above",
        }.get(int(row.fvcore_macs), "fvcore reads einsum FLOPs from a printed number of four digits")
        rows.append(f"| fvcore | {row.model} | {int(row.fvcore_macs - row.macs):+,} | {reason} |")
    return "\n".join(rows)


def document(results: pd.DataFrame, failed: dict[str, str]) -> str:
    """Return the page."""
    lines = [
        f"| {r.family} | {r.model} | {r.rows} | {r.macs:,} | {100 * r.coverage:g} % | {100 * r.bytes_covered:g} % | {r.capture} |"
        for r in results.itertuples()
    ]
    lines += [f"| | {name} | does not pass | {reason} | | | |" for name, reason in failed.items()]
    return HEAD.format(
        torch=torch.__version__.split("+")[0], torchvision=torchvision.__version__.split("+")[0], count=len(results),
        all=len(results) + len(failed), differences=difference_table(results), table="\n".join(lines),
    )  # fmt: skip


def main() -> None:
    """Measure every model and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--fvcore", action="store_true", help="run fvcore on the classification models too (minutes), else keep its numbers"
    )
    chosen = parser.parse_args()
    kept = pd.read_csv(GOLDEN).set_index("model").fvcore_macs if GOLDEN.exists() else pd.Series(dtype=float)
    results, failed = [], {}
    for family, name in models():
        print(name, file=sys.stderr)
        try:
            row = asdict(measure(family, name))
        except InputError as error:
            failed[name] = str(error)
            continue
        row["fvcore_macs"] = kept.get(name)
        if chosen.fvcore and family == "classification":
            row["fvcore_macs"] = fvcore_macs(*build(family, name))
        results.append(row)
    frame = pd.DataFrame(results)
    golden = frame.drop(columns=["rows", "coverage", "bytes_covered"])
    golden.astype({"fvcore_macs": "Int64"}).to_csv(GOLDEN, index=False)
    DOCUMENT.write_text(document(frame, failed), encoding="utf-8")


if __name__ == "__main__":
    main()
