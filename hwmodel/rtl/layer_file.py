"""A quantized convolution or linear layer from a file: JSON with its geometry and widths, and integers beside it as safetensors.

layer.json         {"weight_bits", "activation_bits", "signed_activations", "kernel_size", "stride", "padding", …}
layer.safetensors  weights [filters, channels, *kernel], activations [images, channels, *size], as integers
"""

from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ..errors import InputError
from .array import IntegerLayer
from .planes import WORD, Integers


class LayerSpec(BaseModel):
    """The JSON part; keys beyond these describe where the layer comes from."""

    model_config = ConfigDict(extra="allow", frozen=True)
    weight_bits: int = Field(ge=1, le=8)
    activation_bits: int = Field(ge=1, le=8)
    signed_activations: bool
    kernel_size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)


def read_layer(path: Path, images: int = WORD) -> IntegerLayer:
    """Return a layer with the first images of a file; kernel positions outside, channels inside.

    **Errors**: InputError names the file and what is wrong with it.
    """
    tensors = path.with_suffix(".safetensors")
    try:
        spec = LayerSpec.model_validate_json(path.read_bytes())
        content = load_file(tensors)
        weights, activations = (content[name].astype(np.int64) for name in ("weights", "activations"))
    except FileNotFoundError as error:
        raise InputError(f"no layer at {error.filename}; it is a JSON file with a .safetensors beside it") from error
    except ValidationError as error:
        problem = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, problem['loc']))}: {problem['msg'][0].lower()}{problem['msg'][1:]}") from error
    except (KeyError, SafetensorError) as error:
        raise InputError(f"{tensors}: it must hold the integer tensors weights and activations, {error}") from error
    if len(activations) < images:
        raise InputError(f"{tensors}: it holds {len(activations)} images; {images} are needed")
    activations = activations[:images].reshape(images, activations.shape[1], -1, activations.shape[-1] if activations.ndim > 2 else 1)
    return IntegerLayer(
        weights=weights.reshape(len(weights), weights.shape[1], -1).transpose(0, 2, 1).reshape(len(weights), -1),
        windows=unfold(activations, spec.kernel_size, spec.stride, spec.padding),
        kernel=spec.kernel_size[0] * spec.kernel_size[1],
        weight_bits=spec.weight_bits, activation_bits=spec.activation_bits, signed_activations=spec.signed_activations,
    )  # fmt: skip


def unfold(images: Integers, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> Integers:
    """Return the windows of a convolution: [images, channels, height, width] → [images, kernel x channels, positions]."""
    around = np.pad(images, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    windows = sliding_window_view(around, kernel, axis=(2, 3))[:, :, :: stride[0], :: stride[1]]
    count, channels, rows, columns = windows.shape[:4]
    return windows.transpose(0, 4, 5, 1, 2, 3).reshape(count, kernel[0] * kernel[1] * channels, rows * columns)
