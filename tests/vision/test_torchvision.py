"""Every model of torchvision: all operators covered, MACs of the golden file, equal to torch's and fvcore's counts but for what is explained.

Run by `make vision`; the golden file and docs/coverage.md are made by `python -m benchmarks.coverage --fvcore`.
"""

import pandas as pd
import pytest

from benchmarks.coverage import DOCUMENT, GOLDEN, build, fvcore_macs, measure, models

ROWS = pd.read_csv(GOLDEN).set_index(["family", "model"])
FVCORE = ["mobilenet_v3_small", "resnet18", "shufflenet_v2_x1_0", "swin_t", "vit_b_32"]


def test_no_model_is_left_out() -> None:
    assert set(models()) == set(ROWS.index)
    assert len(ROWS) >= 109


@pytest.mark.parametrize(("family", "name"), models())
def test_a_model_is_covered_and_counted(family: str, name: str) -> None:
    result, golden = measure(family, name), ROWS.loc[(family, name)]
    assert (result.coverage, result.bytes_covered) == (1, 1)
    assert (result.macs, result.constant_macs, result.attention_macs, result.capture) == (
        golden.macs,
        golden.constant_macs,
        golden.attention_macs,
        golden.capture,
    )
    assert result.macs + result.constant_macs == result.flop_counter_macs == golden.flop_counter_macs


@pytest.mark.parametrize("name", FVCORE)
def test_fvcore_counts_the_same_but_for_fused_attention(name: str) -> None:
    golden = ROWS.loc[("classification", name)]
    assert fvcore_macs(*build("classification", name)) == golden.fvcore_macs == golden.macs - golden.attention_macs


def test_fvcore_agrees_on_every_classification_model() -> None:
    rows = ROWS.loc["classification"]
    explained = rows.macs - rows.attention_macs + rows.constant_macs
    rounded = rows.index == "maxvit_t"  # fvcore reads einsum FLOPs from a printed number of four digits
    assert rows.fvcore_macs.notna().all()
    assert (rows.fvcore_macs == explained)[~rounded].all()
    assert abs(rows.fvcore_macs / explained - 1)[rounded].max() < 1e-5


def test_the_document_holds_the_golden_counts() -> None:
    text = DOCUMENT.read_text()
    missing = [f"{name} {row.macs:,}" for (_, name), row in ROWS.iterrows() if f"| {name} |" not in text or f"| {row.macs:,} |" not in text]
    assert missing == []
