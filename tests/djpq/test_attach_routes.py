"""Which routes lead to a compressible model, and what torch takes apart on the way."""

import pytest
import torch
from torch import Tensor, nn

from djpq.attach import attach
from hwmodel import InputError, trace


def test_a_network_captured_by_a_fallback_cannot_be_attached() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) if x.sum() >= 0 else x  # type: ignore[no-any-return]

    model = Branching()
    with pytest.raises(InputError, match=r"torch\.export cannot capture Branching"):
        attach(model, trace(model, (torch.zeros(1, 4),)))


@pytest.mark.parametrize("in_parts", [False, True])
def test_operators_that_torch_takes_apart_are_quantized_where_they_are_priced(in_parts: bool) -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4 if in_parts else 2, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            if in_parts:
                y[:, :2].mul_(2.0)
            return self.b(y if in_parts else nn.functional.glu(y, 1)).flatten(1)  # type: ignore[no-any-return]

    torch.manual_seed(0)
    model = Parts().eval()
    x = torch.randn(8, 3, 8, 8)
    attached = attach(model, trace(model, (x[:1],)), gates=False)
    attached.calibrate(x)
    with torch.no_grad():
        result, expected = attached.eval()(x), model(x)
    assert (result - expected).norm() < 0.03 * expected.norm()  # eight bits everywhere; calibration may clip single elements
