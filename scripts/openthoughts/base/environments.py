"""The engines' environments: one virtual environment each, built from exact pins and found by name.

An environment NAME is described by files in ``envs/``:

- ``NAME.in``: what is wanted, for people;
- ``NAME.overrides`` (optional): overrides of what packages ask for, used when the pins are made;
- ``NAME.txt``: the exact pins, made of the two above by ``scripts/environments.py --pin NAME``. They are installed
  as they stand, without resolving anything;
- ``stubs/NAME/`` (optional): files copied into the environment's ``site-packages`` at the end, for a module that must
  be importable but has no usable build, or for the metadata of a distribution under its other name.

It is built in ``.environments/NAME-<12 hex digits of the hash of pins and stubs>/`` (or under the folder that
``OPENTHOUGHTS_ENVIRONMENTS`` names), and counts only once its stamp is there, which is written last. A new pin makes a
new folder beside the old one, so that jobs that still run keep what they started with.

A site may bring its own: ``OPENTHOUGHTS_ENVIRONMENT_<NAME>`` (capitals, ``-`` as ``_``) names either a folder of
programs (``/apps/vllm/0.32/bin``) or a command that others are appended to (``apptainer exec --nv vllm.sif``).
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from openthoughts.base.cli import UserError
from openthoughts.base.places import WORKFLOW

STAMP = "environment.stamp"
WORKFLOW_PINS = frozenset({"workflow", "test"})
"""Pins that ``make setup`` installs: they are not an engine's."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Environment:
    """An environment that can be used: its programs are run as ``command(program, ...)``."""

    name: str
    bin: Path | None
    """Folder of its programs; None where a site's command starts them."""
    prefix: tuple[str, ...] = ()
    """A site's command that programs are appended to."""

    def command(self, program: str, *arguments: str) -> list[str]:
        """The command line that runs one of the environment's programs (``python``, ``torchrun``, ...)."""
        return [*self.prefix, str(self.bin / program) if self.bin else program, *arguments]

    @property
    def python(self) -> list[str]:
        """The command that starts the environment's Python."""
        return self.command("python")

    @property
    def site_packages(self) -> Path | None:
        """Where its packages are; None where that cannot be told from outside."""
        return next(iter(sorted(self.bin.parent.glob("lib/python3*/site-packages"))), None) if self.bin else None

    def variables(self) -> dict[str, str]:
        """A copy of this process's variables with the environment's programs first in PATH and its Python clean.

        Compiled modules are kept even where this process keeps none: an engine that compiles them at every start, in
        each of its processes, takes minutes instead of seconds.
        """
        unwanted = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
        variables = {key: value for key, value in os.environ.items() if key not in unwanted}
        if self.bin:
            variables["PATH"] = os.pathsep.join([str(self.bin), variables.get("PATH", os.defpath)])
            variables["VIRTUAL_ENV"] = str(self.bin.parent)
        return variables


@dataclass(frozen=True)
class Torch:
    """The build of torch that an environment has."""

    version: str
    cuda: str | None
    """The CUDA that it was built with; None of a build for processors."""


TORCH_FILE = """
import importlib.util, pathlib
found = importlib.util.find_spec("torch")
if found: print(pathlib.Path(found.origin).with_name("version.py").read_text())
"""
"""Prints what a torch says of itself, without importing it, which takes seconds and may want a GPU."""


def torch_of(environment: Environment) -> Torch | None:
    """The build of torch of an environment, told by its own Python; None where that does not tell."""
    said = _answer(environment, TORCH_FILE) or ""
    version = re.search(r"^__version__\b.*?=\s*['\"]([^'\"]+)['\"]", said, re.MULTILINE)
    cuda = re.search(r"^cuda\b.*?=\s*['\"]([^'\"]+)['\"]", said, re.MULTILINE)
    return Torch(version[1], cuda[1] if cuda else None) if version else None


def has_module(environment: Environment, module: str) -> bool | None:
    """Whether an environment has a module; None where its Python does not tell."""
    said = _answer(environment, f"import importlib.util; print(importlib.util.find_spec({module!r}) is not None)")
    return None if said is None else said.strip() == "True"


def _answer(environment: Environment, code: str) -> str | None:
    """What a program prints in an environment; None where it cannot be run."""
    command = environment.command("python", "-c", code)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment.variables(), timeout=120
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def wants_cuda(name: str, envs: Path = WORKFLOW / "envs") -> bool:
    """Whether an environment's torch is to be a build with CUDA: its pins name one, and not the one for processors."""
    pinned = re.search(r"^torch==(\S+)", pins_of(name, envs).read_text(encoding="utf-8"), re.MULTILINE)
    return pinned is not None and "+cpu" not in pinned[1]


def cuda_of_pins(name: str, envs: Path = WORKFLOW / "envs") -> str | None:
    """The CUDA of an environment's pins, such as 13.0; None where they name none."""
    pinned = re.search(
        r"^nvidia-cuda-runtime\S*==(\d+\.\d+)", pins_of(name, envs).read_text(encoding="utf-8"), re.MULTILINE
    )
    return pinned[1] if pinned else None


def names(envs: Path = WORKFLOW / "envs") -> list[str]:
    """The engines' environments that have both their wants and their pins."""
    found = (path.stem for path in envs.glob("*.txt") if path.with_suffix(".in").is_file())
    return sorted(set(found) - WORKFLOW_PINS)


def environments_folder() -> Path:
    """Where environments are built: ``OPENTHOUGHTS_ENVIRONMENTS``, else ``.environments`` of this checkout."""
    return Path(os.environ.get("OPENTHOUGHTS_ENVIRONMENTS") or WORKFLOW / ".environments").resolve()


def pins_of(name: str, envs: Path) -> Path:
    """The file of an environment's pins. Raises ``UserError`` for a name that has none."""
    pins = envs / f"{name}.txt"
    if name in WORKFLOW_PINS or not pins.is_file():
        raise UserError(f"there is no environment {name}: the environments are {', '.join(names(envs)) or 'none'}.")
    return pins


def folder_of(name: str, envs: Path = WORKFLOW / "envs") -> Path:
    """The folder an environment is built in: it names the pins and the stubs by their hash."""
    digest = hashlib.sha256()
    lines = pins_of(name, envs).read_text(encoding="utf-8").splitlines()
    wanted = sorted(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    digest.update("\n".join(wanted).encode())
    for path, relative in stub_files(name, envs):
        digest.update(f"\0{relative}\0".encode() + path.read_bytes())
    return environments_folder() / f"{name}-{digest.hexdigest()[:12]}"


def stub_files(name: str, envs: Path) -> Iterator[tuple[Path, str]]:
    """The files of an environment's stubs and their paths below ``site-packages``, in order."""
    folder = envs / "stubs" / name
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path, path.relative_to(folder).as_posix()


def find(name: str, envs: Path = WORKFLOW / "envs") -> Environment:
    """The environment of a name, ready to use: a site's own, else the one built here.

    Raises ``UserError`` where it is not built, or where the site's own does not exist.
    """
    variable = "OPENTHOUGHTS_ENVIRONMENT_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
    own = os.environ.get(variable, "").strip()
    if own:
        return own_environment(name, own, variable)
    folder = folder_of(name, envs)
    if not (folder / STAMP).is_file():
        raise UserError(f"environment {name} is not built: run .venv/bin/python scripts/environments.py {name}")
    return Environment(name, folder / "bin")


def is_there(name: str) -> bool:
    """Whether ``find`` finds an environment."""
    try:
        find(name)
    except UserError:
        return False
    return True


def own_environment(name: str, own: str, variable: str) -> Environment:
    """The environment that a site's variable names: a folder of programs or a command."""
    if Path(own).is_dir():
        if not (Path(own) / "python").exists():
            raise UserError(f"{variable} names {own}, where there is no python: name the folder of its programs.")
        return Environment(name, Path(own).resolve())
    prefix = tuple(shlex.split(own))
    if shutil.which(prefix[0]) is None:
        raise UserError(f"{variable} names {prefix[0]}, which is neither a folder nor a command: correct it.")
    return Environment(name, None, prefix)


def build(name: str, envs: Path = WORKFLOW / "envs") -> Path:
    """Build an environment unless it is there, and return its folder.

    Builders of one environment wait for each other; what a killed one left half-built is built again.
    """
    pins = pins_of(name, envs)
    folder = folder_of(name, envs)
    if is_built(name, folder, envs):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if is_built(name, folder, envs):
            return folder
        log.info("building environment %s in %s", name, folder)
        shutil.rmtree(folder, ignore_errors=True)
        uv("venv", "--no-project", "--no-config", "--python", sys.executable, str(folder), name=name)
        install(name, pins, folder)
        refuse_torch_without_cuda(name, folder, envs)
        copy_stubs(name, envs, folder)
        (folder / STAMP).write_text(pins.read_text(encoding="utf-8"), encoding="utf-8")
    for other in folder.parent.glob(f"{name}-" + "[0-9a-f]" * 12):
        if other != folder:
            log.info("%s is an earlier build of %s: delete it when no job uses it", other, name)
    return folder


def is_built(name: str, folder: Path, envs: Path) -> bool:
    """Whether an environment is whole. One for GPUs whose torch cannot use them counts as not built."""
    if not (folder / STAMP).is_file():
        return False
    torch = torch_of(Environment(name, folder / "bin")) if wants_cuda(name, envs) else None
    return torch is None or torch.cuda is not None


def refuse_torch_without_cuda(name: str, folder: Path, envs: Path) -> None:
    """Raise ``UserError`` where an environment for GPUs got a torch for processors, which satisfies the same pin."""
    torch = torch_of(Environment(name, folder / "bin")) if wants_cuda(name, envs) else None
    if torch is None or torch.cuda is not None:
        return
    places = find_links()[1::2]
    holding = [place for place in places if Path(place).is_dir() and any(Path(place).glob("torch-*cpu*"))]
    if holding or places:
        raise UserError(
            f"environment {name} got torch {torch.version}, which is built without CUDA, from "
            f"{', '.join(holding or places)} (find-links of pip's configuration): build it without that, `env -u "
            f"PIP_FIND_LINKS PIP_CONFIG_FILE=/dev/null .venv/bin/python scripts/environments.py {name}`."
        )
    raise UserError(
        f"environment {name} got torch {torch.version}, which is built without CUDA, from the index that uv uses: name "
        "one that has the CUDA build in UV_DEFAULT_INDEX, then build it again."
    )


def install(name: str, pins: Path, folder: Path) -> None:
    """Install exact pins, without resolving, into the virtual environment of a folder.

    PyTorch's builds for processors (``+cpu``) are not on PyPI: pip's configured ``find-links`` may have them, else
    they come from PyTorch's own index.
    """
    sources = find_links()
    attempts = [sources]
    if re.search(r"^torch==\S+\+cpu", pins.read_text(encoding="utf-8"), re.MULTILINE):
        by_backend = [*sources, "--torch-backend", "cpu"]
        attempts = [sources, by_backend] if sources else [by_backend]
    for attempt, options in enumerate(attempts, 1):
        try:
            install_with(options, name, pins, folder)
            return
        except UserError:
            if attempt == len(attempts):
                raise


def install_with(options: list[str], name: str, pins: Path, folder: Path) -> None:
    """One attempt to install the pins, with the options that say where packages come from."""
    python = str(folder / "bin" / "python")
    uv("pip", "install", "--no-config", "--no-deps", "--python", python, *options, "-r", str(pins), name=name)


def copy_stubs(name: str, envs: Path, folder: Path) -> None:
    """Copy an environment's stubs into its ``site-packages``."""
    site_packages = next(folder.glob("lib/python3*/site-packages"))
    for path, relative in stub_files(name, envs):
        target = site_packages / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def pin(name: str, envs: Path = WORKFLOW / "envs") -> Path:
    """Make ``envs/NAME.txt`` of ``envs/NAME.in`` and ``envs/NAME.overrides``: exact pins, with no address in them."""
    wants, overrides, pins = (envs / f"{name}{suffix}" for suffix in (".in", ".overrides", ".txt"))
    if not wants.is_file():
        raise UserError(f"{wants} does not exist: write what the environment {name} needs in it, one package per line.")
    options = ["--no-config", "--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header"]
    options += ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28", *find_links()]
    if overrides.is_file():
        options += ["--overrides", str(overrides)]
    uv("pip", "compile", *options, str(wants), "-o", str(pins), name=name)
    return pins


def find_links() -> list[str]:
    """uv's options for the folders of packages that pip is configured with: uv does not read pip's configuration."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    values = re.findall(r"^\S*\.find-links='(.*)'$", listing, re.MULTILINE)
    places = [place for value in values for place in re.split(r"\s+|\\n", value) if place]
    return [option for place in dict.fromkeys(places) for option in ("--find-links", place)]


def uv(*arguments: str, name: str) -> None:
    """Run the workflow environment's uv quietly. Raises ``UserError`` with the end of what it said where it fails."""
    program = Path(sys.prefix) / "bin" / "uv"
    found = str(program) if program.is_file() else shutil.which("uv")
    if found is None:
        raise UserError("uv is not installed: run make setup")
    done = subprocess.run([found, "--quiet", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())[-600:]
        raise UserError(f"environment {name} cannot be made, fix this and run again: {said}")
