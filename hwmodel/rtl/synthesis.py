"""From Verilog to a mapped netlist with yosys (pyosys, extra `rtl`), each run in a process of its own.

The generic flow of `synth` runs SAT sweeping, which takes minutes on multipliers wider than 16 x 16 bits; so mapping is left to a
light script of ABC (+4 % area on an 8 x 8 multiplier). Multipliers are built twice, plain and Booth, and the smaller is
kept. An array is mapped instance by instance and flattened at the end, so each cell tells which component it belongs to.
"""

import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from ..errors import InputError
from .liberty import Library
from .netlist import Netlist, read_netlist

ABC_SCRIPT = "strash;dc2;balance;dc2;balance;amap,-m;topo;buffer,-c;stime,-p"
SECONDS = 600


def tool_version() -> str:
    """Return name and version of the synthesis tool; InputError says how to install it when it is missing."""
    if importlib.util.find_spec("pyosys") is None:
        raise InputError("synthesis needs pyosys, which is not installed; run: pip install 'djpq[rtl]'")
    return f"pyosys {importlib.metadata.version('pyosys')}"


@lru_cache(maxsize=256)
def synthesize(top: str, verilog: str, library: Library, *, by_instance: bool = False) -> Netlist:
    """Return the smallest netlist of a module that the flow finds; `by_instance` maps every instance by itself. **Errors**: InputError with the tool's last words when it fails."""
    tool_version()
    flows = (False, True) if "*" in verilog else (False,)
    return min((_run(top, verilog, library, booth, by_instance) for booth in flows), key=lambda netlist: netlist.area)


def _run(top: str, verilog: str, library: Library, booth: bool, by_instance: bool) -> Netlist:
    with tempfile.TemporaryDirectory() as folder:
        source, cells, out = Path(folder, "source.v"), Path(folder, "cells.lib"), Path(folder, "netlist.json")
        source.write_text(verilog, encoding="utf-8")
        cells.write_text(library.text, encoding="utf-8")
        mapping = [f"dfflibmap -liberty {cells}", f"abc -liberty {cells} -script +{ABC_SCRIPT}"]
        commands = [
            f"read_verilog {source}",
            f"synth -noabc -top {top}{' -booth' if booth else ''}",
            *([*mapping, "flatten"] if by_instance else ["flatten", "opt -full", *mapping]),
            "opt_clean -purge",
            f"write_json {out}",
        ]
        process = [sys.executable, str(Path(__file__).with_name("yosys_process.py")), "\n".join(commands)]
        try:
            done = subprocess.run(process, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise InputError(f"synthesis of {top} took longer than {SECONDS} s; take narrower operands or fewer lanes") from error
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise InputError(f"synthesis of {top} failed: {' '.join(last)}")
        module = json.loads(out.read_text(encoding="utf-8"))["modules"][top]
    delays = re.findall(r"Delay\s*=\s*([\d.]+)\s*ps", done.stdout)
    return read_netlist(module, top, library, max(map(float, delays), default=None))
