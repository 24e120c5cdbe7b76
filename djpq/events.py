"""Training traces as TensorBoard events: one run of TensorBoard for each run of a folder."""

import json
from pathlib import Path

from hwmodel.errors import InputError

from .catalogue import finished_names, read_file


def write_events(folder: Path, out: Path) -> int:
    """Write every number of every finished run's `metrics.jsonl` as scalars by step below `out`, and return how many runs there were.

    **Errors**: InputError without TensorBoard, or when there is no finished run.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("events need TensorBoard: pip install 'djpq[tensorboard]'") from error
    names = sorted(finished_names(folder))
    if not names:
        raise InputError(f"{folder}: no finished run (no readable */result.json)")
    for name in names:
        writer = SummaryWriter(str(out / name))
        for number, line in enumerate(read_file(folder, name, "metrics.jsonl").splitlines()):
            row = json.loads(line)
            for key, value in row.items():
                if key not in ("step", "epoch") and isinstance(value, int | float):
                    writer.add_scalar(key, value, int(row.get("step", number)))
        writer.close()
    return len(names)
