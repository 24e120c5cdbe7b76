"""An array in gates beside the integer executor of `djpq`: the same accumulators, on a layer that was trained, pruned and exported."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import djpq
import hwmodel
from djpq.integer.kernels import run as run_instruction
from hwmodel.rtl import SmallArray, dot_unit, load_library, run_layer, synthesize
from hwmodel.rtl.layer_file import read_layer
from hwmodel.rtl.planes import WORD

LAYER = "conv2"


@pytest.fixture(scope="module")
def finished() -> tuple[djpq.Result, torch.Tensor]:
    data = djpq.load_data("digits")
    torch.manual_seed(0)
    model = djpq.pretrain(hwmodel.zoo.lenet5(in_channels=1, image_size=8, width=0.25), data, epochs=3)
    settings = djpq.Settings(epochs=8, gate_lr=0.4)
    return djpq.compress(model, data, hwmodel.load_accelerator("loom"), djpq.Budget(bops="1.5%"), settings), data.test[0][:WORD]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["loom", "unpu", "bit_parallel"])
def test_accumulators_are_equal(family: str, finished: tuple[djpq.Result, torch.Tensor], tmp_path: Path) -> None:
    result, images = finished
    assert result.finished is not None
    model = result.finished.integers
    assert model is not None
    values: dict[str, torch.Tensor] = {model.program.inputs[0]: images}
    for instruction in model.program.instructions:
        operands = [values[name] for name in instruction.inputs] or [images]
        values[instruction.output] = run_instruction(instruction, operands, len(images), False)
        if instruction.attributes.get("layer") == LAYER:
            break
    read, weight = values[instruction.inputs[0]], instruction.tensors["weight"]
    row = next(i for i, layer in enumerate(result.network.layers) if layer.name == LAYER)
    read_row = [layer.name for layer in result.network.layers].index(result.network.layers[row].inputs[0])
    about = {
        "weight_bits": int(result.compression.weight_bits[row]), "activation_bits": int(result.compression.activation_bits[read_row]),
        "signed_activations": False, "kernel_size": list(weight.shape[2:]), "stride": instruction.attributes["stride"],
        "padding": instruction.attributes["padding"],
    }  # fmt: skip
    (tmp_path / "layer.json").write_text(json.dumps(about))
    save_file({"weights": weight.contiguous(), "activations": read.to(torch.int64).contiguous()}, tmp_path / "layer.safetensors")
    layer = read_layer(tmp_path / "layer.json")
    lanes = 1 if family == "bit_parallel" else 4
    unit = dot_unit(family, lanes, layer.weight_bits, layer.activation_bits, signed_activations=False)
    array = SmallArray(unit, 4, 4)
    run = run_layer(array, synthesize(array.top, array.verilog(), load_library(), by_instance=True), layer)
    expected = values[instruction.output].flatten(2).numpy().astype(np.int64)
    assert np.array_equal(run.outputs, expected)
