"""A program that asks a model, declared once: its arguments, what they ask for, and what comes of the answers.

The command line, what is written from the store and the count of what is there all follow the declaration.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from openthoughts.base.cli import command
from openthoughts.inference.completions import complete_shard, count_stored
from openthoughts.inference.job import Asking, Prompted, add_arguments, read_asking
from openthoughts.inference.structured import ResponseSchema
from openthoughts.models.model import Model


class Main(Protocol):
    """A program's entry: takes its arguments (those of the process by default), returns its exit status."""

    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


class Argument(NamedTuple):
    """An argument of a program, as ``ArgumentParser.add_argument`` takes it."""

    flag: str
    options: dict[str, Any]


def argument(flag: str, **options: Any) -> Argument:
    """Declare an argument."""
    return Argument(flag, options)


@dataclass(frozen=True)
class Wanted:
    """The answers that a program wants, in the order of its output; ``prompts`` gives them again at each call."""

    prompts: Callable[[], Iterable[Prompted]]
    by_benchmark: bool = False
    again: Callable[[Path], Wanted | None] | None = None
    """What is wanted after all, given the completions in a file; null where they will do."""


@dataclass(frozen=True)
class Program:
    """A program that asks a model for what its arguments want."""

    arguments: Sequence[Argument]
    wanted: Callable[[argparse.Namespace], Wanted]
    """Raises ``UserError`` where the arguments do not go together."""
    sharded: bool = True
    """Whether it takes --shard and --shards."""
    write: Callable[[argparse.Namespace, Asking], bool] | None = None
    """Writes the output where that is not the completions; returns whether it was written."""
    embeds: bool = False
    schema: Callable[[argparse.Namespace], ResponseSchema | None] = lambda options: None
    """The structured output that it asks for; reads nothing but the arguments."""

    def command(self, about: str | None) -> Main:
        """The program's ``main``; ``about`` is its description."""

        @command
        def main(argv: Sequence[str] | None = None) -> int:
            self._run(self._parser(about).parse_args(argv))
            return 0

        return main

    def write_stored(self, arguments: Sequence[str]) -> bool:
        """Write the output if the store holds all of it. Sends no requests; returns whether it was written."""
        return self._run(self._parser().parse_args([*arguments, "--from-store"]))

    def count_stored(self, arguments: Sequence[str]) -> int:
        """How many of the wanted answers the store holds. Sends no requests and writes nothing."""
        options = self._parser().parse_args(arguments)
        wanted = self.wanted(options)
        return count_stored(wanted.prompts, self._asking(options))

    def asking(self, arguments: Sequence[str], model: Model) -> Asking:
        """How it asks a model, before there is a ``model.json`` or a question. Reads no files."""
        return self._asking(self._parser().parse_args(arguments), model)

    def _asking(self, options: argparse.Namespace, model: Model | None = None) -> Asking:
        return read_asking(options, self.schema(options), self.embeds, model)

    def _run(self, options: argparse.Namespace) -> bool:
        if self.write is not None:
            return self.write(options, self._asking(options))
        wanted = self.wanted(options)
        asking = self._asking(options)
        if wanted.again is None:
            return complete_shard(wanted.prompts, asking, options.output, wanted.by_benchmark)
        return _attempt(wanted, asking, options.output)

    def _parser(self, about: str | None = None) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(description=about)
        for flag, options in self.arguments:
            parser.add_argument(flag, **options)
        for flag in ("--shard", "--shards") if self.sharded else ():
            parser.add_argument(flag, type=int, required=True)
        parser.add_argument("--output", type=Path, required=True)
        add_arguments(parser, sampled=not self.embeds)
        return parser


def _attempt(wanted: Wanted, asking: Asking, output: Path) -> bool:
    """Ask until the completions will do; those of an earlier attempt never stand under the output's name."""
    working = output.with_name(f".{output.name}.attempts")
    following: Wanted | None = wanted
    while following is not None:
        if not complete_shard(following.prompts, asking, working, following.by_benchmark):
            working.unlink(missing_ok=True)
            return False
        following = following.again(working) if following.again else None
    working.replace(output)
    return True
