"""Rows of dataflow-based joint quantization (arXiv 1901.02064): fused modules against operators rounded one by one, and their requantizers.

DJPQ, which does train, stands beside it at the BOPs of 8, 6 and 4 bits, its integer program once with multipliers and once with shifts.
"""

from collections.abc import Iterator, Sequence
from statistics import mean

from matplotlib.figure import Figure

import djpq
import hwmodel
from hwmodel.requantization import POLICIES, requantization_cost, requantizers

from ..row import Row
from ..seeds import row_over_seeds
from .plot import draw
from .study import ARMS, MACHINE, NODE_NM, Study, measure_seed, simulated, trained

SYSTEM = "dataflow_quantization"
SHARE_MACHINES, SHARE_UNITS = (MACHINE, "loom"), ("shift", "multiply32")
SHARE_METRICS = ("energy_pj", "share", "compute_share", "area_um2")
CLAIMED = {"area": 15.0, "energy": 9.0}  # abstract; which baseline is not known
FAST = (Study("resnet8", 0.5, "digits", 20, 1, (8, 4), tuple(ARMS)[:4], 200, djpq_epochs=20),)
FULL = (
    Study("resnet8", 0.5, "digits", 25, 3, (8, 6, 4), tuple(ARMS), 497, djpq_epochs=40),
    Study("lenet5", 1, "fashion-mnist", 3, 3, (8, 6, 4), tuple(ARMS)[:3], 200),
)


def rows(full: bool) -> list[Row]:
    """Return the rows of the recorded setting or of the fast one."""
    return [row for study in (FULL if full else FAST) for row in study_rows(study)] + list(unit_rows())


def figure(rows: list[Row]) -> Figure:
    """Return accuracy and signal over bits, counts, and shares of energy."""
    return draw(rows)


# ---- rows ----------------------------------------------------------------------------------------------------------


def study_rows(study: Study) -> list[Row]:
    """Return the rows of one network: float, every arm at every width, DJPQ, and what requantizers add on machines."""
    data = djpq.load_data(study.data)
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for seed in range(study.seeds):
        model = trained(study, data, seed)
        for key, metrics in measure_seed(study, model, data, seed):
            found.setdefault(key, []).append(metrics)
    network = hwmodel.trace(model, (data.train[0][:1],))
    rows = [row for (arm, bits), metrics in found.items() for row in metric_rows(study, network, arm, bits, metrics)]
    return rows + list(machine_rows(study, network))


def metric_rows(study: Study, network: hwmodel.Network, arm: str, bits: int, seeds: Sequence[dict[str, float]]) -> Iterator[Row]:
    """Yield a row for each metric of an arm, with its mean and deviation over seeds."""
    cost, ours = simulated(network, bits), arm.startswith("djpq")
    full = hwmodel.bops(network, hwmodel.full_precision(network))
    about = {
        "weight_bits": float(bits), "activation_bits": float(bits), "density": 1.0, "bops": cost.bops.item(), "energy_pj": cost.energy_pj.item(),
        "cycles": cost.cycles.item(), "stored_bits": cost.weight_bits.item(),
    }  # fmt: skip
    about = {name: mean(found[name] for found in seeds) if ours else value for name, value in about.items()}
    for metric in (name for name in seeds[0] if name not in about):
        yield row_over_seeds(
            [found[metric] for found in seeds], system="djpq" if ours else SYSTEM, arm=f"{arm} at {bits}-bit BOPs" if ours else arm,
            network=study.label, task=study.data, metric=metric, **about, bops_share=about["bops"] / full, machine=MACHINE,
            provenance="ours" if ours or arm == "float" else "reconstructed",
        )  # fmt: skip


def machine_rows(study: Study, network: hwmodel.Network) -> Iterator[Row]:
    """Yield what requantizing by either policy adds to machines, with a shift, a multiplier and a floating-point scale."""
    for machine in SHARE_MACHINES:
        for bits in study.bits:
            cost = simulated(network, bits, machine)
            for policy in POLICIES:
                for unit in SHARE_UNITS:
                    found = requantization_cost(cost, policy, requantizers(NODE_NM)[unit]).row()
                    arm = f"{policy.replace('_', ' ')}, {unit}"
                    for metric in SHARE_METRICS:
                        yield Row(
                            system=SYSTEM, arm=arm, network=study.label, task=study.data, metric=f"requantizer_{metric}", value=found[metric],
                            weight_bits=bits, activation_bits=bits, bops=cost.bops.item(), energy_pj=cost.energy_pj.item(),
                            cycles=cost.cycles.item(), machine=f"{machine}, logic at {NODE_NM} nm", seeds=1, provenance="ours",
                        )  # fmt: skip


def unit_rows() -> Iterator[Row]:
    """Yield measured areas and energies of requantizers over the programmable shift, and what the paper says of its own."""
    units, about = requantizers(NODE_NM), {"network": "unit alone", "task": "requantizer, int32 to int8", "seeds": 1}
    for name, unit in units.items():
        for metric, cost in (("area", "area_um2"), ("energy", "energy_pj"), ("glitch_energy", "glitch_energy_pj")):
            ratio = getattr(unit, cost) / getattr(units["shift"], cost)
            if ratio == ratio and not name.startswith("codebook"):
                yield Row(system=SYSTEM, arm=f"{name} over shift", metric=f"{metric}_ratio", value=ratio, provenance="ours", **about)
    for metric, value in CLAIMED.items():
        yield Row(
            system=SYSTEM,
            arm="paper: an unnamed baseline over its shift",
            metric=f"{metric}_ratio",
            value=value,
            provenance="sourced",
            **about,
        )
