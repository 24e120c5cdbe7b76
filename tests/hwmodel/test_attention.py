"""Fused attention spelled out computes what torch's does, and is priced as the products that it is."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hwmodel
from hwmodel import trace
from hwmodel.attention import FUSED
from hwmodel.capture import export

Q, K, V = (
    torch.randn(2, heads, length, 8, generator=torch.Generator().manual_seed(i))
    for i, (heads, length) in enumerate([(4, 5), (4, 7), (4, 7)])
)
FORMS = {
    "plain": lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
    "scale": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.3),
    "causal": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    "mask": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=torch.arange(35.0).view(5, 7) / 35),
    "boolean mask": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=torch.arange(35).view(5, 7) % 3 > 0),
    "shared keys": lambda q, k, v: F.scaled_dot_product_attention(q, k[:, :2], v[:, :2], enable_gqa=True),
    "no heads": lambda q, k, v: F.scaled_dot_product_attention(q[:, 0], k[:, 0], v[:, 0]),
}


@pytest.mark.parametrize("form", FORMS)
def test_spelled_out_it_computes_the_same(form: str, function_model) -> None:  # type: ignore[no-untyped-def]
    model = function_model(lambda m, q, k, v: FORMS[form](q, k, v))
    program = export(model, (Q, K, V))
    assert not [node for node in program.graph.nodes if node.target is FUSED]
    torch.testing.assert_close(program.module()(Q, K, V), model(Q, K, V), rtol=1e-5, atol=1e-6)


def test_keys_that_several_heads_share_are_read_once(function_model) -> None:  # type: ignore[no-untyped-def]
    def attend(m: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    network = trace(function_model(attend), (Q[:1], K[:1, :2], V[:1, :2]))
    scores = network.layers[3]
    work = hwmodel.work(network, hwmodel.full_precision(network))
    assert (scores.kind, scores.groups, scores.output_size) == ("matmul", 2, (10,))
    assert int(work.weight_elements[3]) == 2 * 7 * 8
    assert hwmodel.macs(network) == 2 * 4 * 5 * 7 * 8
