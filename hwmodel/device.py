"""Whole devices known by measurement: time and energy of an inference are affine in its MACs, at one precision.

    time = fixed + marginal x MACs,    energy = fixed + marginal x MACs

Two lines that are measured apart: the power of a device is not constant, so energy is not power times time. The fixed part is what
an inference takes however small the network is (a call, a transfer, a start of kernels); it is paid once an inference, in equal
shares by the rows that compute. Energy is dynamic: the idle power is subtracted, the software is included; `idle_pj` is what was
subtracted. It is another quantity than the silicon-only estimates of other families, hence the component `device`. A narrower width
changes neither: a device runs the precision that it was measured at, and operands beyond its word take several passes. Marginal numbers hold overheads of small kernels and are no limits of the silicon.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .accelerator import Execution, Granule, check_numbers, number, word_passes
from .numeric import Number
from .work import Work

MICROJOULE = 1e6  # pJ
PER_MICROSECOND = 1e-6  # ps in a microsecond, inverted


@dataclass(frozen=True, eq=False)
class Device:
    """A device by four measured numbers and its idle power. Its cycles are microseconds: the `clock_mhz` is 1 by definition."""

    name: str
    idle_w: Number = number("W", 0, 1e5)
    fixed_us: Number = number("us", 0, 1e9)
    ps_per_mac: Number = number("ps/MAC", 1e-9, 1e9)
    fixed_uj: Number = number("uJ", 0, 1e12)
    pj_per_mac: Number = number("pJ/MAC", 1e-9, 1e12)
    word_bits: Number = number("bit", 1, 64, default=32)

    def __post_init__(self) -> None:
        check_numbers(self)

    @property
    def clock_mhz(self) -> float:
        """One cycle is one microsecond."""
        return 1.0

    def granule(self, work: Work) -> Granule:
        """Return what one pass takes: nothing is padded in this model."""
        one = torch.ones_like(work.macs)
        return Granule(one, one, one)

    def idle_pj(self, cycles: Tensor) -> Tensor:
        """Return what the device would have drawn idle in that time; `device` energy does not hold it."""
        return cycles * self.idle_w * MICROJOULE

    def execute(self, work: Work) -> Execution:
        """Return time and dynamic energy of every row. **Units**: cycles are microseconds; the fixed time stands in `exposed_cycles`."""
        computes = (work.macs > 0).double()
        share = computes / computes.sum(-1, keepdim=True).clamp(min=1)
        products = work.macs * word_passes(work, self.word_bits)
        marginal_us, fixed_us = products * (self.ps_per_mac * PER_MICROSECOND), share * self.fixed_us
        nothing = torch.zeros_like(marginal_us)
        return Execution(
            cycles=marginal_us + fixed_us,
            compute_cycles=marginal_us,
            on_chip_cycles=nothing,
            dram_cycles=nothing,
            exposed_cycles=fixed_us,
            energy_pj={"device": products * self.pj_per_mac + share * (self.fixed_uj * MICROJOULE)},
            traffic_bits={},
            stored_weight_bits=work.weight_bits,
            stored_output_bits=work.output_bits,
        )
