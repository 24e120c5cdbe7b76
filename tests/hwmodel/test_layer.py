"""MACs of a layer and how its groups shrink, and shares of coverage, in closed form."""

import pytest

from hwmodel import Coverage, Layer


@pytest.mark.parametrize(
    ("kind", "groups", "channels", "macs", "whole_groups"),
    [("conv", 1, (6, 4), 4 * 6 * 9 * 64, False), ("conv", 2, (6, 4), 4 * 3 * 9 * 64, True), ("conv", 2, (6, 8), 8 * 3 * 9 * 64, False), ("conv", 6, (6, 12), 12 * 9 * 64, True),
     ("conv", 1, (1, 4), 4 * 9 * 64, False), ("pool", 1, (6, 6), 0, False), ("add", 1, (6, 6), 0, False)],
)  # fmt: skip
def test_macs_of_a_layer(kind: str, groups: int, channels: tuple[int, int], macs: int, whole_groups: bool) -> None:
    made = Layer(
        name="a", kind=kind, inputs=("x",), weight=None, in_channels=channels[0], out_channels=channels[1], kernel_size=(3, 3),
        input_size=(8, 8), output_size=(8, 8), groups=groups, in_groups=(), out_groups=(),
    )  # fmt: skip
    assert (made.macs, made.whole_groups) == (macs, whole_groups)


@pytest.mark.parametrize(("coverage", "share"), [(Coverage(3, 1), 1), (Coverage(2, 1, {"roll": 1}), 0.75), (Coverage(0, 0), 0)])
def test_coverage(coverage: Coverage, share: float) -> None:
    assert coverage.share == share
