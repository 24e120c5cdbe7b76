"""The table of a cost: one row per layer whose columns add up to the totals."""

from dataclasses import replace

import pytest
import torch

from hwmodel import Compression, InputError, load_accelerator, simulate, table, uniform


@pytest.fixture
def cost(zoo):  # type: ignore[no-untyped-def]
    network = zoo("resnet8")
    return simulate(network, uniform(network, 4, 5, first_last_bits=8), load_accelerator("bitfusion"))


def test_columns_add_up_to_the_totals(cost) -> None:  # type: ignore[no-untyped-def]
    frame = table(cost)
    for column, total in (("macs", cost.macs), ("bops", cost.bops), ("stored_weight_bits", cost.weight_bits)):
        assert frame[column].sum() == total
    assert frame["cycles"].sum() == pytest.approx(cost.cycles.item(), rel=1e-14)
    assert frame[["compute_pj", "buffer_pj", "dram_pj"]].to_numpy().sum() == pytest.approx(cost.energy_pj.item(), rel=1e-12)
    assert frame["dram_bits"].sum() == (cost.per_layer.traffic_bits["dram_read"] + cost.per_layer.traffic_bits["dram_write"]).sum()


def test_rows_say_what_a_layer_is(cost) -> None:  # type: ignore[no-untyped-def]
    rows = table(cost).set_index("layer")
    assert rows.index.tolist() == [layer.name for layer in cost.network.layers]
    first, pool, last = rows.loc["conv1"], rows.loc["avgpool"], rows.loc["fc"]
    assert first[["kind", "in_channels", "out_channels", "input_bits", "weight_bits", "output_bits"]].tolist() == ["conv", 3, 16, 8, 8, 5]
    assert last[["input_bits", "weight_bits"]].tolist() == [8, 8]
    assert pool[["macs", "bops", "compute_pj"]].tolist() == [0, 0, 0]
    assert rows["weight_bits"].isna().tolist() == [not layer.computes for layer in cost.network.layers]


def test_the_bound_names_the_slower_part(cost) -> None:  # type: ignore[no-untyped-def]
    rows, layers = table(cost).set_index("layer"), cost.per_layer
    assert set(rows["bound"]) == {"compute", "dram"}
    for i, bound in enumerate(rows["bound"]):
        assert bound == ("compute" if layers.compute_cycles[i] >= layers.dram_cycles[i] else "dram")


def test_a_layer_without_channels_costs_nothing(cost) -> None:  # type: ignore[no-untyped-def]
    empty = Compression(cost.compression.weight_bits, cost.compression.activation_bits, torch.zeros_like(cost.compression.kept_channels))
    assert set(table(simulate(cost.network, empty, load_accelerator("bitfusion")))["bound"]) == {"none"}


def test_pruned_channels_show(cost) -> None:  # type: ignore[no-untyped-def]
    pruned = Compression.from_names(cost.network, {}, {"conv1": 7})
    rows = table(simulate(cost.network, pruned, load_accelerator("bitfusion"))).set_index("layer")
    assert rows.loc["layer1.0.conv1", ["in_channels", "out_channels"]].tolist() == [7, 16]


def test_a_cost_with_gradient_can_be_shown(cost) -> None:  # type: ignore[no-untyped-def]
    compression = cost.compression
    learned = Compression(compression.weight_bits.clone().requires_grad_(), compression.activation_bits, compression.kept_channels)
    assert table(simulate(cost.network, learned, load_accelerator("bitfusion"))).equals(table(cost))


def test_a_batch_has_no_table(cost) -> None:  # type: ignore[no-untyped-def]
    batch = Compression(
        *(
            tensor.expand(3, -1)
            for tensor in (cost.compression.weight_bits, cost.compression.activation_bits, cost.compression.kept_channels)
        )
    )
    with pytest.raises(InputError, match=r"a table shows one configuration, this cost holds \(3,\)"):
        table(simulate(cost.network, batch, load_accelerator("bitfusion")))


def test_the_table_shows_the_padding(cost) -> None:  # type: ignore[no-untyped-def]
    rows, layers = table(cost).set_index("layer"), cost.per_layer
    assert rows["utilization"].tolist() == layers.utilization.tolist()
    assert rows.loc["conv1", ["input_granule", "wasted_input_channels", "output_granule", "wasted_output_channels"]].tolist() == [
        16,
        13,
        32,
        16,
    ]
    assert rows.loc["avgpool", ["input_granule", "wasted_input_channels", "utilization"]].tolist() == [0, 0, 0]


def test_the_buffers_can_be_the_bound(zoo) -> None:  # type: ignore[no-untyped-def]
    network, eyeriss = zoo("resnet8"), load_accelerator("eyeriss")
    eyeriss = replace(eyeriss, memory=replace(eyeriss.memory, dram_bits_per_cycle=60))  # type: ignore[attr-defined, type-var]
    rows = table(simulate(network, uniform(network, 8, 8), eyeriss))
    layers = simulate(network, uniform(network, 8, 8), eyeriss).per_layer
    assert set(rows["bound"]) == {"on_chip", "dram"}
    for i, bound in enumerate(rows["bound"]):
        parts = {"compute": layers.compute_cycles[i], "on_chip": layers.on_chip_cycles[i], "dram": layers.dram_cycles[i]}
        assert parts[bound] == max(parts.values())
        assert layers.cycles[i] == parts[bound] + layers.exposed_cycles[i]


def test_a_measured_machine_has_no_parts_to_be_bound_by(zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("kws")
    assert set(table(simulate(network, uniform(network, 8, 8), load_accelerator("mpic")))["bound"]) <= {"measured", "none"}
