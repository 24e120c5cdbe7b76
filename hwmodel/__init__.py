"""Hardware-cost simulator: bit operations, memory, cycles and energy of a compressed network on a machine, differentiable."""

from . import zoo
from .accelerator import Accelerator, Execution
from .comparison import Priced, price
from .compression import Compression, full_precision, uniform
from .cost import Cost, bops, macs, simulate
from .efficiency import Efficiency, achieved, area_mm2, peak
from .errors import InputError
from .layer import ChannelGroup, Coverage, Layer
from .layer_cost import LayerCost
from .network import Network
from .onnx_import import OnnxModel, from_onnx, load_onnx
from .operators import register
from .profile import available, load_accelerator
from .report import table
from .requantization import Requantizer, requantization_cost, requantizations, requantizer, requantizers
from .trace import UnsupportedOperator, trace
from .validate import Validation, validate
from .work import Work, work

__all__ = [
    "Accelerator", "ChannelGroup", "Compression", "Cost", "Coverage", "Efficiency", "Execution", "InputError", "Layer", "LayerCost", "Network",
    "OnnxModel", "Priced", "Requantizer", "UnsupportedOperator", "Validation", "Work", "achieved", "area_mm2", "available", "bops", "from_onnx", "full_precision",
    "load_accelerator", "load_onnx", "macs", "peak", "price", "register", "requantization_cost", "requantizations",
    "requantizer", "requantizers", "simulate", "table", "trace", "uniform", "validate", "work", "zoo",
]  # fmt: skip
