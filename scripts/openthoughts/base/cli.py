"""What every command-line program of the workflow has in common: one-sentence errors and a log on standard error."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from typing import ParamSpec

Arguments = ParamSpec("Arguments")


class UserError(Exception):
    """An error the user can fix: the message is one sentence that names the thing and the remedy."""


def command(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """Wrap a program's ``main(argv) -> int``: log to standard error, turn ``UserError`` into one line and status 1."""

    @functools.wraps(main)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
        try:
            return main(*args, **kwargs)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

    return wrapped
