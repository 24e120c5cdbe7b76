"""Time of the bit-serial product against `a x w`, and the `measured` profile of this machine that follows.

`seconds = per_bit_product x a w + fixed`, for one shape; the fixed part is what an output costs whatever its widths (sums, signs, stores),
so it weighs more where the reduction is short. Packing bits into planes is not timed. Best of several runs, one thread.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError
from .gemm import WORD, Kernel, build_kernel, pack

WIDTHS = tuple(range(1, 9))
RATE_WIDTHS = (2, 4, 8)
SECONDS_A_PAIR, FEWEST_RUNS = 0.02, 5


@dataclass(frozen=True, eq=False)
class CpuMeasurement:
    """What was timed: `rows` with `activation_bits, weight_bits, seconds`, and the fit over all pairs of widths."""

    kernel: str
    shape: tuple[int, int, int]
    rows: pd.DataFrame
    seconds_per_bit_product: float
    fixed_seconds: float
    fit_percent: float
    r_squared: float

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one product."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def bit_operations_per_second(self) -> float:
        """Throughput of one-bit products, the fixed part left out."""
        return self.macs / self.seconds_per_bit_product


def measure_cpu(
    shape: tuple[int, int, int] = (32, 32, 4096), *, kernel: Kernel | None = None, widths: Sequence[int] = WIDTHS, seed: int = 0
) -> CpuMeasurement:
    """Return times of all pairs of widths for rows x columns x reduction; every product is checked against integers.

    **Errors**: InputError for a reduction that does not fill words, and when a product is wrong.
    """
    rows, columns, reduction = shape
    if min(shape) < 1 or reduction % WORD:
        raise InputError(f"shape is {rows} x {columns} x {reduction}; all must be positive and the reduction a multiple of {WORD}")
    kernel, draw = kernel or build_kernel(), np.random.default_rng(seed)
    found = []
    for a_bits in widths:
        for w_bits in widths:
            a, w = (
                draw.integers(-(1 << bits - 1), 1 << bits - 1, (count, reduction)) for bits, count in ((a_bits, rows), (w_bits, columns))
            )
            packed = pack(a, a_bits), pack(w, w_bits)
            if not (kernel.multiply(*packed) == a @ w.T).all():
                raise InputError(f"kernel {kernel.name} computes {a_bits} x {w_bits} bits wrongly on this machine")
            found.append({"activation_bits": a_bits, "weight_bits": w_bits, "seconds": _best(kernel, packed)})
    frame = pd.DataFrame(found)
    products, seconds = (frame["activation_bits"] * frame["weight_bits"]).to_numpy(float), frame["seconds"].to_numpy()
    features = np.column_stack([products, np.ones_like(products)])
    constants, *_ = np.linalg.lstsq(features / seconds[:, None], np.ones_like(seconds), rcond=None)
    predicted = features @ constants
    spread = ((seconds - seconds.mean()) ** 2).sum()
    return CpuMeasurement(
        kernel.name, shape, frame, float(constants[0]), float(constants[1]), float(100 * np.abs(predicted / seconds - 1).mean()),
        float(1 - ((predicted - seconds) ** 2).sum() / spread),
    )  # fmt: skip


def _best(kernel: Kernel, packed: tuple[np.ndarray, np.ndarray]) -> float:
    best, runs, end = float("inf"), 0, time.perf_counter() + SECONDS_A_PAIR
    while runs < FEWEST_RUNS or time.perf_counter() < end:
        start = time.perf_counter()
        kernel.multiply(*packed)
        best, runs = min(best, time.perf_counter() - start), runs + 1
    return best


def clock_mhz() -> float:
    """Return the highest clock that the system reports, 1000 where it reports none: rates are then MACs a nanosecond."""
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
    if path.is_file():
        return float(path.read_text()) / 1e3
    info = Path("/proc/cpuinfo")
    clocks = [float(line.split(":")[1]) for line in info.read_text().splitlines() if line.startswith("cpu MHz")] if info.is_file() else []
    return max(clocks, default=1000.0)


def measured_profile(measured: CpuMeasurement, name: str) -> dict[str, object]:
    """Return a `measured` profile of this machine as YAML content; its power is unknown, so its energy is 0."""
    times = measured.rows.set_index(["activation_bits", "weight_bits"])["seconds"]
    clock = clock_mhz()
    source = f"hwmodel measure-cpu: {measured.kernel}, {' x '.join(map(str, measured.shape))}, one thread, packing not timed"
    numbers: dict[str, object] = {
        "clock_mhz": {"value": clock, "unit": "MHz", "confidence": "derived", "source": "clock that the system reports"},
        "device_mw": {"value": 0.0, "unit": "mW", "confidence": "assumption", "source": "power was not measured; energies are 0"},
        "container_bits": {
            "value": 1.0,
            "unit": "bit",
            "confidence": "derived",
            "source": "bit planes; doubled widths of operands in between",
        },
    }
    for inputs in RATE_WIDTHS:
        for weights in RATE_WIDTHS:
            rate = measured.macs / times[inputs, weights] / (clock * 1e6)
            numbers[f"rate_{inputs}x{weights}"] = {"value": float(rate), "unit": "MAC/cycle", "confidence": "derived", "source": source}
    description = f"This machine's processor by a bit-serial product with {measured.kernel}: time alone, no energy"
    return {"name": name, "family": "measured", "description": description, "numbers": numbers}
