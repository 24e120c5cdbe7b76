"""Hardware-cost simulator: bit operations, memory, cycles and energy of a compressed network on a machine, differentiable."""

from . import zoo
from .accelerator import Accelerator, Execution
from .comparison import Priced, price
from .compression import Compression, full_precision, uniform
from .cost import Cost, LayerCost, bops, macs, simulate
from .efficiency import Efficiency, achieved, area_mm2, peak
from .errors import InputError
from .network import ChannelGroup, Coverage, Layer, Network
from .operators import register
from .profile import available, load_accelerator
from .report import table
from .trace import UnsupportedOperator, trace
from .validate import Validation, validate
from .work import Work, work

__all__ = [
    "Accelerator", "ChannelGroup", "Compression", "Cost", "Coverage", "Efficiency", "Execution", "InputError", "Layer", "LayerCost", "Network",
    "Priced", "UnsupportedOperator", "Validation", "Work", "achieved", "area_mm2", "available", "bops", "full_precision", "load_accelerator", "macs", "peak", "price", "register", "simulate",
    "table", "trace", "uniform", "validate", "work", "zoo",
]  # fmt: skip
