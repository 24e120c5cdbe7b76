"""Where a run stands after an epoch, in one file: parameters, optimizer, random numbers, and what has been decided.

A safetensors file whose metadata hold the rest as JSON; written beside itself and renamed, so what exists is whole.
"""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hwmodel.errors import InputError
from hwmodel.files import whole

from .compressible import CompressibleModel
from .loop import Loop


class Checkpoint:
    """A file to go on from. `epoch` and `history` are those of the file, or of a run that has not begun.

    **Errors**: InputError for a file that is damaged, or that belongs to a run with other settings.
    """

    def __init__(self, path: Path | None, identity: str) -> None:
        self._path, self._identity = path, identity
        self.epoch, self.history, self._decided = 0, list[dict[str, float]](), False
        self._tensors: dict[str, Tensor] = {}
        if path is None or not path.is_file():
            return
        try:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {}).get("run", "{}"))
                self._tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except (SafetensorError, json.JSONDecodeError, OSError) as error:
            raise InputError(f"{path}: not a whole checkpoint ({error}); remove it to start the run again") from None
        if about.get("identity") != identity:
            raise InputError(f"{path}: a checkpoint of a run with other settings, limits or network; remove it or give another path")
        self.epoch, self.history, self._decided = about["epoch"], about["history"], about["decided"]

    def restore(self, compressible: CompressibleModel) -> None:
        """Put the model where it was, its decided widths and channels included."""
        state = {name.removeprefix("model."): value for name, value in self._tensors.items() if name.startswith("model.")}
        if self._decided:
            compressible.freeze(state)
        if state:
            compressible.load_state_dict(state)

    def resume(self, loop: Loop) -> None:
        """Put a loop where it was."""
        loop.load_state_dict({name.removeprefix("loop."): value for name, value in self._tensors.items() if name.startswith("loop.")})

    def write(self, epoch: int, compressible: CompressibleModel, loop: Loop, history: list[dict[str, float]]) -> None:
        """Save where the run stands; nothing without a path."""
        if self._path is None:
            return
        about = {"identity": self._identity, "epoch": epoch, "decided": loop.objective is None, "history": history}
        tensors = {f"model.{name}": value for name, value in compressible.state_dict().items()}
        tensors |= {f"loop.{name}": value for name, value in loop.state_dict().items()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with whole(self._path) as partial:
            save_file({name: value.clone().contiguous() for name, value in tensors.items()}, partial, {"run": json.dumps(about)})
