"""Things that are added by adding a file: each module of a folder defines one, and its name is the module's."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

Kind = TypeVar("Kind")


class Register(Mapping[str, type[Kind]], Generic[Kind]):
    """The subclasses of ``kind`` that the modules of a package define, one each, by the modules' names.

    A module is imported when its entry is asked for; one whose name begins with ``_`` is a helper of the others.
    Raises ``KeyError`` for a name that no module has, ``TypeError`` where a module does not define exactly one.
    """

    def __init__(self, package: str, kind: type[Kind]) -> None:
        self.package = package
        self.kind = kind
        self._found: dict[tuple[str, ...], frozenset[str]] = {}

    def __getitem__(self, name: str) -> type[Kind]:
        if name not in self:
            raise KeyError(name)
        module = importlib.import_module(f"{self.package}.{name}")
        own = [
            each
            for each in vars(module).values()
            if isinstance(each, type) and issubclass(each, self.kind) and each.__module__ == module.__name__
        ]
        if len(own) != 1:
            raise TypeError(f"{module.__name__} defines {len(own)} subclasses of {self.kind.__name__}: define one.")
        return own[0]

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names()))

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> frozenset[str]:
        folders = tuple(importlib.import_module(self.package).__path__)
        if folders not in self._found:
            modules = (module.name for module in pkgutil.iter_modules(folders))
            self._found[folders] = frozenset(name for name in modules if not name.startswith("_"))
        return self._found[folders]
