"""A profile's YAML text: read without surprises, and every mistake in it told with file and line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from .errors import InputError, nearest


@dataclass(frozen=True)
class ProfileFile:
    """A YAML mapping that remembers where its keys stand."""

    path: Path
    tree: yaml.Node
    content: dict[str, Any]

    @classmethod
    def read(cls, path: Path, known: Sequence[str]) -> "ProfileFile":
        """Return the mapping in a file; InputError when it is none, when a key stands twice, or when it is not YAML."""
        try:
            text = path.read_text(encoding="utf-8")
            tree = yaml.compose(text, Loader=yaml.SafeLoader)
            content = yaml.safe_load(text)
        except UnicodeDecodeError as error:
            raise InputError(f"{path}:1: not valid YAML: byte {error.start} is not UTF-8") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
            raise InputError(f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {problem}") from error
        if tree is None or not isinstance(content, dict):
            raise InputError(f"{path}:1: a profile is a mapping with the keys {', '.join(known)}")
        _check_no_key_twice(path, tree)
        return cls(path, tree, content)

    def at(self, *where: str) -> str:
        """Return `file:line` of the deepest key of a path that the file has."""
        line, node = 1, self.tree
        for part in where:
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            found = next(((key, value) for key, value in pairs if key.value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return f"{self.path}:{line}"

    def problem(self, error: ValidationError, profile_keys: Sequence[str], quantity_keys: Sequence[str]) -> InputError:
        """Return the first thing that is wrong as one line."""
        problems = error.errors()
        problem = next(
            (each for each in problems if each["type"] == "extra_forbidden"), problems[0]
        )  # a misspelt key is also a missing one
        where = tuple(str(part) for part in problem["loc"])
        at = f"{self.at(*where)}: {'.'.join(where)}"
        if problem["type"] == "extra_forbidden":
            known = profile_keys if len(where) == 1 else quantity_keys
            return InputError(f"{at}: unknown key{nearest(where[-1], known)}; known are {', '.join(known)}")
        if problem["type"] == "missing":
            return InputError(f"{at} is missing")
        return InputError(f"{at}: value is {problem['input']!r}; {problem['msg'][0].lower()}{problem['msg'][1:]}")


def _check_no_key_twice(path: Path, node: yaml.Node) -> None:
    """YAML lets a later key win over an earlier one in silence; a profile must not."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise InputError(f"{path}:{line}: the key {key.value} stands twice, first in line {seen[key.value]}; keep one")
            seen[key.value] = line
            _check_no_key_twice(path, value)
