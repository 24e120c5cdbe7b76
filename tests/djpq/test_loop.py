"""What a loop adds to plain training, each against its definition."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

import djpq
import hwmodel
from djpq.loop import Loop
from djpq.objective import parameter_groups
from djpq.oscillation import Oscillation
from djpq.teacher import Teacher
from djpq.train import compressible_of

Make = Callable[..., Loop]


@pytest.fixture(scope="module")
def digits() -> djpq.Data:
    data = djpq.load_data("digits")
    return djpq.Data("digits", *(tuple(t[:200] for t in data.split(s)) for s in ("train", "validation", "test")), num_classes=10)


@pytest.fixture
def make(digits: djpq.Data) -> Make:
    torch.manual_seed(0)
    model = hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25).eval()

    def loop(**settings: object) -> Loop:
        chosen = djpq.Settings(batch_size=50, gates=False, **settings)  # type: ignore[arg-type]
        compressible = compressible_of(model, digits, chosen)
        groups = parameter_groups(compressible, chosen, 1.0, 0.01)
        return Loop(
            compressible, Teacher(model, digits, chosen), digits, chosen, groups, lambda step: 1.0, torch.Generator().manual_seed(0)
        )

    return loop


def test_distillation_is_the_divergence_from_the_teacher(make: Make, digits: djpq.Data) -> None:
    loop = make(distill=0.3, distill_temperature=4.0)
    loop.compressible.eval()
    x, y = (part[:20] for part in digits.train)
    loss, entropy = loop.task_loss(x, y, torch.arange(20))
    output, wanted = loop.compressible(x), loop.teacher.model(x)
    p, q = (torch.softmax(logits / 4.0, 1) for logits in (wanted, output))
    divergence = (p * (p.log() - q.log())).sum(1).mean()
    assert entropy.item() == pytest.approx(functional.cross_entropy(output, y).item())
    assert loss.item() == pytest.approx((0.7 * entropy + 0.3 * 16 * divergence).item(), rel=1e-5)


def test_average_is_the_exponential_one_once_it_has_forgotten_its_start(make: Make) -> None:
    loop = make(average=0.5)
    expected = [p.detach().clone() for p in loop.trained]
    followed: list[list[torch.Tensor]] = []
    loop.optimizer.register_step_post_hook(lambda *_: followed.append([p.detach().clone() for p in loop.trained]))
    loop.epoch(0)
    for step, values in enumerate(followed):
        stays = min(0.5, (1 + step) / (10 + step))
        expected = [stays * average + (1 - stays) * value for average, value in zip(expected, values, strict=True)]
    loop.finish()
    for parameter, average in zip(loop.trained, expected, strict=True):
        assert torch.allclose(parameter, average, rtol=1e-4, atol=1e-6)


def test_normalisations_are_measured_again(make: Make) -> None:
    loop = make(reestimate=3)
    norm = next(m for m in loop.compressible.modules() if isinstance(m, torch.nn.BatchNorm2d))
    norm.running_mean.fill_(100.0)  # type: ignore[union-attr]
    loop.finish()
    assert norm.num_batches_tracked == 3
    assert float(norm.running_mean.abs().max()) < 10  # type: ignore[union-attr]


@pytest.mark.parametrize(("asked", "measured"), [({"average": 0.5}, 4), ({"average": 0.5, "reestimate": 0}, 0), ({}, 0)])
def test_an_average_measures_the_normalisations_unless_told_not_to(make: Make, asked: dict[str, float], measured: int) -> None:
    loop = make(**asked)  # on 200 images in batches of 50, all of which fit in the default
    norm = next(m for m in loop.compressible.modules() if isinstance(m, torch.nn.BatchNorm2d))
    before = int(norm.num_batches_tracked)  # type: ignore[arg-type]
    loop.finish()
    assert int(norm.num_batches_tracked) == (measured or before)  # type: ignore[arg-type]


def test_rates_rise_and_fall(make: Make) -> None:
    settings = djpq.Settings(warmup=0.1, schedule="cosine")
    assert [settings.rate(step, 100) for step in (0, 4)] == pytest.approx([0.1, 0.5 * 0.996], rel=1e-2)
    assert settings.rate(50, 100) == pytest.approx(0.5)
    assert djpq.Settings().rate(0, 100) == 1.0


def test_oscillation_counts_weights_that_turn_back(make: Make) -> None:
    compressible = make().compressible
    weight = compressible.module.get_parameter("fc2.weight")
    quantizer = dict(compressible.named_quantizers())["weight fc2/weight"]
    _, step, _ = quantizer.grid()
    monitor = Oscillation(compressible)
    with torch.no_grad():
        weight.zero_()
        for first, second in ((0.0, 0.0), (1.0, 1.0), (0.0, 2.0)):  # the first goes to and fro, the second on
            weight[0, 0], weight[0, 1] = first * step, second * step
            monitor.watch()
    shares = monitor.shares()
    assert shares["oscillating_fc2/weight"] == pytest.approx(1 / weight.numel())
    assert monitor.shares() == {}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch itself, when it compiles
def test_compiled_and_bf16_train_alike(make: Make) -> None:
    losses = {}
    for name, options in {"plain": {}, "compiled": {"compile": True}, "bf16": {"autocast": "bfloat16", "channels_last": True}}.items():
        loop = make(**options)
        losses[name] = [loop.epoch(i)["loss"] for i in range(3)]
    assert losses["compiled"] == pytest.approx(losses["plain"], rel=2e-2)
    assert losses["bf16"] == pytest.approx(losses["plain"], rel=0.1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch itself, when it compiles
def test_many_compiled_loops_in_one_process_stay_compiled(make: Make, digits: djpq.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_model = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **options: compile_model(model, backend="eager", **options))
    x, y = (part[:20] for part in digits.train)
    with torch._dynamo.config.patch(recompile_limit=2, fail_on_recompile_limit_hit=True):
        for _ in range(4):
            loop = make(compile=True)
            loop.compressible.train()
            loop.task_loss(x, y, torch.arange(20))[0].backward()
