"""Small arrays with their sequencer: outputs against integers, cycles against `simulate`, energy beside calibrated profiles."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from hwmodel import InputError, load_accelerator, simulate, trace, uniform
from hwmodel.rtl import IntegerLayer, SmallArray, dot_unit, load_library, run_layer, synthesize
from hwmodel.rtl.array_study import ARRAYS, study_array
from hwmodel.rtl.layer_file import read_layer, unfold

LAYER = Path(__file__).parents[3] / "benchmarks" / "results" / "rtl_layer.json"
SMALL = {"loom": 4, "unpu": 2, "stripes": 2, "bit_parallel": 1}  # lanes


def drawn(weight_bits: int, activation_bits: int, signed: bool, seed: int) -> IntegerLayer:
    """A layer of 6 filters, a kernel of 2 x 2, 3 channels and 5 positions: no tile is full."""
    empty = IntegerLayer(np.zeros((6, 12), np.int64), np.zeros((64, 12, 5), np.int64), 4, weight_bits, activation_bits, signed)
    return empty.drawn(seed, uniform=True, filters=6, kernel=4, channels=3, positions=5)


def array_netlist(array: SmallArray) -> Any:
    return synthesize(array.top, array.verilog(), load_library(), by_instance=True)


@pytest.mark.parametrize(("weight_bits", "activation_bits", "signed"), [(3, 2, False), (1, 4, True)])
@pytest.mark.parametrize("name", SMALL)
def test_a_layer_whose_tiles_are_not_full(name: str, weight_bits: int, activation_bits: int, signed: bool) -> None:
    layer = drawn(weight_bits, activation_bits, signed, seed=weight_bits)
    array = SmallArray(dot_unit(name, SMALL[name], weight_bits, activation_bits, signed_activations=signed), 4, 2)
    run = run_layer(array, array_netlist(array), layer)
    assert (run.outputs == layer.outputs).all()
    steps = {"loom": weight_bits * activation_bits, "unpu": weight_bits, "stripes": activation_bits, "bit_parallel": 1}[name]
    assert run.cycles == 2 * 3 * -(-12 // SMALL[name]) * steps, "2 tiles of filters, 3 of windows"
    assert run.energy_pj_per_cycle["array"] > run.energy_pj_per_cycle["sequencer"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ARRAYS)
def test_a_real_layer_on_the_array_of_each_family(name: str) -> None:
    """Outputs and cycles exact; energy of each component within 20 % of the profile calibrated on random integers of its frequencies."""
    report = study_array(name, read_layer(LAYER), load_library())
    assert report.holds, report
    row = report.row()
    assert abs(row["array_error_percent_frequencies"]) <= 20, row
    assert abs(row["sequencer_error_percent_frequencies"]) <= 20, row
    assert row["array_error_percent_uniform"] > row["array_error_percent_frequencies"], "uniform integers switch more"


@pytest.mark.parametrize("name", ARRAYS)
def test_cycles_of_the_model_are_those_of_simulate(name: str) -> None:
    """The convolution traced from torch, priced on the array's machine; it is bound by compute."""
    lanes, windows = ARRAYS[name]
    array = SmallArray(dot_unit(name, lanes, 4, 4, signed_activations=False), 4, windows)
    network = trace(nn.Conv2d(8, 16, 5, padding=2), (torch.zeros(1, 8, 4, 4),))
    cost = simulate(network, uniform(network, 4, 4, input_bits=4), array.machine())
    steps = {"bit_parallel": 200, "stripes": 25 * 4, "unpu": 25 * 4, "loom": 13 * 16, "bitfusion": 25, "subword": 25}[name]
    assert cost.per_layer.cycles[-1].item() == 4 * (16 // windows) * steps


def test_windows_are_those_of_torch() -> None:
    images = np.random.default_rng(0).integers(0, 9, (2, 3, 7, 6))
    for kernel, stride, padding in (((3, 2), (2, 1), (1, 0)), ((1, 1), (1, 1), (0, 0))):
        expected = nn.functional.unfold(torch.tensor(images).double(), kernel, stride=stride, padding=padding)
        kernel_last = expected.reshape(2, 3, kernel[0] * kernel[1], -1).transpose(1, 2).reshape(2, -1, expected.shape[-1])
        assert (unfold(images, kernel, stride, padding) == kernel_last.numpy()).all()


def test_the_layer_of_the_file_is_the_convolution_of_torch() -> None:
    layer = read_layer(LAYER)
    content = load_file(LAYER.with_suffix(".safetensors"))
    expected = nn.functional.conv2d(*(torch.tensor(content[name]).double() for name in ("activations", "weights")), padding=2)
    assert (layer.outputs.reshape(expected.shape) == expected.numpy()).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"weight_bits": 2}, "weights are .*; 2 bits hold -2 to 1"), ({"signed_activations": True}, "windows are .*; 4 bits hold -8 to 7"),
     ({"kernel": 7}, "reductions must agree")],
)  # fmt: skip
def test_integers_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    layer = read_layer(LAYER)
    with pytest.raises(InputError, match=message):
        IntegerLayer(**{**vars(layer), **change})


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no layer at"):
        read_layer(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"weight_bits": 9, "activation_bits": 4, "signed_activations": true}')
    with pytest.raises(InputError, match=r"bad\.json: weight_bits: input should be less than or equal to 8"):
        read_layer(tmp_path / "bad.json")
    with pytest.raises(InputError, match="it holds 64 images; 128 are needed"):
        read_layer(LAYER, images=128)


def test_the_machine_of_an_array_is_a_family_of_profiles() -> None:
    for name, family_of in (("loom", "loom"), ("bit_parallel", "systolic_os"), ("bitfusion", "bitfusion"), ("subword", "envision")):
        lanes, windows = ARRAYS[name]
        machine = SmallArray(dot_unit(name, lanes), 4, windows).machine()
        assert type(machine) is type(load_accelerator(family_of))
