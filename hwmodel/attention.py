"""Fused attention written as the two products that it is: scores = softmax(scale Q K^T + mask), result = scores V.

The scores are a tensor of their own: they are stored and quantized, and the second product reads them at their width. Spelled out
before anything else looks at the graph, fused and hand-written attention are one case.
"""

from typing import Any

import torch
from torch.fx import Graph, Node

aten = torch.ops.aten
FUSED = aten.scaled_dot_product_attention.default


def spell_out(graph: Graph) -> None:
    """Replace every fused attention by products and a softmax."""
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target is FUSED:
            with graph.inserting_before(node):
                node.replace_all_uses_with(spelled(graph, node, *node.args, **node.kwargs))
            graph.erase_node(node)


def spelled(
    graph: Graph,
    node: Node,
    query: Node,
    key: Node,
    value: Node,
    attn_mask: Node | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Node:
    """Insert the products of one attention and return the last. Arguments as in `torch.nn.functional`; dropout does nothing at inference."""

    def call(target: Any, *args: Any) -> Node:
        made = graph.call_function(target, args)
        made.meta = {**node.meta, "val": target(*(arg.meta["val"] if isinstance(arg, Node) else arg for arg in args))}
        return made

    (*_, queries, length, depth), (*batch, heads, source, _) = query.meta["val"].shape, key.meta["val"].shape
    split, joined = [*batch, queries, length], [*batch, heads, queries // heads * length]
    shared = enable_gqa and queries != heads  # several heads of queries read one of keys and values: they are its positions
    if shared:
        query = call(aten.reshape.default, query, [*joined, depth])
    scores = call(aten.mul.Tensor, call(aten.matmul.default, query, call(aten.transpose.int, key, -2, -1)), scale or depth**-0.5)
    if shared:
        scores = call(aten.reshape.default, scores, [*split, source])
    if is_causal:
        attn_mask = call(aten.triu.default, call(aten.new_full.default, query, [length, source], -torch.inf), 1)
    if attn_mask is not None and attn_mask.meta["val"].dtype == torch.bool:
        scores = call(aten.masked_fill.Scalar, scores, call(aten.logical_not.default, attn_mask), -torch.inf)
    elif attn_mask is not None:
        scores = call(aten.add.Tensor, scores, attn_mask)
    weights = call(aten.softmax.int, scores, -1)
    if not shared:
        return call(aten.matmul.default, weights, value)
    result = call(aten.matmul.default, call(aten.reshape.default, weights, [*joined, source]), value)
    return call(aten.reshape.default, result, [*split, result.meta["val"].shape[-1]])
