"""What every command-line program of the workflow has in common: one-sentence errors and a log on standard error."""

from __future__ import annotations

import functools
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

LIST = ".arguments"
"""Ending of a file that holds a list of arguments, one per line; ``@FILE`` on a command line stands for them."""


class UserError(Exception):
    """An error the user can fix: the message is one sentence that names the thing and the remedy."""


def expanded(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments, with the lines of FILE for each ``@FILE`` that names a list (``LIST``)."""
    for argument in arguments:
        if argument.startswith("@") and argument.endswith(LIST):
            try:
                yield from Path(argument[1:]).read_text(encoding="utf-8").splitlines()
            except OSError as error:
                raise UserError(f"{argument[1:]} cannot be read ({error.strerror}): run the workflow again.") from error
        else:
            yield argument


def command(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Wrap a program's ``main(argv) -> int``: log to standard error, turn ``UserError`` into one line and status 1.

    A list of arguments may be in a file (``expanded``), since a command line may be only so long.
    """

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
        try:
            return main(list(expanded(sys.argv[1:] if argv is None else argv)))
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

    return wrapped


def json_object(text: str, name: str, example: str = "{}") -> dict[str, Any]:
    """The JSON object that the argument ``name`` is given. Raises ``UserError`` for anything else."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"{name} is not JSON ({error}): give a JSON object such as {example}.") from error
    if not isinstance(value, dict):
        raise UserError(f"{name} is not a JSON object: give a JSON object such as {example}.")
    return value
