"""Rows of keyword spotting that need no training: devices as measured and as affine profiles, batches, sizes, and silicon alone.

Devices fill `device_energy_pj` (dynamic, software included), silicon `energy_pj`; no row has both.
"""

from typing import Any

from hwmodel import Cost, Network, full_precision, load_accelerator, simulate, trace, uniform
from hwmodel.validate.devices import measurements
from hwmodel.zoo import load_model

from ..row import Row
from .spotter import BRANCHES, DEVICES, SILICON, batches, leave_one_out, scaled_network, sizes

PICOJOULES = 1e12
SPOTTER = "kws"
SIZED = ("gpu_k4000", "cpu_xeon_e5_2630", "movidius_ncs", "loihi_scaled")
BATCHED = ("gpu_k4000", "cpu_xeon_e5_2630", "jetson_tx1")
NARROWEST = (2, 2)  # bits of weights and of activations
ENERGY = "energy of one inference"
PUBLISHED = {"published, TensorFlow": (0.927, 0.979), "published, spiking on Loihi": (0.938, 0.979)}
"""True positive and true negative rates of the paper on its own 96 + 96 recordings (abr/power_benchmarks, tex of arXiv 1812.01739)."""


def scaled_name(branches: int) -> str:
    """Return the name of a scaled network as the logs have it."""
    return f"kws_scaled_{branches}"


def device_row(
    arm: str,
    network: str,
    machine: str,
    metric: str,
    value: float,
    joules: float | None,
    provenance: Any = "sourced",
    macs: float | None = None,
) -> Row:
    """Return one row of a device, energy in its own column; its precision is 32 bit, so BOPs follow from MACs."""
    return Row(
        system="keyword_spotting", arm=arm, network=network, task=ENERGY, metric=metric, value=value, machine=machine, seeds=1,
        bops=None if macs is None else macs * 32 * 32, device_energy_pj=None if joules is None else joules * PICOJOULES, provenance=provenance,
    )  # fmt: skip


def measured(arm: str, network: str, machine: str, macs: float, joules: float, rate: float, provenance: Any = "sourced") -> list[Row]:
    """Return energy, rate and power of one measured or modelled point."""
    values = {"joules": joules, "inferences_per_second": rate, "dynamic_watts": joules * rate}
    return [device_row(arm, network, machine, metric, value, joules, provenance, macs) for metric, value in values.items()]


def device_rows() -> list[Row]:
    """Return the spotter on every device: the paper's table, the logs, batches."""
    table, rows = measurements(), []
    for name in DEVICES:
        of = table[table["system"] == name].set_index("metric")["value"]
        macs = float(table[table["system"] == name]["macs"].min())
        joules = float(of["table_joules"])
        published = {"joules": joules, "inferences_per_second": of["table_rate"], "dynamic_watts": of["table_dynamic_power"]}
        rows += [device_row("table 1 of the paper", SPOTTER, name, metric, float(v), joules, macs=macs) for metric, v in published.items()]
        rows += measured("measured, batch 1", SPOTTER, name, macs, float(of["kws_joules"]), float(of["kws_rate"]))
    for name in BATCHED:
        for point in batches(name).query("batch > 1").to_dict("records"):
            rows += measured(f"measured, batch {point['batch']:g}", SPOTTER, name, macs, point["joules"], point["rate"])
    return rows


def size_rows(networks: dict[int, Network]) -> list[Row]:
    """Return the scaled networks on devices, beside what their profiles predict, and what the affine form is worth."""
    rows, lines = [], {}
    for name in SIZED:
        machine, logs = load_accelerator(name), sizes(name, smallest=True).to_dict("records")
        for branches, network in networks.items():
            cost = simulate(network, full_precision(network), machine)
            macs, joules = float(cost.macs), float(cost.energy_pj) / PICOJOULES
            (point,) = (log for log in logs if log["macs"] == macs)
            lines[name, branches] = (point["joules"], joules)
            rows += measured("measured, batch 1", scaled_name(branches), name, macs, point["joules"], point["rate"])
            rows += measured("affine profile", scaled_name(branches), name, macs, joules, 1e3 / float(cost.milliseconds), "ours")
        smallest = name != "loihi_scaled"  # whose N = 0 is another layout
        found = sizes(name, smallest=smallest)
        errors = leave_one_out(found["macs"].tolist(), found["joules"].tolist())[smallest:]
        rows.append(device_row("affine profile", "kws_scaled", name, "leave_one_out_worst_error", max(map(abs, errors)), None, "ours"))
    for branches in networks:
        for arm, index, provenance in (("measured, batch 1", 0, "sourced"), ("affine profile", 1, "ours")):
            ratio = lines["movidius_ncs", branches][index] / lines["loihi_scaled", branches][index]
            rows.append(device_row(arm, scaled_name(branches), "movidius_ncs", "joules_over_loihi", ratio, None, provenance))
    return rows


def silicon_columns(cost: Cost, network: Network) -> dict[str, Any]:
    """Return the columns of a row that say what a compressed network costs on its machine, against the dense `network` at 32 bit.

    Widths are means over elements.
    """
    reference, work, layers = simulate(network, full_precision(network), cost.accelerator), cost.work, cost.per_layer
    return {
        "weight_bits": float(layers.weight_bits.sum() / work.weight_elements.sum()),
        "activation_bits": float(layers.activation_bits.sum() / work.output_elements.sum()),
        "density": float(work.weight_elements.sum() / reference.work.weight_elements.sum()),
        "bops": float(cost.bops), "bops_share": float(cost.bops / reference.bops), "stored_bits": float(cost.weight_bits),
        "index_format": "none (whole channels)", "energy_pj": float(cost.energy_pj), "cycles": float(cost.cycles), "machine": cost.machine,
    }  # fmt: skip


def silicon_rows(networks: dict[int, Network], bits: int = 8) -> list[Row]:
    """Return the same networks on machines known by their silicon alone, weights and activations of `bits`."""
    rows = []
    for name, network in [(SPOTTER, trace(*load_model(SPOTTER))), *((scaled_name(n), net) for n, net in networks.items() if n)]:
        for machine in map(load_accelerator, SILICON):
            cost = simulate(network, uniform(network, bits, bits), machine)
            values = {"silicon_joules": float(cost.energy_pj) / PICOJOULES, "silicon_inferences_per_second": 1e3 / float(cost.milliseconds)}
            rows += [
                Row(system="keyword_spotting", arm=f"silicon, {bits} bit", network=name, task=ENERGY, metric=metric, value=value, seeds=1,
                    provenance="ours", **silicon_columns(cost, network))
                for metric, value in values.items()
            ]  # fmt: skip
    return rows


def narrowest_row() -> Row:
    """Return what share of BOPs the narrowest uniform widths of `methods.uniform` still take: frames stay at 8 bit, no channel goes."""
    network = trace(*load_model(SPOTTER))
    columns = silicon_columns(simulate(network, uniform(network, *NARROWEST), load_accelerator(SILICON[0])), network)
    return Row(
        system="keyword_spotting", arm="uniform, 2-bit weights and activations", network=SPOTTER, task=ENERGY, metric="least_bops_share",
        value=columns["bops_share"], seeds=1, provenance="ours", **columns,
    )  # fmt: skip


def published_rows() -> list[Row]:
    """Return the paper's accuracies, on its own recordings and so beside ours, not comparable with them."""
    return [
        Row(system="keyword_spotting", arm=arm, network=SPOTTER, task="aloha, the paper's recordings", metric=metric, value=value, seeds=1,
            provenance="sourced")
        for arm, pair in PUBLISHED.items() for metric, value in (("tp_rate", pair[0]), ("tn_rate", pair[1]))
    ]  # fmt: skip


def rows() -> list[Row]:
    """Return all rows without training."""
    networks = {branches: scaled_network(branches) for branches in BRANCHES}
    return [*device_rows(), *size_rows(networks), *silicon_rows(networks), narrowest_row(), *published_rows()]
