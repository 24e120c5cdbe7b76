"""Area, peak and achieved efficiency: TOPS, TOPS/W and TOPS/mm2, one operation being half a MAC.

The peak is that of a layer of the machine's own making: very many filters, products and positions, with no limit from memory. Its
energy is the array's alone, or the device's where nothing else is known. What is achieved counts everything in a `Cost`.
"""

from dataclasses import dataclass
from typing import Any

import torch

from .accelerator import Accelerator
from .cost import Cost
from .work import Work

WHOLE = 80640.0  # 2^8 3^2 5 7: filters, products and positions that fill the arrays of common sizes without padding
OPERATIONS = 2.0  # in a MAC


@dataclass(frozen=True)
class Efficiency:
    """Throughput, and what it takes of power and area; NaN where the profile gives no area or no energy."""

    tops: float
    tops_per_watt: float
    tops_per_mm2: float


def area_mm2(machine: Accelerator) -> dict[str, float]:
    """Return the area of `array` and `buffers` in mm2, NaN where the profile does not give it."""
    found = {"array": getattr(machine, "array_mm2", 0.0), "buffers": getattr(getattr(machine, "memory", None), "buffer_mm2", 0.0)}
    return {name: float(value) or float("nan") for name, value in found.items()}


def peak(machine: Accelerator, weight_bits: float, input_bits: float) -> Efficiency:
    """Return what the array does at the given widths when nothing keeps it waiting; per mm2 of the array."""
    work = _whole_work(weight_bits, input_bits)
    run = machine.execute(work)
    cycles = run.compute_cycles.item()
    picojoules = run.energy_pj.get("compute", run.energy_pj.get("device", torch.tensor(torch.nan))).item()
    return _efficiency(work.macs.item(), cycles, picojoules, machine.clock_mhz, area_mm2(machine)["array"])


def achieved(cost: Cost, machine: Accelerator) -> Efficiency:
    """Return what a network gets of a machine, memory and padding included; per mm2 of array and buffers."""
    area = area_mm2(machine)
    return _efficiency(cost.macs.item(), cost.cycles.item(), cost.energy_pj.item(), machine.clock_mhz, area["array"] + area["buffers"])


def _efficiency(macs: float, cycles: float, picojoules: float, clock_mhz: Any, area: float) -> Efficiency:
    operations = OPERATIONS * macs
    tops = operations / cycles * float(clock_mhz) * 1e-6 if cycles else 0.0
    return Efficiency(tops, operations / picojoules if picojoules else float("nan"), tops / area)


def _whole_work(weight_bits: float, input_bits: float) -> Work:
    one = torch.ones(1, dtype=torch.float64)
    return Work(
        groups=one,
        filters=one * WHOLE,
        reduction=one * WHOLE,
        kernel=one,
        positions=one * WHOLE,
        input_elements=one * WHOLE**2,
        weight_elements=one * WHOLE**2,
        output_elements=one * WHOLE**2,
        input_bits=one * input_bits,
        weight_bits=one * weight_bits,
        output_bits=one * input_bits,
        fused_read_bits=one * 0,
        steps=one,
    )
