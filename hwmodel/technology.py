"""Energy and area of logic from one technology node to another: Stillmaker and Baas, Integration 58 (2017).

Energy factor of a node at a supply voltage V: `p V^2 + q V + r`; energies scale with the ratio of two factors, areas with the ratio
of two area factors. Coefficients as read in hwcomponents (`scaling/techscaling.py`). Nodes in between are interpolated on the logarithms of
node and factor, which is ours. DRAM is another technology and is never scaled.
"""

import math

from .errors import InputError

ENERGY = {  # node in nm: p, q, r
    130.0: (7.171, -6.709, 2.904),
    90.0: (4.762, -4.781, 2.092),
    65.0: (3.755, -4.398, 1.975),
    45.0: (1.103, -0.362, 0.2767),
    32.0: (0.9559, -0.7823, 0.471),
    20.0: (0.373, -0.1582, 0.04104),
    16.0: (0.2958, -0.1241, 0.03024),
    14.0: (0.2363, -0.09675, 0.02239),
    10.0: (0.2068, -0.09311, 0.02375),
    7.0: (0.1776, -0.09097, 0.02447),
}
AREA = {130.0: 6.4, 90.0: 2.8, 65.0: 1.5, 45.0: 1.0, 32.0: 0.46, 20.0: 0.21, 16.0: 0.19, 14.0: 0.17, 10.0: 0.1, 7.0: 0.059}
VOLTS = 0.8  # supply at which nodes are compared unless told otherwise


def energy_scale(from_nm: float, to_nm: float, volts: float = VOLTS) -> float:
    """Return the energy of logic at one node over that at another, both at the same supply."""
    factors = {node: p * volts**2 + q * volts + r for node, (p, q, r) in ENERGY.items()}
    return _at(factors, to_nm) / _at(factors, from_nm)


def area_scale(from_nm: float, to_nm: float) -> float:
    """Return the area of logic at one node over that at another."""
    return _at(AREA, to_nm) / _at(AREA, from_nm)


def _at(factors: dict[float, float], node_nm: float) -> float:
    nodes = sorted(factors)
    if not nodes[0] <= node_nm <= nodes[-1]:
        raise InputError(f"technology node is {node_nm:g} nm; the range is {nodes[0]:g} to {nodes[-1]:g} nm")
    above = next(node for node in nodes if node >= node_nm)
    below = max(node for node in nodes if node <= node_nm)
    if above == below:
        return factors[above]
    share = math.log(node_nm / below) / math.log(above / below)
    return float(factors[below] * (factors[above] / factors[below]) ** share)
