"""The second ground truth: a bit-serial matrix product on the user's own processor, timed against the product of the widths."""

from .gemm import Kernel, build_kernel, numpy_kernel
from .measurement import CpuMeasurement, measure_cpu, measured_profile

__all__ = ["CpuMeasurement", "Kernel", "build_kernel", "measure_cpu", "measured_profile", "numpy_kernel"]
