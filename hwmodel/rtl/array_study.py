"""A real layer on a small array of every family: outputs, cycles, and energy beside a profile that was calibrated on random integers.

Calibration runs random layers and turns their energy into the one energy constant of the family and a constant a cycle for the
sequencer. Integers uniform over their range switch more than a network's do (over half of its activations are zero), so the second
calibration draws them as often as they occur in the layer. The third does so on a layer of another shape, all of whose passes are full:
what it is off shows what the family's formula charges for lanes that are fed zeros.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from .array import ArrayRun, IntegerLayer, SmallArray, run_layer
from .liberty import Library
from .netlist import Netlist
from .synthesis import synthesize
from .unit import layer_work
from .units import dot_unit

ARRAYS: Mapping[str, tuple[int, int]] = {  # lanes of an element, windows
    "bit_parallel": (1, 4),
    "stripes": (8, 4),
    "unpu": (8, 4),
    "loom": (16, 4),
    "bitfusion": (4, 1),
    "subword": (4, 1),
}
FILTERS = 4
ENERGY_CONSTANT = {"bit_parallel": "mac_pj", "bitfusion": "unit_pj_per_cycle", "subword": "mac_pj"}  # bit_product_pj else
FULL = {"filters": 8, "kernel": 4, "channels": 32, "positions": 8}  # fills every pass of every array
CALIBRATIONS = ("uniform", "frequencies", "full")


@dataclass(frozen=True)
class ArrayReport:
    """What a layer took on an array. **Units**: energies in pJ of the library for one image, area in NAND2 gates."""

    unit: str
    filters: int
    windows: int
    lanes: int
    area_nand2: float
    mismatches: int
    cycles: int
    model_cycles: int
    array_pj: float
    sequencer_pj: float
    array_pj_uniform: float
    sequencer_pj_uniform: float
    array_pj_frequencies: float
    sequencer_pj_frequencies: float
    array_pj_full: float
    sequencer_pj_full: float

    @property
    def holds(self) -> bool:
        """Whether every output is right and the model's cycles are the netlist's."""
        return self.mismatches == 0 and self.cycles == self.model_cycles

    def row(self) -> dict[str, Any]:
        """Return the report with the errors of every calibration in percent."""
        errors = {
            f"{part}_error_percent_{kind}": 100 * (getattr(self, f"{part}_pj_{kind}") / getattr(self, f"{part}_pj") - 1)
            for part in ("array", "sequencer")
            for kind in CALIBRATIONS
        }
        return {**asdict(self), **errors}


def small_array(name: str, layer: IntegerLayer) -> SmallArray:
    """Return the array of a family for the widths of a layer."""
    lanes, windows = ARRAYS[name]
    unit = dot_unit(name, lanes, layer.weight_bits, layer.activation_bits, signed_activations=layer.signed_activations)
    return SmallArray(unit, FILTERS, windows)


def study_array(name: str, layer: IntegerLayer, library: Library, *, seed: int = 0) -> ArrayReport:
    """Return what a layer takes on a family's array, and what two calibrated models say that it takes."""
    array = small_array(name, layer)
    netlist = synthesize(array.top, array.verilog(), library, by_instance=True)
    run = run_layer(array, netlist, layer)
    own = {
        "filters": len(layer.weights), "kernel": layer.kernel, "channels": layer.weights.shape[1] // layer.kernel,
        "positions": layer.windows.shape[-1],
    }  # fmt: skip
    predictions: dict[str, float] = {}
    for kind in CALIBRATIONS:
        random = layer.drawn(seed, uniform=kind == "uniform", **(FULL if kind == "full" else own))
        elements, control = _predict(array, netlist, random, layer)
        predictions |= {f"array_pj_{kind}": elements, f"sequencer_pj_{kind}": control}
    cycles = _model(array, layer, 0.0).compute_cycles.item()
    return ArrayReport(
        unit=name, filters=array.filters, windows=array.windows, lanes=array.unit.lanes, area_nand2=netlist.area,
        mismatches=int((run.outputs != layer.outputs).sum()), cycles=run.cycles, model_cycles=round(cycles),
        array_pj=run.energy_pj_per_cycle["array"] * run.cycles, sequencer_pj=run.energy_pj_per_cycle["sequencer"] * run.cycles,
        **predictions,
    )  # fmt: skip


def _predict(array: SmallArray, netlist: Netlist, random: IntegerLayer, layer: IntegerLayer) -> tuple[float, float]:
    """Return the energy of the elements by the family's formula and of the sequencer by cycles, both from a random layer."""
    run: ArrayRun = run_layer(array, netlist, random)
    measured = run.energy_pj_per_cycle["array"] * run.cycles
    per_constant = _model(array, random, 1.0).energy_pj["compute"].item()
    predicted = _model(array, layer, measured / per_constant)
    return predicted.energy_pj["compute"].item(), run.energy_pj_per_cycle["sequencer"] * predicted.compute_cycles.item()


def _model(array: SmallArray, layer: IntegerLayer, constant: float) -> Any:
    machine: Any = array.machine()
    scaled = replace(machine, **{ENERGY_CONSTANT.get(array.unit.name, "bit_product_pj"): constant})
    filters, reduction = layer.weights.shape
    return scaled.execute(
        layer_work(filters, reduction, layer.windows.shape[-1], layer.weight_bits, layer.activation_bits, kernel=layer.kernel)
    )
