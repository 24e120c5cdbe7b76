"""One run as a plan says it, and how a value is set by the path of its key: `settings.gamma`, `numbers.rows`, `budget.energy_pj`."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hwmodel.errors import InputError, nearest

from ..settings import Settings


class Pretraining(BaseModel):
    """How the float model is trained that every method starts from."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    epochs: int = Field(default=25, ge=1)
    batch_size: int = Field(default=100, ge=2)
    lr: float = Field(default=6e-3, gt=0)


class Entry(BaseModel):
    """One run. `numbers` are those of the machine that differ from its profile; `ladder` the
    budgets, this one among them, that one training goes through."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    network: str
    width: float = Field(default=1.0, gt=0)
    data: str
    data_root: str | None = None
    accelerator: str
    numbers: dict[str, float] = {}
    method: str = "djpq"
    budget: dict[str, float | str]
    seed: int = 0
    settings: Settings = Settings()
    pretraining: Pretraining = Pretraining()
    ladder: tuple[dict[str, float | str], ...] = ()

    def rungs(self) -> "list[Entry]":
        """Return the runs of the ladder that this one belongs to, one a budget; nothing without a ladder."""
        return [self.model_copy(update={"budget": budget}) for budget in self.ladder]


NESTED: dict[str, type[BaseModel]] = {"settings": Settings, "pretraining": Pretraining}
OPEN = ("numbers", "budget")


def check_path(path: str, where: str) -> None:
    """Raise InputError when no entry has a value at a path."""
    head, _, rest = path.partition(".")
    known: list[str] = [name for name in Entry.model_fields if name not in (*NESTED, *OPEN, "ladder")]
    known += [f"{name}.{key}" for name, model in NESTED.items() for key in model.model_fields]
    if path not in known and not (head in OPEN and rest):
        raise InputError(f"{where}: {path}: unknown key{nearest(path, known)}; known are numbers.NAME, budget.COST, {', '.join(known)}")


def with_values(entry: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry's content with values set by their paths; nothing of the given one is changed."""
    content = dict(entry)
    for path, value in values.items():
        head, _, rest = path.partition(".")
        if not rest:
            content[head] = value
            continue
        inner = content[head]
        content[head] = (inner.model_dump() if isinstance(inner, BaseModel) else dict(inner)) | {rest: value}
    return content


def value_at(entry: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path of an entry's content; None where there is none."""
    head, _, rest = path.partition(".")
    inner = entry.get(head)
    if not rest:
        return inner
    return getattr(inner, rest, None) if isinstance(inner, BaseModel) else (inner or {}).get(rest)


def validated(model: type[Any], content: Any, where: str) -> Any:
    """Return a pydantic model of the content; InputError with the first problem in one line."""
    if not isinstance(content, dict):
        raise InputError(f"{where}: expected a mapping with the keys {', '.join(model.model_fields)}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{where}: {_problem(model, error)}") from None


def _problem(model: type[Any], error: ValidationError) -> str:
    """Return the first thing that is wrong as one line."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        owner = next((nested for name, nested in NESTED.items() if key.startswith(name)), model if len(problem["loc"]) == 1 else None)
        known = owner.model_fields if owner else ()
        return f"{key}: unknown key" + (f"{nearest(str(problem['loc'][-1]), known)}; known are {', '.join(known)}" if known else "")
    if problem["type"] == "missing":
        return f"{key} is missing"
    message = problem["msg"]
    return f"{key} is {problem['input']!r}; {message[0].lower()}{message[1:]}"
