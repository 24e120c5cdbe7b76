"""Weights at their widths, bit after bit: a file as large as the footprint that was reported, and a header of stated size.

8 bytes   "djpqpack"
8 bytes   length of the JSON, little endian
32 bytes  SHA-256 of the JSON and the payload
…         JSON: name, shape, bits and steps of every weight, in order
…         payload: integers in two's complement, least significant bit first, no gap between weights; the last byte is filled with 0
"""

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwmodel.errors import InputError
from hwmodel.files import whole

from ..weights import WeightGrid
from .onnx_file import Exportable

MAGIC, FIXED_BYTES = b"djpqpack", 8 + 8 + 32


@dataclass(frozen=True)
class Packed:
    """What a file of packed weights takes: its size is `header_bytes + ceil(stored_bits / 8)`."""

    path: Path
    header_bytes: int
    stored_bits: int

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return self.header_bytes + -(-self.stored_bits // 8)

    def __str__(self) -> str:
        return f"{self.path}: {self.file_bytes} bytes = {self.stored_bits} bits of weights + a header of {self.header_bytes} bytes"


def bits_of(integers: Tensor, bits: int) -> NDArray[np.uint8]:
    """Return the bits of integers, least significant first [count x bits]."""
    values = integers.flatten().to(torch.int64).numpy() & ((1 << bits) - 1)
    return ((values[:, None] >> np.arange(bits)) & 1).astype(np.uint8).ravel()


def integers_of_bits(stream: NDArray[np.uint8], bits: int) -> NDArray[np.int64]:
    """Return the integers of a stretch of bits."""
    places = stream.reshape(-1, bits).astype(np.int64)
    values = (places << np.arange(bits)).sum(1)
    return np.where(places[:, -1] == 1, values - (1 << bits), values)


def pack_weights(finished: Exportable, path: str | Path) -> Packed:
    """Write the weights of a finished model; biases, normalisation and the steps of activations are in the other formats."""
    path, streams, entries = Path(path), [], []
    for name, grid in finished.grids.items():
        weight = finished.model.get_parameter(name)
        streams.append(bits_of(grid.integers(weight), grid.bits))
        steps = {"step": grid.step.flatten().tolist(), "step_shape": list(grid.step.shape)}
        entries.append({"name": name, "shape": list(weight.shape), "bits": grid.bits, **steps})
    stream = np.concatenate(streams) if streams else np.zeros(0, np.uint8)
    text = json.dumps({"format": 1, "weights": entries}).encode()
    payload = np.packbits(stream, bitorder="little").tobytes()
    digest = hashlib.sha256(text + payload).digest()
    with whole(path) as partial:
        partial.write_bytes(MAGIC + struct.pack("<Q", len(text)) + digest + text + payload)
    return Packed(path, FIXED_BYTES + len(text), len(stream))


def unpack_weights(path: str | Path) -> dict[str, tuple[Tensor, WeightGrid]]:
    """Return the integers and grid of every weight. **Errors**: InputError for a file that is cut off, changed or something else."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if content[:8] != MAGIC or len(content) < FIXED_BYTES:
        raise InputError(f"{path}: no packed weights of djpq")
    length = struct.unpack("<Q", content[8:16])[0]
    text, payload = content[FIXED_BYTES : FIXED_BYTES + length], content[FIXED_BYTES + length :]
    if hashlib.sha256(text + payload).digest() != content[16:48]:
        raise InputError(f"{path}: {len(content)} bytes that are cut off or changed (the checksum does not fit); export it again")
    found: dict[str, tuple[Tensor, WeightGrid]] = {}
    entries: list[dict[str, Any]] = json.loads(text)["weights"]
    stream, start = np.unpackbits(np.frombuffer(payload, np.uint8), bitorder="little"), 0
    for entry in entries:
        count = int(np.prod(entry["shape"])) * entry["bits"]
        values = integers_of_bits(stream[start : start + count], entry["bits"]).reshape(entry["shape"])
        step = torch.tensor(entry["step"], dtype=torch.float32).reshape(entry["step_shape"])
        found[entry["name"]] = torch.from_numpy(values), WeightGrid(step, entry["bits"])
        start += count
    return found
