"""Starlark within limits: a rule file is run to its end, or refused with the place and the reason.

Starlark has no recursion and no `while`, and here it reads nothing but its own text. That leaves
three ways to keep a process busy or to end it: a long loop, which is cut off by a count of
instructions; an expression nested so deeply that the interpreter, which is recursive, runs out of
stack, which is why it runs on a stack made to measure; and values of any size (`"x" * 1000000000`),
which nothing here prevents up to the 4 GiB that the interpreter takes for one: whoever may write
the rules of a node may stop it.
"""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Callable, Mapping
from itertools import accumulate, count
from typing import Final

import starlark

from execnode.policy.rules.language import Refused

__all__ = ["RuleError", "run"]

_STEPS_MAX: Final = 500  # of the interpreter's checks, one for about 1000 instructions

# What deepens the tree that a text is parsed to. Measured at no more than 8 KiB of stack each.
_DEEPENS: Final = re.compile(
    r"[\[({+\-*/%|&^~<>=!:.]|\b(?:and|def|elif|else|for|if|in|lambda|not|or)\b"
)
_DEEPENS_MAX: Final = 1 << 16
# Some of it takes time in the square of the depth: a tenth of a second for calls in calls.
_DEPTH_MAX: Final = 500
_FUNCTION: Final = re.compile(r"\b(?:def|lambda)\b")
_STRING: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'')
_STACK_EACH: Final = 1 << 14
# For values nested as deeply as _STEPS_MAX allows.
_STACK_LEAST: Final = 1 << 26

_NAME: Final = "rules"  # stands for the file in the interpreter's messages
_PLACE: Final = re.compile(
    rf"^error: (?P<message>.*)\n +--> {_NAME}:(?P<line>\d+):(?P<column>\d+)$", re.MULTILINE
)
_WORDS: Final = {
    re.compile(rf"^(?:{Refused.__name__}|StarlarkError): "): "",
    re.compile(r"^Parse error: (.*?)(?:, expected one of .*)?$"): r"\1",
    re.compile(r"^.*`serde::serialize` not supported on type (`\w+`)$"): (
        r"a value of type \1 says nothing in a rule"
    ),
    re.compile(r"^.*cancelled.*$", re.IGNORECASE): (
        f"the file is at work for too long (over {_STEPS_MAX}000 instructions)"
    ),
}
_stack_size: Final = threading.Lock()


class RuleError(ValueError):
    """A rule file that cannot be used.

    file: its name. line, column: where, from 1; None when the message is about all of it.
    """

    def __init__(
        self, file: str, message: str, line: int | None = None, column: int | None = None
    ) -> None:
        place = file if line is None else f"{file}:{line}:{column}"
        super().__init__(f"{place}: {message}")
        self.file = file
        self.message = message
        self.line = line
        self.column = column


def run(text: str, file: str, functions: Mapping[str, Callable[..., None]]) -> None:
    """Run a rule file, which calls the functions.

    What a function raises as Refused becomes the error at the place of the call.

    Raises RuleError.
    """
    deep = sum(1 for _ in _DEEPENS.finditer(text))
    if deep > _DEEPENS_MAX:
        raise RuleError(file, "the file is too large; spread the rules over several files")
    if _depth(text) > _DEPTH_MAX or len(_FUNCTION.findall(text)) > _DEPTH_MAX:
        raise RuleError(file, f"the file nests brackets or functions more than {_DEPTH_MAX} deep")
    errors: list[BaseException] = []

    def evaluate() -> None:
        try:
            _evaluate(text, functions)
        except BaseException as error:  # raised again where it is awaited
            errors.append(error)

    _on_stack(max(_STACK_LEAST, deep * _STACK_EACH), evaluate, file)
    for error in errors:
        if isinstance(error, starlark.StarlarkError):
            raise _told(error, text, file) from None
        if not isinstance(error, Exception):  # so pyo3 tells that the interpreter has given up
            raise RuleError(file, f"a value grows beyond all bounds: {error}") from None
        raise error


def _depth(text: str) -> int:
    """How deeply the brackets of a text are nested, in good part: strings over lines count too."""
    brackets = re.findall(r"[\[({\])}]", _STRING.sub("", text))
    return max(accumulate((1 if each in "[({" else -1 for each in brackets), initial=0))


def _evaluate(text: str, functions: Mapping[str, Callable[..., None]]) -> None:
    dialect = starlark.Dialect.standard()
    dialect.enable_top_level_stmt = True
    dialect.enable_f_strings = True
    dialect.enable_load = False
    module = starlark.Module()
    for name, function in functions.items():
        module.add_callable(name, _checked(name, function))
    steps = count()
    options = starlark.EvalOptions(check_cancelled=lambda: next(steps) >= _STEPS_MAX)
    tree = starlark.parse(_NAME, text, dialect)
    starlark.eval_with(options, module, tree, starlark.Globals.standard())


def _checked(name: str, function: Callable[..., None]) -> Callable[..., None]:
    """A function that tells of wrong arguments in words for the author of a rule file."""
    signature = inspect.signature(function)

    def call(*args: object, **named: object) -> None:
        try:
            bound = signature.bind(*args, **named)
        except TypeError as error:
            raise Refused(f"{name}: {error}") from None
        try:
            function(*bound.args, **bound.kwargs)
        except Refused as refused:
            raise Refused(f"{name}: {refused}") from None

    return call


def _on_stack(size: int, function: Callable[[], None], file: str) -> None:
    """Call a function on a stack of so many bytes, which are taken only as they are used."""
    thread = threading.Thread(target=function, name="execnode-rules")
    with _stack_size:  # the size is for the next thread that the process starts
        before = threading.stack_size(size)
        try:
            thread.start()
        except RuntimeError:  # no room for the stack
            raise RuleError(file, "there is not enough memory to read the file") from None
        finally:
            threading.stack_size(before)
    thread.join()


def _told(error: starlark.StarlarkError, text: str, file: str) -> RuleError:
    """Return an error of the interpreter in the form of ours."""
    told = str(error)
    places = list(_PLACE.finditer(told))
    if places:
        message, line, column = places[-1].group("message", "line", "column")
        return RuleError(file, _in_our_words(message), int(line), int(column))
    message = told.removeprefix("error: ").partition("\n")[0]
    kept = text.rstrip()  # the place is not told when the text ends too early
    return RuleError(
        file, _in_our_words(message), kept.count("\n") + 1, len(kept) - kept.rfind("\n")
    )


def _in_our_words(message: str) -> str:
    for pattern, words in _WORDS.items():
        message = pattern.sub(words, message)
    return message[:1].lower() + message[1:]
