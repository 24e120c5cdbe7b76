"""A small stereo task with exact disparity: rendered pairs, a network with a correlation volume and a soft argmin, and its errors.

A scene is a background and some rectangles in front of it, each a plane of constant disparity with a band-limited texture of its own. The left
image shows the nearest plane at every pixel; the right one shows every plane moved left by its disparity, a whole number of pixels, so before
noise `right[y, x - d] = left[y, x]` holds exactly wherever the plane is seen in both. Where it is not the pixel is occluded and counts in no error.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

import djpq

HEIGHT, WIDTH, DISPARITIES = 32, 64, 8
NOISE = 0.02
BAND = (0.06, 0.3)  # cycles a pixel
Array = NDArray[np.float64]


def texture(draw: np.random.RandomState, height: int, width: int) -> Array:
    """Return noise of the frequencies in `BAND` with mean 0.5 and deviation 0.15. **Shapes**: [height, width]."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    radius = np.hypot(rows, columns)
    spectrum = np.fft.rfft2(draw.standard_normal((height, width))) * ((radius >= BAND[0]) & (radius <= BAND[1]))
    values = np.fft.irfft2(spectrum, s=(height, width))
    return 0.5 + 0.15 * (values - values.mean()) / values.std()


def scene(draw: np.random.RandomState, noise: float = NOISE) -> tuple[Array, Array]:
    """Return a pair and its truth.

    **Shapes**: [2, HEIGHT, WIDTH] each: left and right image, clipped to 0 to 1; disparity of the left image and 1 where it is seen in both.
    """
    planes = int(draw.randint(2, 5))
    disparities = np.sort(draw.permutation(DISPARITIES)[: planes + 1])
    left, right = np.zeros((HEIGHT, WIDTH)), np.zeros((HEIGHT, WIDTH))
    nearest = np.zeros((HEIGHT, WIDTH), dtype=int)  # plane seen by the left eye, and below by the right one, at each pixel
    nearest_right = np.zeros((HEIGHT, WIDTH), dtype=int)
    columns = np.arange(WIDTH)
    for plane, disparity in enumerate(disparities.tolist()):
        covers = np.ones((HEIGHT, WIDTH + DISPARITIES), dtype=bool)
        if plane:
            height, width = draw.randint(8, 25), draw.randint(12, 33)
            top, start = draw.randint(0, HEIGHT - height + 1), draw.randint(0, WIDTH - width + 1)
            covers[:] = False
            covers[top : top + height, start : start + width] = True
        image = texture(draw, HEIGHT, WIDTH + DISPARITIES)
        seen, seen_right = covers[:, :WIDTH], covers[:, columns + disparity]
        left, nearest = np.where(seen, image[:, :WIDTH], left), np.where(seen, plane, nearest)
        right, nearest_right = np.where(seen_right, image[:, columns + disparity], right), np.where(seen_right, plane, nearest_right)
    disparity = disparities[nearest]
    there = columns - disparity
    visible = (there >= 0) & (np.take_along_axis(nearest_right, there.clip(min=0), axis=1) == nearest)
    pair = np.stack([left, right]) + noise * draw.standard_normal((2, HEIGHT, WIDTH))
    return pair.clip(0, 1), np.stack([disparity, visible]).astype(float)


@cache
def stereo_data(train: int, held_out: int) -> djpq.Data:
    """Return the same pairs at every call: inputs [n, 2, HEIGHT, WIDTH], targets [n, 2, HEIGHT, WIDTH] of disparity and visibility."""
    splits = []
    for number, count in enumerate((train, held_out, held_out)):
        draw = np.random.RandomState(number)
        pairs = [scene(draw) for _ in range(count)]
        splits.append(tuple(torch.from_numpy(np.stack(part)).float() for part in zip(*pairs, strict=True)))
    return djpq.Data("stereo", *splits)  # type: ignore[arg-type]


class StereoNet(nn.Module):
    """Features of both images by the same convolutions, their correlation at every disparity, three more convolutions, a soft argmin.

    The correlation is a matrix product for each pixel, a row of features with eight columns of the other image's, so that it is priced as one.
    """

    def __init__(self, channels: int = 24) -> None:
        super().__init__()
        sizes = [(1, channels), (channels, channels), (channels, channels)]
        self.features = nn.Sequential(*normalised(sizes))
        self.aggregation = nn.Sequential(
            *normalised([(DISPARITIES, channels), (channels, channels)]), nn.ReLU(), nn.Conv2d(channels, DISPARITIES, 3, padding=1)
        )
        self.register_buffer("disparities", torch.arange(float(DISPARITIES)).view(1, DISPARITIES, 1, 1))
        self.disparities: Tensor

    def forward(self, pair: Tensor) -> Tensor:
        """Return the disparity of the left image. **Shapes**: [n, 2, height, width] -> [n, height, width]."""
        left, right = self.features(pair[:, :1]), self.features(pair[:, 1:])
        width, widest = left.shape[-1], DISPARITIES - 1
        padded = functional.pad(right, (widest, 0))
        moved = torch.stack([padded[..., widest - d : widest - d + width] for d in range(DISPARITIES)], -1)  # [n, c, h, w, d]
        volume = left.permute(0, 2, 3, 1).unsqueeze(3) @ moved.permute(0, 2, 3, 1, 4)  # [n, h, w, 1, d]
        scores = self.aggregation(volume.squeeze(3).permute(0, 3, 1, 2))
        return (scores.softmax(1) * self.disparities).sum(1)


def normalised(sizes: list[tuple[int, int]]) -> list[nn.Module]:
    """Return 3 x 3 convolutions with batch normalisation and a ReLU between them; the last one has none."""
    layers: list[nn.Module] = []
    for inside, outside in sizes:
        layers += [nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
    return layers[:-1]


def stereo_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the smooth L1 error over visible pixels, in pixels. **Shapes**: [n, h, w] and [n, 2, h, w]."""
    disparity, visible = target[:, 0], target[:, 1]
    return (functional.smooth_l1_loss(output, disparity, reduction="none") * visible).sum() / visible.sum()


@torch.no_grad()
def errors(model: nn.Module, data: djpq.Data, split: str) -> tuple[float, float]:
    """Return the mean error in pixels and the share that is off by more than one, over visible pixels, in eval mode."""
    training = model.training
    model.eval()
    off = bad = seen = 0.0
    for pair, target in data.batches(split, 32):
        error, visible = (model(pair) - target[:, 0]).abs(), target[:, 1]
        off, bad, seen = off + float((error * visible).sum()), bad + float(((error > 1) * visible).sum()), seen + float(visible.sum())
    model.train(training)
    return off / seen, bad / seen


DEPTH = djpq.Task(loss=stereo_loss, score=lambda model, data, split: -errors(model, data, split)[0], distance=None)
