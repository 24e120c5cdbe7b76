"""From a file to a checked ONNX graph: initializers as arrays (external data mapped, not read), input shapes without free axes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, nearest

try:
    import onnx
except ImportError:  # the extra is not installed; `read_model` says so
    onnx = None  # type: ignore[assignment]


def read_model(path: Path) -> Any:
    """Return the ModelProto of a file, its external data not yet read. **Errors**: InputError when it cannot be read as ONNX."""
    if onnx is None:
        raise InputError(f"cannot read {path}: ONNX files need the extra 'onnx'; pip install 'djpq[onnx]'")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise InputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
    except Exception:  # protobuf's DecodeError is not exported under one name by its versions
        raise InputError(f"cannot read {path}: it is truncated or not an ONNX file") from None
    if not model.graph.node:
        raise InputError(f"cannot read {path}: it is truncated or not an ONNX file (no nodes)")
    return model


def array(initializer: Any, folder: Path) -> np.ndarray:
    """Return the values of an initializer, writable; external data are mapped copy-on-write, so only what is used is read."""
    external = {entry.key: entry.value for entry in initializer.external_data}
    if initializer.data_location != onnx.TensorProto.EXTERNAL:
        found = onnx.numpy_helper.to_array(initializer)
    else:
        path = (folder / external["location"]).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise InputError(f"external data of {initializer.name} lie at {external['location']}, outside the model's folder {folder}")
        if not path.is_file():
            raise InputError(f"external data of {initializer.name} are missing: there is no file {path}")
        dtype, shape = onnx.helper.tensor_dtype_to_np_dtype(initializer.data_type), tuple(initializer.dims)
        offset = int(external.get("offset", 0))
        if "int4" in dtype.name or 0 in shape:
            initializer = onnx.TensorProto.FromString(initializer.SerializeToString())
            onnx.external_data_helper.load_external_data_for_tensor(initializer, str(folder))
            found = onnx.numpy_helper.to_array(initializer)
        elif path.stat().st_size < offset + dtype.itemsize * int(np.prod(shape)):
            raise InputError(f"external data of {initializer.name} are truncated: {path} ends before byte {offset} + {shape}")
        else:
            found = np.memmap(path, dtype, "c", offset, shape)
    if found.dtype.name in ("int4", "uint4", "int2", "uint2"):
        found = found.astype(np.uint8 if found.dtype.name.startswith("u") else np.int8)
    return found if found.flags.writeable else found.copy()


def input_shapes(
    model: Any, axes: Mapping[str, int] | None, given: Mapping[str, Sequence[int]] | None
) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return shape and type of every input. **Errors**: InputError for a free axis that `axes` does not size, or a name in vain."""
    axes, given = dict(axes or {}), dict(given or {})
    stored = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    free: list[str] = []
    shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    known: set[str] = set()
    for value in inputs:
        kind, sizes = value.type.tensor_type, []
        for i, dim in enumerate(kind.shape.dim):
            name = dim.dim_param or f"{value.name}.{i}"
            if dim.dim_value > 0:
                sizes.append(dim.dim_value)
                continue
            known.add(name)
            if name not in axes and value.name not in given:
                free.append(name)
            sizes.append(int(axes.get(name, 1)))
        shape = tuple(given[value.name]) if value.name in given else tuple(sizes)
        fixed = [dim.dim_value for dim in kind.shape.dim]
        if len(shape) != len(fixed) or any(size and size != wanted for size, wanted in zip(fixed, shape, strict=True)):
            raise InputError(f"input {value.name} is given shape {shape}; the file wants {tuple(size or 'any' for size in fixed)}")
        shapes[value.name] = (shape, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    for name in given:
        if name not in shapes:
            raise InputError(f"no input is named {name!r}; the inputs are {', '.join(shapes)}{nearest(name, shapes)}")
    if free:
        names = list(dict.fromkeys(free))
        raise InputError(f"axes {', '.join(names)} have no size; give them, such as {' '.join(f'--axes {name}=1' for name in names)}")
    for name, size in axes.items():
        if name not in known:
            listed = ", ".join(sorted(known)) or "none, all sizes are fixed"
            raise InputError(f"no free axis is named {name!r}; the free axes are: {listed}{nearest(name, known)}")
        if size < 1:
            raise InputError(f"axis {name} is {size}; it must be 1 or more")
    return shapes


def attributes(node: Any) -> dict[str, Any]:
    """Return a node's attributes as plain values; a tensor becomes an array. `outputs` is their number."""
    found: dict[str, Any] = {"outputs": len(node.output)}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode()
        elif isinstance(value, onnx.TensorProto):
            value = onnx.numpy_helper.to_array(value)
        found[attribute.name] = list(value) if attribute.type == onnx.AttributeProto.INTS else value
    return found
