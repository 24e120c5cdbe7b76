"""The bit-serial product on this processor: exact at all widths by every kernel that builds here, and a profile from its times."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hwmodel import InputError, load_accelerator
from hwmodel.cli import app
from hwmodel.cpu import CpuMeasurement, Kernel, build_kernel, measure_cpu, measured_profile, numpy_kernel
from hwmodel.cpu.gemm import pack

KERNELS = {
    "native": build_kernel(),
    "scalar": build_kernel(("-mno-avx2", "-mpopcnt")),
    "avx2": build_kernel(("-mavx2",)),
    "numpy": numpy_kernel,
}


@pytest.mark.parametrize("which", KERNELS)
@given(
    a_bits=st.integers(1, 8), w_bits=st.integers(1, 8), rows=st.integers(1, 5), columns=st.integers(1, 5), words=st.integers(1, 19),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_products_equal_integers(which: str, a_bits: int, w_bits: int, rows: int, columns: int, words: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    a, w = (draw.integers(-(1 << b - 1), 1 << b - 1, (count, 64 * words)) for b, count in ((a_bits, rows), (w_bits, columns)))
    assert (KERNELS[which].multiply(pack(a, a_bits), pack(w, w_bits)) == a @ w.T).all()


def test_without_a_compiler_numpy_takes_over() -> None:
    assert build_kernel(compiler="/nonexistent/cc") is numpy_kernel
    assert build_kernel(("-not-an-option",)) is numpy_kernel


def test_a_measurement_covers_all_pairs() -> None:
    found = measure_cpu((4, 4, 256), kernel=numpy_kernel, widths=(1, 2, 4))
    assert len(found.rows) == 9
    assert (found.rows["seconds"] > 0).all()
    assert found.macs == 4096


def test_a_kernel_that_computes_wrongly_is_refused() -> None:
    wrong = Kernel("wrong", lambda a, w: numpy_kernel.multiply(a, w) + 1)
    with pytest.raises(InputError, match="kernel wrong computes 1 x 1 bits wrongly"):
        measure_cpu((2, 2, 64), kernel=wrong)


@pytest.mark.parametrize("shape", [(4, 4, 100), (0, 4, 64)])
def test_shapes_that_do_not_pack_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="the reduction a multiple of 64"):
        measure_cpu(shape)


def made() -> CpuMeasurement:
    rows = [{"activation_bits": a, "weight_bits": w, "seconds": 1e-6 * a * w + 2e-6} for a in range(1, 9) for w in range(1, 9)]
    return CpuMeasurement("made", (10, 10, 640), pd.DataFrame(rows), 1e-6, 2e-6, 0.0, 1.0)


def test_the_profile_gives_the_times_back(tmp_path: Path, work_of) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(measured_profile(made(), "mine")))
    machine: Any = load_accelerator(str(path))
    for a, w in ((2, 2), (4, 8), (8, 8)):
        work = work_of(filters=10, reduction=640, positions=10, weight_bits=w, input_bits=a)
        seconds = machine.execute(work).cycles.item() / (machine.clock_mhz * 1e6)
        assert seconds == pytest.approx(1e-6 * a * w + 2e-6, rel=1e-9)


def test_the_command_prints_a_fit_and_writes_a_profile(tmp_path: Path) -> None:
    out = tmp_path / "here.yaml"
    result = CliRunner().invoke(app, ["measure-cpu", "--shape", "8,8,512", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "time = " in result.stdout
    assert load_accelerator(str(out)).name == "here"
    found = json.loads(CliRunner().invoke(app, ["measure-cpu", "--shape", "4,4,64", "--kernel", "numpy", "--json"]).stdout)
    assert len(found["pairs"]) == 64
    for arguments, message in ((["--shape", "3"], "--shape is '3'"), (["--kernel", "gpu"], "--kernel is 'gpu'")):
        assert message in str(CliRunner().invoke(app, ["measure-cpu", *arguments]).exception)
