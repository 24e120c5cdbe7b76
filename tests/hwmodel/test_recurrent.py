"""Recurrent layers: MACs of torch's flop counter, weights stored once, one step after the other on the machine."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import hwmodel
from hwmodel import InputError, load_accelerator, simulate, trace, uniform

STEPS, INPUTS, HIDDEN = 7, 8, 6
LAYERS = {
    "lstm": nn.LSTM(INPUTS, HIDDEN, 2, bidirectional=True, batch_first=True),
    "projected lstm": nn.LSTM(INPUTS, HIDDEN, 2, proj_size=3, batch_first=True, bias=False),
    "gru": nn.GRU(INPUTS, HIDDEN, 3, batch_first=True),
    "tanh": nn.RNN(INPUTS, HIDDEN, bias=False, batch_first=True),
    "relu": nn.RNN(INPUTS, HIDDEN, nonlinearity="relu", bidirectional=True, batch_first=True),
}
CELLS = {"lstm cell": nn.LSTMCell(INPUTS, HIDDEN), "gru cell": nn.GRUCell(INPUTS, HIDDEN), "rnn cell": nn.RNNCell(INPUTS, HIDDEN)}


def flops(model: nn.Module, example: Tensor) -> int:
    """FLOPs that torch counts; on the meta device, where recurrent layers are taken apart into products."""
    with FlopCounterMode(display=False) as counter:
        model.to("meta")(example.to("meta"))
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", [*LAYERS, *CELLS])
@pytest.mark.parametrize("batch", [1, 3])
def test_macs_are_those_of_the_flop_counter(name: str, batch: int) -> None:
    model = (LAYERS | CELLS)[name]
    example = torch.zeros((batch, STEPS, INPUTS) if name in LAYERS else (batch, INPUTS), device="meta")
    network = trace(model.to("meta"), (example,))
    work = hwmodel.work(network, hwmodel.full_precision(network))
    assert hwmodel.macs(network) == int(work.macs.sum()) == flops(model, example) // 2 // batch
    assert network.coverage.share == 1


@pytest.mark.parametrize("name", LAYERS)
def test_every_weight_is_stored_once(name: str) -> None:
    network = trace(LAYERS[name].to("meta"), (torch.zeros(1, STEPS, INPUTS, device="meta"),))
    cost = simulate(network, uniform(network, 1, 8), load_accelerator("loom"))
    assert int(cost.weight_bits) == sum(p.numel() for p in LAYERS[name].parameters() if p.dim() > 1)


def test_rows_of_an_lstm() -> None:
    network = trace(nn.LSTM(INPUTS, HIDDEN, bidirectional=True, batch_first=True), (torch.zeros(1, STEPS, INPUTS),))
    assert [layer.name for layer in network.layers] == ["input", "ih_l0", "hh_l0", "ih_l0_reverse", "hh_l0_reverse"]
    inputs, hidden = network.layers[1:3]
    assert (inputs.inputs, inputs.out_channels, inputs.output_size, inputs.steps) == (("input",), 4 * HIDDEN, (STEPS,), 1)
    assert (hidden.inputs, hidden.fused_inputs, hidden.out_channels, hidden.filters_per_channel) == ((), ("ih_l0",), HIDDEN, 4)
    assert hidden.steps == STEPS
    work = hwmodel.work(network, uniform(network, 4, 8))
    sizes = {name: int(getattr(work, name)[2]) for name in ("groups", "filters", "reduction", "positions", "input_elements", "steps")}
    assert sizes == {"groups": STEPS, "filters": 24, "reduction": 6, "positions": 1, "input_elements": STEPS * HIDDEN, "steps": STEPS}
    assert float(work.input_bits[2]) == 8, "the hidden state is read at the width at which it is stored"


def test_the_second_layer_reads_both_directions(function_model) -> None:  # type: ignore[no-untyped-def]
    model = function_model(lambda m, x: m.out(m.rnn(x)[0]), rnn=LAYERS["lstm"], out=nn.Linear(2 * HIDDEN, 3)).to("meta")
    network = trace(model, (torch.zeros(1, STEPS, INPUTS, device="meta"),))
    rows = {layer.name: layer for layer in network.layers}
    assert rows["rnn.ih_l1"].inputs == ("rnn.hh_l0", "rnn.hh_l0_reverse")
    assert rows["rnn.ih_l1"].in_channels == 2 * HIDDEN
    assert rows["out"].inputs == ("rnn.hh_l1", "rnn.hh_l1_reverse")
    assert rows["out"].macs == STEPS * 2 * HIDDEN * 3


def test_a_given_state_is_read(function_model) -> None:  # type: ignore[no-untyped-def]
    model = function_model(lambda m, x, h: m.rnn(x, h)[0], rnn=nn.GRU(INPUTS, HIDDEN, batch_first=True))
    network = trace(model, (torch.zeros(1, STEPS, INPUTS), torch.zeros(1, 1, HIDDEN)))
    assert network.layers[network.index("rnn.hh_l0")].fused_inputs == ("rnn.ih_l0", "input#2")


@pytest.mark.parametrize(("batch", "message"), [(None, "batch_first=False reads a sequence of shape"), (2, None)])
def test_a_time_major_sequence_needs_to_be_told_its_batch(batch: int | None, message: str | None) -> None:
    model, example = nn.GRU(INPUTS, HIDDEN), torch.zeros(STEPS, 2, INPUTS)
    if message:
        with pytest.raises(InputError, match=message):
            trace(model, (example,), batch=batch)
    else:
        assert hwmodel.macs(trace(model, (example,), batch=batch)) == STEPS * 3 * HIDDEN * (INPUTS + HIDDEN)


@pytest.mark.parametrize(("kib", "reads"), [(1e3, 1), (1e-3, STEPS)])
def test_weights_that_do_not_fit_are_read_at_every_step(kib: float, reads: int, work_of) -> None:  # type: ignore[no-untyped-def]
    memory = replace(load_accelerator("loom").memory, weight_buffer_kib=kib, input_buffer_kib=1e6)  # type: ignore[attr-defined]
    work = work_of(groups=STEPS, filters=24, reduction=6, weight_bits=4, steps=STEPS, elements={"input_elements": 0})
    assert float(memory.operand_traffic(work)[1]) == reads * 24 * 6 * 4


def test_a_cell_called_again_reads_the_state_before_and_shares_its_weights(function_model) -> None:  # type: ignore[no-untyped-def]
    def two_steps(m: nn.Module, x: Tensor) -> Tensor:
        hidden, cell = m.cell(x)
        return m.cell(x, (hidden, cell))[0]  # type: ignore[no-any-return]

    network = trace(function_model(two_steps, cell=nn.LSTMCell(INPUTS, HIDDEN)), (torch.zeros(1, INPUTS),))
    rows = {layer.name: layer for layer in network.layers}
    assert (rows["cell.hh"].inputs, rows["cell.hh"].fused_inputs) == ((), ("cell.ih",))
    assert (rows["cell.hh#2"].inputs, rows["cell.hh#2"].fused_inputs) == (("cell.hh",), ("cell.ih#2", "cell.hh"))
    assert hwmodel.macs(network) == 2 * 4 * HIDDEN * (INPUTS + HIDDEN)
    cost = simulate(network, uniform(network, 1, 8), load_accelerator("loom"))
    assert int(cost.weight_bits) == 4 * HIDDEN * (INPUTS + HIDDEN)
