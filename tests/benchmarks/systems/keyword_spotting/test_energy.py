"""Rows without training: values of the logs in the devices' column, silicon in its own, widths and shares of a known network."""

import pytest
import torch

from benchmarks.methods.uniform import widest
from benchmarks.systems.keyword_spotting import energy as keyword_energy
from benchmarks.systems.keyword_spotting.energy import (
    SIZED,
    device_rows,
    published_rows,
    scaled_name,
    silicon_columns,
    silicon_rows,
    size_rows,
)
from benchmarks.systems.keyword_spotting.spotter import DEVICES, SILICON, scaled_network
from benchmarks.systems.row import Row, table
from djpq import Budget, Data
from hwmodel import InputError, full_precision, load_accelerator, simulate, uniform
from hwmodel.validate.devices import measurements
from hwmodel.zoo import kws


def value(rows: list[Row], **wanted: object) -> float:
    found = [row for row in rows if all(getattr(row, key) == one for key, one in wanted.items())]
    assert len(found) == 1, wanted
    return found[0].value


def test_devices_have_their_table_their_logs_and_their_batches() -> None:
    rows = device_rows()
    logs = measurements()
    for name in DEVICES:
        of = logs[logs["system"] == name].set_index("metric")["value"]
        joules = value(rows, arm="measured, batch 1", machine=name, metric="joules")
        assert joules == of["kws_joules"]
        assert value(rows, arm="table 1 of the paper", machine=name, metric="joules") == of["table_joules"]
        assert value(rows, arm="measured, batch 1", machine=name, metric="dynamic_watts") == pytest.approx(
            of["table_dynamic_power"], rel=0.01
        )
    batched = [row for row in rows if "batch" in row.arm and row.arm != "measured, batch 1"]
    assert {row.arm for row in batched} == {f"measured, batch {n}" for n in (2, 4, 8, 16, 32, 64)}
    assert len(batched) == 3 * 6 * 3
    assert value(rows, arm="measured, batch 32", machine="jetson_tx1", metric="joules") < value(rows, arm="measured, batch 1", machine="loihi_kws", metric="joules")  # fmt: skip
    for row in rows:
        assert row.energy_pj is None
        assert row.bops == 172_800 * 1024
        if row.metric == "joules":
            assert row.device_energy_pj == pytest.approx(row.value * 1e12, rel=1e-12)


def test_sizes_stand_beside_their_profiles() -> None:
    rows = size_rows({branches: scaled_network(branches) for branches in (0, 2)})
    for name in SIZED:
        of = {"machine": name, "metric": "joules", "network": scaled_name(2)}
        seen, line = value(rows, arm="measured, batch 1", **of), value(rows, arm="affine profile", **of)
        machine = load_accelerator(name)
        assert line == pytest.approx(float(machine.fixed_uj) * 1e-6 + float(machine.pj_per_mac) * 1e-12 * 1_549_056, rel=1e-9)  # type: ignore[attr-defined]
        assert line == pytest.approx(seen, rel=0.5)
    limits = {"movidius_ncs": 0.08, "loihi_scaled": 0.01, "cpu_xeon_e5_2630": 0.1, "gpu_k4000": 0.1}
    for name, limit in limits.items():
        assert value(rows, machine=name, metric="leave_one_out_worst_error") <= limit
    ratios = [value(rows, arm="measured, batch 1", network=scaled_name(n), metric="joules_over_loihi") for n in (0, 2)]
    assert ratios == [pytest.approx(2.62, abs=0.01), pytest.approx(4.01, abs=0.01)]
    provenance = {(row.arm, row.provenance) for row in rows}
    assert provenance == {("measured, batch 1", "sourced"), ("affine profile", "ours")}


def test_silicon_has_a_column_of_its_own() -> None:
    rows = silicon_rows({0: scaled_network(0), 2: scaled_network(2)})
    assert {(row.network, row.machine) for row in rows} == {(n, m) for n in ("kws", scaled_name(2)) for m in SILICON}
    for row in rows:
        assert row.device_energy_pj is None
        assert row.energy_pj is not None
        assert row.energy_pj > 0
        assert (row.weight_bits, row.activation_bits, row.density, row.bops_share) == (8, 8, 1, 0.0625)
        if row.network == "kws":
            assert row.stored_bits == 172_800 * 8
            assert row.bops == 172_800 * 64
        if row.metric == "silicon_joules":
            assert row.value == pytest.approx(row.energy_pj * 1e-12)


def test_widths_are_means_over_elements_and_shares_those_of_the_dense_network() -> None:
    network, machine = scaled_network(0), load_accelerator("loom")
    widths = uniform(network, 8, 8)
    widths.weight_bits[network.index("symbols")] = 4
    columns = silicon_columns(simulate(network, widths, machine), network)
    small = 256 * 29
    assert columns["weight_bits"] == pytest.approx((8 * (172_800 - small) + 4 * small) / 172_800)
    assert columns["stored_bits"] == 8 * (172_800 - small) + 4 * small
    assert columns["bops"] == (172_800 - small) * 64 + small * 32
    full = silicon_columns(simulate(network, full_precision(network), machine), network)
    assert (full["weight_bits"], full["activation_bits"], full["bops_share"]) == (32, 32, 1)


def test_no_uniform_width_fits_half_a_per_cent_of_bops() -> None:
    row = keyword_energy.narrowest_row()
    first, others = 390 * 256, 256 * 256 + 256 * 29
    assert row.value == pytest.approx((first * 2 * 8 + others * 2 * 2) / (172_800 * 1024))
    assert row.value > 0.005
    machine, pair = load_accelerator("loom"), (torch.zeros(2, 390), torch.zeros(2, dtype=torch.long))
    data = Data("frames", pair, pair, pair, num_classes=29)
    assert max(widest(kws(), data, machine, Budget(bops=f"{100.0001 * row.value}%"))) == 2
    with pytest.raises(InputError, match="below what uniform widths reach"):
        widest(kws(), data, machine, Budget(bops=f"{99.99 * row.value}%"))


def test_the_papers_accuracies_are_not_ours() -> None:
    rows = published_rows()
    assert {row.provenance for row in rows} == {"sourced"}
    assert {row.task for row in rows} == {"aloha, the paper's recordings"}
    assert value(rows, arm="published, spiking on Loihi", metric="tp_rate") == 0.938
    frame = table([*rows, *keyword_energy.device_rows()])
    assert set(frame["system"]) == {"keyword_spotting"}
