"""ONNX files of finished models: odd widths, wide ones, heads and views; what cannot be written is refused."""

from collections.abc import Callable
from functools import partial

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hwmodel
from djpq import export_onnx
from djpq.export.pools import rounded_before_pools
from hwmodel.errors import InputError

Build = Callable[[], nn.Module]  # parts are built in the test, behind its seed
NO_TIES = 9  # a seed with no stored value within 2e-5 of a step from a tie, where a float32 sum in another order could round otherwise


def conv(inputs: int, outputs: int, kernel: int = 1, **more: int) -> Build:
    return partial(nn.Conv2d, inputs, outputs, kernel, **more)


def linear(**sizes: tuple[int, int]) -> dict[str, Build]:
    return {name: partial(nn.Linear, *size) for name, size in sizes.items()}


IMAGE, TOKENS = (3, 8, 8), (5, 8)
BLOCKS = {
    "dilated and strided": (lambda m, x: m.b(F.relu(m.a(x))), {"a": conv(3, 8, 3, dilation=2, stride=2), "b": conv(8, 4)}, IMAGE),
    "grouped transposed": (
        lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))))),
        {"a": conv(3, 8), "b": partial(nn.ConvTranspose2d, 8, 12, 3, stride=2, padding=1, output_padding=1, groups=2), "c": conv(12, 4)}, IMAGE,
    ),
    "parts": (
        lambda m, x: (lambda y: m.b(y[:, 2:8]) + m.c(y.narrow(1, 0, 5)))(F.relu(m.a(x))), {"a": conv(3, 10), "b": conv(6, 4), "c": conv(5, 4)}, IMAGE,
    ),
    "split and shuffle": (
        lambda m, x: m.c(torch.cat((F.relu(m.b(F.channel_shuffle(F.relu(m.a(x)), 3).split([4, 8], 1)[1])), x), 1)),
        {"a": conv(3, 12), "b": conv(8, 5), "c": conv(8, 4)}, IMAGE,
    ),
    "pixel shuffle": (lambda m, x: m.b(F.pixel_shuffle(m.a(x), 2)), {"a": conv(3, 20), "b": conv(5, 4)}, IMAGE),
    "nearest upsampling": (
        lambda m, x: (lambda y: m.c(torch.cat((F.interpolate(F.relu(m.b(F.max_pool2d(y, 2))), scale_factor=2, mode="nearest"), y), 1)))(F.relu(m.a(x))),
        {"a": conv(3, 6), "b": conv(6, 5), "c": conv(11, 4)}, IMAGE,
    ),
    "clamped": (lambda m, x: m.b(m.a(x).clamp(-0.5, 1.0)), {"a": conv(3, 8), "b": conv(8, 4)}, IMAGE),
    "overlapping maxima": (lambda m, x: m.b(F.max_pool2d(F.relu(m.a(x)), 3, 2, 1)), {"a": conv(3, 8), "b": conv(8, 4)}, IMAGE),
    "averages": (lambda m, x: m.b(F.avg_pool2d(F.relu(m.a(x)), 3, 2, 1)).mean((2, 3)), {"a": conv(3, 8), "b": conv(8, 4)}, IMAGE),
    "attention": (
        lambda m, x: m.out(F.scaled_dot_product_attention(*(layer(x).unflatten(-1, (2, -1)).transpose(1, 2) for layer in (m.q, m.k, m.v))).transpose(1, 2).flatten(2)),
        linear(q=(8, 8), k=(8, 8), v=(8, 8), out=(8, 4)), TOKENS,
    ),
    "channels last": (lambda m, x: m.b(F.relu(m.a(x)).permute(0, 2, 3, 1)).flatten(1), {"a": conv(3, 9), "b": partial(nn.Linear, 9, 4)}, IMAGE),
    "one dimension": (
        lambda m, x: m.b(F.max_pool1d(F.relu(m.a(x)), 2)).mean(-1), {"a": partial(nn.Conv1d, 5, 6, 3, padding=1), "b": partial(nn.Conv1d, 6, 4, 1)}, TOKENS,
    ),
    "sigmoid gate": (
        lambda m, x: (lambda y: m.d(y * m.c(F.silu(m.b(y.mean((2, 3), keepdim=True)))).sigmoid()))(F.relu(m.a(x))),
        {"a": conv(3, 6), "b": conv(6, 4), "c": conv(4, 6), "d": conv(6, 4)}, IMAGE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKS)
def test_files_compute_and_cost_the_same(name: str, function_model, finish_at_random, forms_of, tmp_path) -> None:  # type: ignore[no-untyped-def]
    function, parts, shape = BLOCKS[name]
    torch.manual_seed(NO_TIES)
    x = torch.rand(8, *shape)
    finished = finish_at_random(function_model(function, **{name: build() for name, build in parts.items()}).eval(), x)
    forms = forms_of(finished, x, tmp_path)
    room = max(forms.unit, 2.0**-20 * float(forms.integers.abs().max()))
    for other in (forms.torch, forms.qdq, forms.qonnx):
        assert float((other - forms.integers).abs().max()) <= room
    for cost in forms.costs:
        assert cost == finished.cost.totals()


@pytest.mark.parametrize("bits", [3, 4, 7, 8, 12])
def test_every_width_is_read_back(bits: int, finish_at_random, tmp_path) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(bits)
    finished = finish_at_random(
        hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25).eval(),
        torch.rand(8, 1, 8, 8),
        weight_bits=(bits,),
        activation_bits=(bits,),
    )
    read = hwmodel.load_onnx(export_onnx(finished, tmp_path / "qdq.onnx"), axes={"batch": 1})
    assert torch.equal(
        read.compression.weight_bits[read.network.reads.sum(1) > 0], finished.compression.weight_bits[finished.network.reads.sum(1) > 0]
    )
    assert (
        read.compression.activation_bits[read.network.width_owner].tolist()
        == finished.compression.activation_bits[finished.network.width_owner].tolist()
    )


def test_the_importers_module_computes_what_the_file_says(finish_at_random, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from hwmodel.onnx_import import load_module

    torch.manual_seed(4)
    x = torch.rand(8, 1, 8, 8)
    finished = finish_at_random(hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25).eval(), x)
    module, _ = load_module(export_onnx(finished, tmp_path / "qdq.onnx"), axes={"batch": 1}, fake_quantize=True)
    torch.testing.assert_close(module(x), finished.model(x), rtol=1e-5, atol=1e-5)


def test_any_batch_runs_unless_one_is_fixed(finish_at_random, tmp_path) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(4)
    finished = finish_at_random(hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25).eval(), torch.rand(8, 1, 8, 8))

    def batch(path) -> object:  # type: ignore[no-untyped-def]
        size = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0]
        return size.dim_param or size.dim_value

    assert batch(export_onnx(finished, tmp_path / "a.onnx")) == "batch"
    assert batch(export_onnx(finished, tmp_path / "b.onnx", batch=3)) == 3
    assert batch(export_onnx(finished, tmp_path / "c.onnx", "qonnx")) == 1


def test_rounding_moves_before_a_pool_without_changing_a_bit(finish_at_random) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(4)
    x = torch.rand(8, 1, 8, 8)
    finished = finish_at_random(hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.5).eval(), x)
    moved = rounded_before_pools(finished.model)
    assert [n.name for n in moved.graph.nodes] != [n.name for n in finished.model.graph.nodes]
    assert torch.equal(moved(x), finished.model(x))


def test_what_cannot_be_written_is_refused(function_model, prune_at_random, finish_at_random, tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = function_model(lambda m, x: m.b(torch.cumsum(m.a(x), 1)), a=nn.Linear(8, 6), b=nn.Linear(6, 4))
    _, finished = prune_at_random(model, torch.randn(6, 8))
    with pytest.raises(InputError, match="operator cumsum"):
        export_onnx(finished, tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()
    with pytest.raises(InputError, match="style is 'fp8'; the choices are qdq, qonnx"):
        export_onnx(finished, tmp_path / "x.onnx", "fp8")
