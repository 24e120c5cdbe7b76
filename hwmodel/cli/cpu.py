"""The command `hwmodel measure-cpu`."""

from pathlib import Path
from typing import Annotated

import typer
import yaml

from ..console import human
from ..cpu import build_kernel, measure_cpu, measured_profile, numpy_kernel
from ..errors import InputError
from ..files import write_text
from ..views import to_json
from .options import check_new_profile


def measure_cpu_command(
    shape: Annotated[str, typer.Option(metavar="ROWS,COLUMNS,REDUCTION", help="Shape of the matrix product.")] = "32,32,4096",
    kernel: Annotated[str, typer.Option(help="c (AVX-512, AVX2 or scalar, whatever the machine has) or numpy.")] = "c",
    out: Annotated[Path | None, typer.Option(help="Profile of this machine to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with all pairs of widths.")] = False,
) -> None:
    """Time a bit-serial matrix product on this processor at all widths from 1 to 8 bits: does time follow their product?"""
    if out is not None:
        check_new_profile(out)
    if kernel not in ("c", "numpy"):
        raise InputError(f"--kernel is {kernel!r}; it must be c or numpy")
    parts = shape.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"--shape is {shape!r}; it must be three sizes such as 32,32,4096")
    rows, columns, reduction = (int(part) for part in parts)
    found = measure_cpu((rows, columns, reduction), kernel=numpy_kernel if kernel == "numpy" else build_kernel())
    if out is not None:
        write_text(out, yaml.safe_dump(measured_profile(found, out.stem), sort_keys=False, width=140))
    if as_json:
        fit = {name: getattr(found, name) for name in ("seconds_per_bit_product", "fixed_seconds", "fit_percent", "r_squared")}
        print(to_json({"kernel": found.kernel, "shape": found.shape, **fit, "pairs": found.rows.to_dict("records")}))
        return
    print(found.rows.pivot(index="activation_bits", columns="weight_bits", values="seconds").map(lambda s: f"{1e6 * s:.1f}").to_string())
    print(
        f"µs by activation (rows) and weight bits, {found.kernel}, {shape.replace(',', ' x ')}\n"
        f"time = {1e6 * found.seconds_per_bit_product:.4g} µs x a w + {1e6 * found.fixed_seconds:.4g} µs: "
        f"mean error {found.fit_percent:.1f} %, R2 {found.r_squared:.4f}; {human(found.bit_operations_per_second, 'bit op/s')}"
    )
    if out is not None:
        print(f"wrote {out}")
