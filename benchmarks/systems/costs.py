"""What a priced network is, as fields of a row."""

from typing import Any

import torch

from hwmodel.cost import Cost


def cost_fields(cost: Cost, dense: Cost) -> dict[str, Any]:
    """Return a cost as the fields of a Row; widths are means over elements."""
    layers, weights = cost.per_layer, [bool(layer.weight) for layer in cost.network.layers]
    count, outputs = layers.work.weight_elements[torch.tensor(weights)].sum(), layers.work.output_elements
    return {
        "weight_bits": float(cost.weight_bits / count), "activation_bits": float((outputs * layers.work.output_bits).sum() / outputs.sum()),
        "bops": float(cost.bops), "bops_share": float(cost.bops / dense.bops), "stored_bits": float(cost.weight_bits),
        "energy_pj": float(cost.energy_pj), "cycles": float(cost.cycles), "machine": cost.machine,
    }  # fmt: skip
