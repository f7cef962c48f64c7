"""A stand-in of an engine's environment: a Python that finds a torch of a given build, and no engine."""

from __future__ import annotations

import sys
from pathlib import Path


def make_environment(folder: Path, torch: str, cuda: str | None, *modules: str) -> Path:
    """Make one whose torch says that it is of this version and CUDA, with empty further modules; its programs' folder.

    A site's variable ``OPENTHOUGHTS_ENVIRONMENT_NAME`` can name it.
    """
    packages, programs = folder / "packages", folder / "bin"
    for module in ("torch", *modules):
        (packages / module).mkdir(parents=True)
        (packages / module / "__init__.py").write_text("")
    (packages / "torch" / "version.py").write_text(torch_file(torch, cuda))
    programs.mkdir()
    (programs / "python").write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {sys.executable} "$@"\n')
    (programs / "python").chmod(0o755)
    return programs


def torch_file(version: str, cuda: str | None) -> str:
    """What torch's ``version.py`` says."""
    return f"from typing import Optional\n__version__ = {version!r}\ncuda: Optional[str] = {cuda!r}\n"
