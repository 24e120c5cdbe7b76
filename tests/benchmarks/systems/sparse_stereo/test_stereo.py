"""Rendered pairs are exact, occlusion is neither missed nor invented, and the network's correlation is what loops say."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import djpq
import hwmodel
from benchmarks.systems.sparse_stereo.stereo import (
    BAND,
    DISPARITIES,
    HEIGHT,
    WIDTH,
    StereoNet,
    errors,
    scene,
    stereo_data,
    stereo_loss,
    texture,
)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_a_pixel_is_found_again_at_its_disparity_exactly_where_it_is_visible(seed: int) -> None:
    (left, right), (disparity, visible) = scene(np.random.RandomState(seed), noise=0)
    same = np.zeros((HEIGHT, WIDTH), dtype=bool)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            there = x - int(disparity[y, x])
            same[y, x] = there >= 0 and right[y, there] == left[y, x] and 0 < left[y, x] < 1
    clipped = (left <= 0) | (left >= 1)
    assert np.array_equal(same[~clipped], visible[~clipped] == 1)
    assert set(np.unique(disparity)) <= set(range(DISPARITIES))
    assert visible.mean() > 0.7


def test_a_texture_holds_its_band_alone() -> None:
    values = texture(np.random.RandomState(0), 64, 96)
    power = np.abs(np.fft.fft2(values - values.mean())) ** 2
    radius = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(96)[None, :])
    outside = (radius < BAND[0]) | (radius > BAND[1])
    assert power[outside].sum() < 1e-20 * power.sum()
    assert (values.mean(), values.std()) == pytest.approx((0.5, 0.15))


def test_the_data_never_change_and_their_noise_is_as_stated() -> None:
    first, again = stereo_data(4, 2), stereo_data.__wrapped__(4, 2)
    assert first.fingerprint == again.fingerprint
    assert first.train[0].shape == first.train[1].shape == (4, 2, HEIGHT, WIDTH)
    clean, noisy = (scene(np.random.RandomState(5), noise=noise)[0] for noise in (0.0, 0.02))
    inside = (clean > 0.1) & (clean < 0.9)
    assert (noisy - clean)[inside].std() == pytest.approx(0.02, rel=0.05)


def test_loss_and_errors_count_visible_pixels_alone() -> None:
    target = torch.zeros(1, 2, 2, 2)
    target[0, 0] = torch.tensor([[3.0, 5.0], [7.0, 1.0]])
    target[0, 1] = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    assert stereo_loss(torch.full((1, 2, 2), 3.0), target).item() == pytest.approx((0 + 1.5 + 1.5) / 3)
    data = djpq.Data("one", *[(torch.zeros(1, 2, 2, 2), target)] * 3)

    class Constant(nn.Module):
        def forward(self, pair: torch.Tensor) -> torch.Tensor:
            return torch.full((len(pair), 2, 2), 3.5)

    assert errors(Constant(), data, "test") == (pytest.approx((0.5 + 1.5 + 2.5) / 3), pytest.approx(2 / 3))


def test_the_correlation_and_the_soft_argmin_are_what_loops_say() -> None:
    net = StereoNet(4).eval()
    net.features = nn.Identity()
    net.aggregation = nn.Identity()
    pair = torch.randn(1, 2, 3, 12)
    found = net(pair)
    for y in range(3):
        for x in range(12):
            scores = [float(pair[0, 0, y, x] * pair[0, 1, y, x - d]) if x >= d else 0.0 for d in range(DISPARITIES)]
            shares = np.exp(scores) / np.exp(scores).sum()
            assert found[0, y, x].item() == pytest.approx(float(shares @ np.arange(DISPARITIES)), abs=1e-4)


def test_every_product_is_counted() -> None:
    network = hwmodel.trace(StereoNet(6), (torch.zeros(1, 2, HEIGHT, WIDTH),))
    features = 9 * (6 + 36 + 36)
    aggregation = 9 * (8 * 6 + 36 + 6 * 8)
    assert hwmodel.macs(network) == HEIGHT * WIDTH * (2 * features + 6 * DISPARITIES + aggregation)
    assert network.layers[network.index("matmul")].kind == "matmul"


def test_a_compressed_network_is_proven() -> None:
    data = stereo_data(8, 2)
    model = StereoNet(6).eval()
    attached = djpq.attach(model, hwmodel.trace(model, (data.train[0][:1],)))
    attached.calibrate(data.train[0])
    machine = hwmodel.load_accelerator("loom")
    from djpq.objective import decide

    decide(attached.eval(), machine, {})
    assert djpq.finalize(attached, machine, data.train[0]).proof.holds
