"""ONNX files: `load_onnx` turns one into a torch module, which `hwmodel.trace` prices like any other, and reads its widths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..compression import Compression
from ..network import Network
from ..trace import trace
from .build import build
from .module import OnnxModule, examples
from .patterns import join
from .reading import input_shapes, read_model
from .widths import compression_of


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """What a file holds: the network, the widths that its quantizers set, and a module that computes it.

    `inputs` are zeros of the shapes that it was read for; `quantized` says whether the file sets any width.
    """

    network: Network
    compression: Compression
    module: OnnxModule
    inputs: tuple[Tensor, ...]

    @property
    def quantized(self) -> bool:
        """Whether the file sets any width."""
        return bool(self.module.weight_bits or self.module.quantizers)


def load_module(
    path: str | Path,
    axes: Mapping[str, int] | None = None,
    input_shapes_by_name: Mapping[str, Sequence[int]] | None = None,
    *,
    fake_quantize: bool = False,
) -> tuple[OnnxModule, tuple[Tensor, ...]]:
    """Return a file as a torch module in eval mode, and zeros to run it with."""
    path = Path(path)
    model = read_model(path)
    shapes = input_shapes(model, axes, input_shapes_by_name)
    steps = join(build(model, path.parent, shapes))
    return OnnxModule(steps, fake_quantize=fake_quantize).eval(), examples(shapes)


def load_onnx(
    path: str | Path,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    axes: Mapping[str, int] | None = None,
    input_bits: float = 8,
    on_unknown: str = "raise",
) -> OnnxModel:
    """Read a network and its widths from an ONNX file.

    `axes` sizes free axes by name (`{"batch": 1}`; one without a name is `input.axis`), `input_shapes` whole inputs. What no
    quantizer rounds counts as 32 bit, an input as `input_bits`. The module computes with the weights on their grids and leaves
    activations unrounded, as `djpq.attach` wants it; `load_module(path, fake_quantize=True)` rounds them too.
    **Errors**: InputError when the file cannot be read, an axis has no size or an operator no rule.
    """
    module, inputs = load_module(path, axes, input_shapes)
    network = trace(module, inputs, on_unknown=on_unknown)
    return OnnxModel(network, compression_of(module, network, inputs, input_bits), module, inputs)


def from_onnx(
    path: str | Path,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    axes: Mapping[str, int] | None = None,
    on_unknown: str = "raise",
) -> Network:
    """Return the network in an ONNX file; see `load_onnx`."""
    return load_onnx(path, input_shapes, axes=axes, on_unknown=on_unknown).network


__all__ = ["OnnxModel", "OnnxModule", "from_onnx", "load_module", "load_onnx"]
