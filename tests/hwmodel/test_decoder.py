"""A language model without its weights: counts in closed form, the cache as traffic, seven billion parameters in little memory."""

import json
import subprocess
import sys

import pytest
import torch

import hwmodel
from hwmodel import load_accelerator, simulate, trace, uniform
from hwmodel.decoder import Sizes, decoder, rotate

SMALL = Sizes(layers=2, channels=32, heads=4, key_heads=4, hidden=48, words=50)
GROUPED = Sizes(layers=2, channels=32, heads=4, key_heads=2, hidden=48, words=50)


def macs(sizes: Sizes, tokens: int, past: int = 0) -> int:
    """MACs of a decoder: four projections, three of the feed-forward, two products of attention over all tokens, and the head."""
    keys = sizes.key_heads * sizes.head_channels
    linear = sizes.channels * (2 * sizes.channels + 2 * keys + 3 * sizes.hidden)
    attention = 2 * sizes.heads * (past + tokens) * sizes.head_channels
    return tokens * (sizes.layers * (linear + attention) + sizes.channels * sizes.words)


@pytest.mark.parametrize("sizes", [SMALL, GROUPED])
@pytest.mark.parametrize(("tokens", "past"), [(7, 0), (1, 9), (3, 9)])
def test_macs_in_closed_form(sizes: Sizes, tokens: int, past: int) -> None:
    model, example = decoder(sizes, tokens=tokens, past=past)
    network = trace(model, example)
    assert hwmodel.macs(network) == macs(sizes, tokens, past)
    assert network.coverage.share == network.coverage.byte_share == 1
    work = hwmodel.work(network, uniform(network, 4, 8))
    assert int(work.macs.sum()) == macs(sizes, tokens, past)
    cost = simulate(network, uniform(network, 1, 8), load_accelerator("loom"))
    assert int(cost.weight_bits) == sum(parameter.numel() for parameter in model.parameters() if parameter.dim() > 1)


@pytest.mark.parametrize("sizes", [SMALL, GROUPED])
def test_decoding_reads_the_cache_once_whatever_the_heads_share(sizes: Sizes) -> None:
    past = 9
    network = trace(*decoder(sizes, tokens=1, past=past))
    work = hwmodel.work(network, uniform(network, 4, 8))
    products = [i for i, layer in enumerate(network.layers) if layer.kind == "matmul"]
    assert len(products) == 2 * sizes.layers
    cached = sizes.key_heads * (past + 1) * sizes.head_channels
    assert work.weight_elements[products].tolist() == [cached] * len(products)
    assert [len(network.layers[i].second_parts) for i in products] == [2, 1] * sizes.layers  # new keys are rotated in two halves


def test_a_token_decoded_with_a_cache_is_the_last_of_the_prompt() -> None:
    sizes = Sizes(layers=1, channels=32, heads=4, key_heads=2, hidden=48, words=50)
    model = decoder(sizes)[0].to_empty(device="cpu")
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    words = torch.randint(0, 50, (1, 6))
    x = model.blocks[0].norm1(model.table(words[:, :-1]))  # type: ignore[operator, union-attr]
    attention = model.blocks[0].attention
    key, value = (part(x).view(1, 5, 2, 8).transpose(1, 2) for part in (attention.key, attention.value))  # type: ignore[operator, union-attr]
    last = model(words[:, -1:], rotate(key, torch.arange(5)), value)
    torch.testing.assert_close(last[0, -1], model(words)[0, -1])


def test_attention_is_priced_as_two_products() -> None:
    network = trace(*decoder(SMALL, tokens=4))
    cost = simulate(network, uniform(network, 4, 8), load_accelerator("bitfusion"))
    assert cost.by_operator().loc["matmul", "macs"] == 2 * SMALL.layers * 4 * 4 * SMALL.channels


SCRIPT = """
import json, resource
import hwmodel
from hwmodel.decoder import decoder
found = []
for sizes in ({"tokens": 512}, {"tokens": 1, "past": 512}):
    network = hwmodel.trace(*decoder(**sizes))
    cost = hwmodel.simulate(network, hwmodel.uniform(network, 4, 8), hwmodel.load_accelerator("bitfusion"))
    found.append({**cost.totals(), "dram_bits": float(cost.by_layer().dram_bits.sum())})
print(json.dumps({"costs": found, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


@pytest.mark.slow
def test_seven_billion_parameters_in_two_gibibytes() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    result, sizes = json.loads(done.stdout), Sizes()
    prompt, token = result["costs"]
    norms = (2 * sizes.layers + 1) * sizes.channels
    assert prompt["macs"] == macs(sizes, 512)
    assert token["macs"] == macs(sizes, 1, 512)
    assert prompt["weight_bits"] == token["weight_bits"] == 4 * (6_738_415_616 - norms)
    cache = 2 * 32 * 32 * 512 * 128
    assert token["dram_bits"] > 4 * (6_738_415_616 - norms - sizes.words * sizes.channels) + 8 * cache
    assert token["peak_activation_bits"] > 8 * cache
    assert result["mib"] < 2048
