"""A drawing of a network: one box a stored tensor from top to bottom, coloured by the channel group that it writes.

Channels of one colour can only be removed together; grey ones are frozen. Solid arrows are first operands, dashed ones residual
adds and second operands.
"""

import io
from pathlib import Path

import matplotlib
import networkx as nx
from matplotlib.figure import Figure

from .errors import InputError
from .files import whole
from .layer import Layer
from .network import Network

INCHES_A_ROW, INCHES_A_COLUMN = 0.62, 2.6
FROZEN = "#d9dce1"


def positions(graph: "nx.MultiDiGraph[str]") -> dict[str, tuple[float, float]]:
    """Return a place for every row: one line a generation of the graph, centred."""
    found = {}
    for line, names in enumerate(nx.topological_generations(graph)):
        for i, name in enumerate(sorted(names)):
            found[name] = (i - (len(names) - 1) / 2, -float(line))
    return found


def label(layer: Layer) -> str:
    """Return what stands in a box: name, kind and the tensor's shape."""
    size = "x".join(str(n) for n in layer.output_size)
    return f"{layer.name}\n{layer.kind}  {layer.out_channels}{' x ' + size if size else ''}"


def colours(network: Network) -> dict[str, str]:
    """Return a colour for every prunable channel group, grey for the others."""
    palette = matplotlib.colormaps["tab20"]
    prunable = [group.name for group in network.groups if group.prunable]
    shades = {name: matplotlib.colors.to_hex(palette(i % 20 / 20 + 0.025)) for i, name in enumerate(prunable)}
    return {group.name: shades.get(group.name, FROZEN) for group in network.groups}


def draw(network: Network, path: Path) -> Path:
    """Write the drawing as PNG or SVG, by the file's ending. **Errors**: InputError for another ending."""
    if path.suffix not in (".png", ".svg"):
        raise InputError(f"cannot draw to {path}; the file must end in .png or .svg")
    graph, colour = network.graph(), colours(network)
    place = positions(graph)
    columns = max(x for x, _ in place.values()) - min(x for x, _ in place.values()) + 1
    lines = 1 - min(y for _, y in place.values())
    figure = Figure(figsize=(max(4.0, columns * INCHES_A_COLUMN), min(200.0, lines * INCHES_A_ROW + 1)), layout="tight")
    axes = figure.add_subplot()
    axes.set_axis_off()
    for layer in network.layers:
        x, y = place[layer.name]
        face = colour[layer.out_groups[0][0]] if layer.out_groups else FROZEN
        box = {"boxstyle": "round,pad=0.35", "facecolor": face, "edgecolor": "#4a4f57", "linewidth": 0.8}
        axes.text(x, y, label(layer), ha="center", va="center", fontsize=6.5, bbox=box, zorder=3)
    for tail, head, role in graph.edges(data="role"):
        bend = "arc3,rad=0" if role == "input" else "arc3,rad=0.25"
        line = {
            "arrowstyle": "-|>",
            "color": "#6b7280",
            "linestyle": "-" if role == "input" else "--",
            "connectionstyle": bend,
            "shrinkA": 9,
            "shrinkB": 9,
        }
        axes.annotate("", place[head], place[tail], arrowprops=line, zorder=2)
    axes.set_xlim(min(x for x, _ in place.values()) - 0.6, max(x for x, _ in place.values()) + 0.6)
    axes.set_ylim(-lines + 0.4, 0.6)
    drawn = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text stays text: searchable, and small
        figure.savefig(drawn, format=path.suffix[1:], dpi=130)
    with whole(path) as partial:
        partial.write_bytes(drawn.getvalue())
    return path
