"""Any loop: two processes under torchrun, one graph under torch.compile, no wait for the host per layer, kill -9 and go on."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

import djpq
import hwmodel

ROOT = Path(__file__).parents[2]
MACHINE = hwmodel.load_accelerator("loom")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def made(name: str, steps: int = 20) -> tuple[djpq.CompressibleModel, djpq.Objective, torch.Tensor, torch.Tensor]:
    """A calibrated model in training with its objective, and a batch."""
    torch.manual_seed(0)
    x, y = torch.rand(16, 1, 8, 8), torch.randint(0, 10, (16,))
    model = hwmodel.zoo.build(name, in_channels=1, image_size=8, num_classes=10, width=0.25)
    compressible = djpq.attach(model, hwmodel.trace(model, (x[:1],)))
    compressible.calibrate(x)
    compressible.train()
    settings = djpq.Settings(epochs=5, bits_lr=1.0, gate_lr=1.0)
    return compressible, djpq.Objective(compressible, MACHINE, djpq.Budget(bops="20%"), settings, steps), x, y


# ---- torch.compile ---------------------------------------------------------------------------------------------------


FROM_TORCH = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")


@FROM_TORCH
@pytest.mark.parametrize("name", ["lenet5", pytest.param("resnet8", marks=pytest.mark.slow)])
def test_gates_and_quantizers_are_one_graph(name: str) -> None:
    compressible, _, x, _ = made(name)
    told = torch._dynamo.explain(compressible)(x)
    assert told.graph_break_count == 0, told.break_reasons
    assert told.graph_count == 1


@FROM_TORCH
def test_what_the_budget_prices_is_one_graph() -> None:
    """Information, widths and channels; the price of them on a machine (`hwmodel.simulate`) is a graph of its own, with breaks."""
    compressible, _, _, _ = made("lenet5")

    def terms() -> torch.Tensor:
        compression = compressible.compression()
        return (
            compressible.information() + compression.kept_channels.sum() + compression.weight_bits.sum() + compression.activation_bits.sum()
        )

    told = torch._dynamo.explain(terms)()
    assert told.graph_break_count == 0, told.break_reasons


# ---- no wait for the host --------------------------------------------------------------------------------------------

WAITS = ("aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "cudaStreamSynchronize")


def waits_of_a_step(name: str) -> tuple[int, int]:
    """Values read by the host in one training step, and layers of the network."""
    compressible, objective, x, y = made(name)
    optimizer = torch.optim.SGD(objective.parameter_groups(), lr=1e-3)

    def step() -> None:
        loss = objective(F.cross_entropy(compressible(x), y))  # type: ignore[arg-type]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.advance()

    step()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    counts = {event.key: event.count for event in seen.key_averages()}
    assert counts["aten::convolution"] > 1  # it saw the step
    return sum(counts.get(name, 0) for name in WAITS), len(compressible.quantizers)


def test_a_step_waits_for_no_layer() -> None:
    (few, layers), (many, more) = waits_of_a_step("lenet5"), waits_of_a_step("resnet20")
    assert more > 3 * layers
    assert many == few
    assert few <= 12


# ---- two processes ---------------------------------------------------------------------------------------------------

TRAINING = '''
import json, sys
import torch
import torch.nn.functional as F
from torch import nn
import djpq, hwmodel

torch.set_num_threads(1)


class Small(nn.Module):
    """No batch normalisation: its statistics are those of a process."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.Linear(128, 10)

    def forward(self, x):
        return self.c(F.relu(self.b(F.relu(self.a(x)))).flatten(1))


def losses(rank, ranks):
    torch.manual_seed(0)
    data = torch.rand(24, 32, 1, 8, 8)
    classes = torch.randint(0, 10, (24, 32))
    model = Small()
    compressible = djpq.attach(model, hwmodel.trace(model, (data[0, :1],)), log_variance=-40.0)  # gates without noise to speak of
    compressible.calibrate(data[0])
    compressible.train()
    settings = djpq.Settings(epochs=5, bits_lr=1.0, gate_lr=2.0, log_variance=-40.0)
    objective = djpq.Objective(compressible, hwmodel.load_accelerator("loom"), djpq.Budget(bops="10%"), settings, len(data))
    forward = nn.parallel.DistributedDataParallel(compressible) if ranks > 1 else compressible
    optimizer = torch.optim.SGD(objective.parameter_groups(), lr=1e-2)
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    found = []
    for x, y in zip(data, classes):
        x, y = x.chunk(ranks)[rank], y.chunk(ranks)[rank]
        loss = objective(F.cross_entropy(forward(x), y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.advance()
        mean = loss.detach().clone()
        if ranks > 1:
            torch.distributed.all_reduce(mean)
        found.append(float(mean) / ranks)
    return found


if __name__ == "__main__":
    ranks = int(sys.argv[1])
    if ranks > 1:
        torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank() if ranks > 1 else 0
    found = losses(rank, ranks)
    if rank == 0:
        with open(sys.argv[2], "w") as file:
            json.dump(found, file)
    if ranks > 1:
        torch.distributed.destroy_process_group()
'''


@pytest.mark.slow
def test_two_processes_learn_what_one_does_from_the_joined_batch(tmp_path: Path) -> None:
    script = tmp_path / "training.py"
    script.write_text(TRAINING)
    curves = []
    for ranks in (1, 2):
        out = tmp_path / f"{ranks}.json"
        launch = (
            [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else [sys.executable]
        )
        subprocess.run([*launch, str(script), str(ranks), str(out)], env=environment(), check=True, capture_output=True, timeout=240)
        curves.append(torch.tensor(json.loads(out.read_text())))
    assert len(curves[0]) == 24
    assert curves[0][-1] != curves[0][0]
    torch.testing.assert_close(curves[1], curves[0], rtol=1e-4, atol=1e-5)


# ---- kill -9 ---------------------------------------------------------------------------------------------------------

COMPRESSION = """
import sys
from pathlib import Path
import torch
import djpq, hwmodel
from safetensors.torch import save_file

torch.set_num_threads(1)
data = djpq.load_data("digits")
data = djpq.Data("digits", *(tuple(t[:300] for t in data.split(s)) for s in ("train", "validation", "test")), num_classes=10)
torch.manual_seed(0)
model = hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25).eval()
settings = djpq.Settings(epochs=12, gate_lr=0.5, bits_lr=1.2)
checkpoint = Path(sys.argv[2]) if len(sys.argv) > 2 else None
result = djpq.compress(model, data, hwmodel.load_accelerator("loom"), djpq.Budget(bops="3%"), settings, checkpoint=checkpoint)
save_file({name: value.contiguous() for name, value in result.model.state_dict().items()}, sys.argv[1])
"""


@pytest.mark.slow
def test_killed_and_resumed_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    script, checkpoint = tmp_path / "compression.py", tmp_path / "run.safetensors"
    script.write_text(textwrap.dedent(COMPRESSION))
    run = [sys.executable, str(script)]
    subprocess.run([*run, str(tmp_path / "whole.safetensors")], env=environment(), check=True, timeout=240)
    process = subprocess.Popen([*run, str(tmp_path / "cut.safetensors"), str(checkpoint)], env=environment())
    deadline = time.monotonic() + 120
    while not checkpoint.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoint.is_file()
    assert not (tmp_path / "cut.safetensors").is_file()
    subprocess.run([*run, str(tmp_path / "cut.safetensors"), str(checkpoint)], env=environment(), check=True, timeout=240)
    assert (tmp_path / "cut.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
