"""One training for a range of budgets holds each of them, and its lines have two ends."""

import torch

import djpq
import hwmodel
from benchmarks.conditioned import Line, compress_range


def test_every_budget_of_the_range_is_held() -> None:
    data, machine = djpq.load_data("digits"), hwmodel.load_accelerator("bitfusion")
    torch.manual_seed(0)
    model = djpq.pretrain(hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25), data, epochs=5)
    budgets = [djpq.Budget(bops=share) for share in ("3%", "1.5%", "0.8%")]
    results = compress_range(model, data, machine, budgets, djpq.Settings(epochs=12, gate_lr=0.2))
    used = [float(result.cost.bops / result.baseline.bops) for result in results]
    for share, limit in zip(used, (0.03, 0.015, 0.008), strict=True):
        assert 0.95 * limit <= share <= limit
    assert all(result.proof.holds for result in results)
    assert results[0].test_accuracy > 0.8


def test_a_line_moves_from_end_to_end() -> None:
    line = Line(torch.tensor(0.25))
    loose, tight = line.right_inverse(torch.tensor(3.0))
    assert line(loose, tight + 4.0).item() == 4.0
