"""A small array of units with its sequencer as one netlist, which runs whole quantized layers image by image, 64 images at once.

`filters` x `windows` elements share weights along the windows and activations along the filters. The elements are mapped by themselves,
so energy is told apart by component: `array` (all elements) and `sequencer`. Buffers stand outside: they answer the sequencer's
addresses in the same cycle.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..accelerator import Accelerator
from ..errors import InputError
from .netlist import Netlist
from .planes import WORD, Integers, Planes, flag, from_planes, to_planes
from .sequencer import ADDRESSES, LASTS, sequencer
from .simulator import Simulator
from .unit import DotUnit, value_range


@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """A layer as integers: what an integer executor multiplies.

    **Shapes**: weights [filters, kernel x channels], windows [images, kernel x channels, positions], kernel positions outside.
    """

    weights: Integers
    windows: Integers
    kernel: int
    weight_bits: int
    activation_bits: int
    signed_activations: bool

    def __post_init__(self) -> None:
        operands = (
            ("weights", self.weights, self.weight_bits, True),
            ("windows", self.windows, self.activation_bits, self.signed_activations),
        )
        for name, values, bits, signed in operands:
            low, high = value_range(bits, signed)
            if values.size and not low <= values.min() <= values.max() <= high:
                raise InputError(f"{name} are {values.min()} to {values.max()}; {bits} bits hold {low} to {high}")
        if len(self.windows) % WORD or self.weights.shape[1] != self.windows.shape[1] or self.weights.shape[1] % self.kernel:
            raise InputError(
                f"weights are {self.weights.shape}, windows {self.windows.shape}, kernel {self.kernel}: reductions must agree, images fill {WORD}s"
            )

    @property
    def outputs(self) -> Integers:
        """The layer by integer arithmetic: [images, filters, positions]."""
        return np.einsum("fr,irp->ifp", self.weights, self.windows)

    def drawn(self, seed: int, *, uniform: bool, filters: int, kernel: int, channels: int, positions: int) -> "IntegerLayer":
        """Return a random layer of another shape: integers uniform over their range, or as frequent as in this layer."""
        draw, reduction = np.random.default_rng(seed), kernel * channels
        ranges = value_range(self.weight_bits, True), value_range(self.activation_bits, self.signed_activations)
        shapes = (filters, reduction), (len(self.windows), reduction, positions)
        weights, windows = (
            draw.integers(low, high + 1, shape) if uniform else draw.choice(of.reshape(-1), shape)
            for (low, high), of, shape in zip(ranges, (self.weights, self.windows), shapes, strict=True)
        )
        return replace(self, weights=weights, windows=windows, kernel=kernel)


@dataclass(frozen=True)
class SmallArray:
    """`filters` x `windows` elements; units of the families that have no windows (BitFusion, sub-word) stand in one column."""

    unit: DotUnit
    filters: int = 4
    windows: int = 4

    @property
    def top(self) -> str:
        """Name of the Verilog module."""
        return f"array_{self.filters}x{self.windows}_{self.unit.top}"

    def machine(self) -> Accelerator:
        """Return the model of this array."""
        machine: Any = self.unit.machine()
        sizes = {"bit_parallel": {"rows": self.windows, "columns": self.filters, "output_stationary": 1}}
        serial = {"filters": self.filters, "windows": self.windows}
        changed: Any = serial if self.unit.ports.is_serial else sizes.get(self.unit.name, {"columns": self.filters})
        return replace(machine, name=self.top, **changed)  # type: ignore[no-any-return]

    def verilog(self) -> str:
        """Return the array as Verilog."""
        ports = self.unit.ports
        (weight, weight_wide), (activation, activation_wide) = ports.weight, ports.activation
        bits = 32
        control = ["double", "negate"] if ports.is_serial else []
        constants = "".join(f", input [{wide - 1}:0] {name}" for name, (_, wide) in ports.constant.items())
        wired = ["clk", "clear", *control, *ports.constant]
        elements = "\n".join(
            f"  {self.unit.top} element_{f}_{p}({', '.join(f'.{name}({name})' for name in wired)}, "
            f".{weight}(weights[{f * weight_wide} +: {weight_wide}]), .{activation}(activations[{p * activation_wide} +: {activation_wide}]), "
            f".sum(sums[{(f * self.windows + p) * bits} +: {bits}]));"
            for f in range(self.filters)
            for p in range(self.windows)
        )
        lasts = ", ".join(f"input [{wide - 1}:0] {name}" for name, wide in LASTS.items())
        addresses = ", ".join(f"output [{wide - 1}:0] {name}" for name, wide in ADDRESSES.items())
        names = ["clk", "start", "signed_activations", *LASTS, "busy", *ADDRESSES, "clear", "double", "negate", "valid"]
        return f"""{self.unit.verilog()}
{sequencer(ports)}
module {self.top}(input clk, input start, input signed_activations, {lasts}, output busy, {addresses}, output valid{constants},
    input [{self.filters * weight_wide - 1}:0] weights, input [{self.windows * activation_wide - 1}:0] activations,
    output [{self.filters * self.windows * bits - 1}:0] sums);
  wire clear, double, negate;
  sequencer sequencer({", ".join(f".{name}({name})" for name in names)});
{elements}
endmodule
"""


@dataclass(frozen=True, eq=False)
class ArrayRun:
    """What a layer took: outputs [images, filters, positions], cycles that the sequencer was busy, pJ a cycle by component."""

    outputs: Integers
    cycles: int
    energy_pj_per_cycle: Mapping[str, float]


def run_layer(array: SmallArray, netlist: Netlist, layer: IntegerLayer) -> ArrayRun:
    """Return a layer's outputs, its cycles and its energy on an array's netlist. Idle elements are fed zeros."""
    operands = _Operands(array, layer)
    images, words = len(layer.windows), len(layer.windows) // WORD
    simulator = Simulator(netlist, images)
    constant = {port: to_planes(np.full(images, value), bits) for port, (value, bits) in operands.constants().items()}
    outputs = np.zeros((images, array.filters * operands.filter_tiles, array.windows * operands.window_tiles), dtype=np.int64)
    simulator.clock({**constant, "start": flag(True, words)})
    idle, at, cycles = {"start": flag(False, words)}, _address(simulator), 0
    simulator.start_counting()
    while from_planes(simulator.read("busy"), signed=False)[0]:
        simulator.clock({**idle, "weights": operands.weights(at), "activations": operands.activations(at)})
        cycles += 1
        if from_planes(simulator.values[netlist.ports["valid"]], signed=False)[0]:
            sums = simulator.read("sums").reshape(array.filters, array.windows, -1, words)
            for f in range(array.filters):
                for p in range(array.windows):
                    to = at["filter_tile"] * array.filters + f, at["window_tile"] * array.windows + p
                    outputs[:, to[0], to[1]] = from_planes(sums[f, p])
        at = _address(simulator)
    energy = simulator.energy_pj_by_component()
    control = energy.get("sequencer", 0.0) + energy.get("", 0.0)
    elements = sum(value for name, value in energy.items() if name.startswith("element"))
    filters, positions = len(layer.weights), layer.windows.shape[-1]
    return ArrayRun(outputs[:, :filters, :positions], cycles, {"array": elements, "sequencer": control})


def _address(simulator: Simulator) -> dict[str, int]:
    """Return what the sequencer addresses in the coming cycle: the same in every image."""
    return {name: int(from_planes(simulator.read(name), signed=False)[0]) for name in ADDRESSES}


class _Operands:
    """The buffers: a layer's integers laid out in passes, answered as planes."""

    def __init__(self, array: SmallArray, layer: IntegerLayer) -> None:
        self.array, self.layer, self.unit = array, layer, array.unit
        channels, size = layer.weights.shape[1] // layer.kernel, array.unit.products_a_pass
        by_kernel = array.unit.name == "bitfusion"  # kernel positions one by one, channels side by side
        rows = np.arange(layer.weights.shape[1])
        groups = rows.reshape(layer.kernel, channels) if by_kernel else rows[None]
        width = -(-groups.shape[1] // size) * size
        self.passes = np.pad(groups, ((0, 0), (0, width - groups.shape[1])), constant_values=len(rows)).reshape(-1, size)
        images = len(layer.windows)
        self.padded_weights = np.pad(layer.weights, ((0, -len(layer.weights) % array.filters), (0, 1)))
        self.padded_windows = np.pad(layer.windows, ((0, 0), (0, 1), (0, -layer.windows.shape[-1] % array.windows)))
        self.filter_tiles, self.window_tiles = len(self.padded_weights) // array.filters, self.padded_windows.shape[-1] // array.windows
        self.images = images
        self._known: dict[tuple[str, int, int, int], Planes] = {}

    def constants(self) -> dict[str, tuple[int, int]]:
        """Return the inputs that hold for the whole layer: value and bits."""
        ports = self.unit.ports
        lasts = {
            "last_filter_tile": self.filter_tiles - 1,
            "last_window_tile": self.window_tiles - 1,
            "last_pass": len(self.passes) - 1,
            "last_weight_bit": self.unit.weight_bits - 1 if ports.serial_weights else 0,
            "last_activation_bit": self.unit.activation_bits - 1 if ports.serial_activations else 0,
        }
        held = {name: (value, LASTS[name]) for name, value in lasts.items()}
        return {**held, **ports.constant, "signed_activations": (int(self.unit.signed_activations), 1)}

    def weights(self, at: Mapping[str, int]) -> Planes:
        """Return the weights of all rows of elements at an address."""
        return np.concatenate(
            [self._weight(at["filter_tile"] * self.array.filters + f, at["pass"], at["weight_bit"]) for f in range(self.array.filters)]
        )

    def activations(self, at: Mapping[str, int]) -> Planes:
        """Return the activations of all columns of elements at an address."""
        first = at["window_tile"] * self.array.windows
        return np.concatenate([self._activation(first + p, at["pass"], at["activation_bit"]) for p in range(self.array.windows)])

    def _weight(self, row: int, which: int, bit: int) -> Planes:
        key = ("weight", row, which, bit)
        if key not in self._known:
            values = np.repeat(self.padded_weights[row, self.passes[which]][:, None], self.images, axis=1)
            self._known[key] = self.unit.weight_planes(values, bit)
        return self._known[key]

    def _activation(self, column: int, which: int, bit: int) -> Planes:
        key = ("activation", column, which, bit)
        if key not in self._known:
            self._known[key] = self.unit.activation_planes(self.padded_windows[:, self.passes[which], column].T, bit)
        return self._known[key]
