"""The ONNX form of each operator and module of a pruned graph, one rule each. Source: ONNX operator schemas, opset 21."""

from . import elementwise, modules, products, views, windows
from .common import RULES

__all__ = ["RULES", "modules", "products", "elementwise", "windows", "views"]
