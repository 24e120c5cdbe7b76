"""Boolean functions of Liberty cells, compiled to operations on words: `!` `'` `^` `*` `&` `+` `|`, a space is an AND."""

import re
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Words = NDArray[np.uint64]
Function = Callable[[Mapping[str, Words]], Words]
ALL = ~np.uint64(0)


def compile_function(text: str) -> tuple[Function, tuple[str, ...]]:
    """Return a function of words by pin name, and the pins that it reads; each bit of a word is a case of its own.

    **Errors**: InputError shows the text that is no Boolean function.
    """
    reader = _Reader(text)
    function = reader.sum()
    if reader.tokens:
        raise InputError(f"cell function {text!r} is not understood at {reader.tokens[0]!r}; it must be made of pins and ! ' ^ * & + | ( )")
    return function, tuple(dict.fromkeys(re.findall(r"[A-Za-z_]\w*", text)))


class _Reader:
    """Recursive descent: a sum of products of exclusive ors of operands."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens = text, re.findall(r"[A-Za-z_]\w*|\S", text)

    def take(self) -> str:
        if not self.tokens:
            raise InputError(f"cell function {self.text!r} ends too early; it must be made of pins and ! ' ^ * & + | ( )")
        return self.tokens.pop(0)

    def sum(self) -> Function:
        result = self.product()
        while self.tokens and self.tokens[0] in "+|":
            self.take()
            result = _or(result, self.product())
        return result

    def product(self) -> Function:
        result = self.exclusive()
        while self.tokens and self.tokens[0] not in "+|)":
            if self.tokens[0] in "*&":
                self.take()
            result = _and(result, self.exclusive())
        return result

    def exclusive(self) -> Function:
        result = self.operand()
        while self.tokens and self.tokens[0] == "^":
            self.take()
            result = _xor(result, self.operand())
        return result

    def operand(self) -> Function:
        token = self.take()
        if token in ("!", "~"):
            return _not(self.operand())
        if token == "(":
            result = self.sum()
            if self.take() != ")":
                raise InputError(f"cell function {self.text!r} has a bracket that does not close")
        elif re.fullmatch(r"[A-Za-z_]\w*", token):
            result = _pin(token)
        else:
            raise InputError(f"cell function {self.text!r} is not understood at {token!r}; it must be made of pins and ! ' ^ * & + | ( )")
        while self.tokens and self.tokens[0] == "'":
            self.take()
            result = _not(result)
        return result


def _pin(name: str) -> Function:
    return lambda pins: pins[name]


def _not(operand: Function) -> Function:
    return lambda pins: operand(pins) ^ ALL


def _and(left: Function, right: Function) -> Function:
    return lambda pins: left(pins) & right(pins)


def _or(left: Function, right: Function) -> Function:
    return lambda pins: left(pins) | right(pins)


def _xor(left: Function, right: Function) -> Function:
    return lambda pins: left(pins) ^ right(pins)
