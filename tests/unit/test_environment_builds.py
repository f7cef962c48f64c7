"""Environments: built from exact pins, found by name, built once, and a site's own in their place."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.gpu_environment import torch_file

from openthoughts.base import environments
from openthoughts.base.cli import UserError

PINS = "iniconfig==2.3.0\n"


@pytest.fixture
def envs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one small environment, ``tiny``, built below the test's own folder."""
    folder = tmp_path / "envs"
    stub = folder / "stubs" / "tiny" / "stubbed"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("WHO = 'a stub'\n")
    (folder / "tiny.in").write_text("iniconfig\n")
    (folder / "tiny.txt").write_text(PINS)
    monkeypatch.setenv("OPENTHOUGHTS_ENVIRONMENTS", str(tmp_path / "built"))
    return folder


def ask(environment: environments.Environment, code: str) -> str:
    """What a line of Python prints in an environment."""
    command = environment.command("python", "-c", code)
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment.variables()
    ).stdout.strip()


def test_builds_what_the_pins_say_with_the_stubs(envs: Path) -> None:
    environments.build("tiny", envs)
    found = environments.find("tiny", envs)
    code = "import importlib.metadata as m, iniconfig, stubbed; print(m.version('iniconfig'), stubbed.WHO)"
    assert ask(found, code) == "2.3.0 a stub"


def test_a_built_one_is_left_alone(envs: Path) -> None:
    folder = environments.build("tiny", envs)
    (folder / "mine").touch()
    assert environments.build("tiny", envs) == folder
    assert (folder / "mine").exists()


def test_a_half_built_one_is_not_found_and_is_built_anew(envs: Path) -> None:
    folder = environments.folder_of("tiny", envs)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("cut short")
    with pytest.raises(UserError, match=r"environment tiny is not built: run .*scripts/environments.py tiny"):
        environments.find("tiny", envs)
    environments.build("tiny", envs)
    assert ask(environments.find("tiny", envs), "print(6 * 7)") == "42"


def test_builders_at_once_build_once(envs: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(lambda _: environments.build("tiny", envs), range(3)))
    assert len(folders) == 1
    assert sum("building environment tiny" in line for line in caplog.messages) == 1


def test_new_pins_make_a_new_folder_and_comments_do_not(envs: Path) -> None:
    before = environments.folder_of("tiny", envs)
    (envs / "tiny.txt").write_text(f"# a remark\n\n{PINS}")
    assert environments.folder_of("tiny", envs) == before
    (envs / "tiny.txt").write_text("iniconfig==2.1.0\n")
    assert environments.folder_of("tiny", envs) != before


def test_a_changed_stub_makes_a_new_folder(envs: Path) -> None:
    before = environments.folder_of("tiny", envs)
    (envs / "stubs" / "tiny" / "stubbed" / "__init__.py").write_text("WHO = 'another'\n")
    assert environments.folder_of("tiny", envs) != before


def test_pins_that_cannot_be_installed_leave_nothing_that_counts(envs: Path) -> None:
    (envs / "tiny.txt").write_text("iniconfig==0.0.0.1\n")
    with pytest.raises(UserError, match=r"environment tiny cannot be made.*iniconfig"):
        environments.build("tiny", envs)
    with pytest.raises(UserError, match="is not built"):
        environments.find("tiny", envs)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that builds look into, and no other settings of pip."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "wheels"


def make_wheel(folder: Path, version: str, cuda: str | None) -> None:
    """A wheel of a torch of nothing but its ``version.py``."""
    folder.mkdir(exist_ok=True)
    about = f"torch-{version}.dist-info"
    files = {
        "torch/__init__.py": "",
        "torch/version.py": torch_file(version, cuda),
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
        wheel.writestr(f"{about}/RECORD", "".join(f"{name},,\n" for name in files))


def test_an_environment_for_gpus_is_not_built_of_a_torch_for_processors(envs: Path, wheels: Path) -> None:
    (envs / "tiny.txt").write_text("torch==2.13.0\n")
    make_wheel(wheels, "2.13.0+cpu", None)
    with pytest.raises(UserError, match=r"torch 2\.13\.0\+cpu, which is built without CUDA, from \S+/wheels") as caught:
        environments.build("tiny", envs)
    assert "env -u PIP_FIND_LINKS PIP_CONFIG_FILE=/dev/null" in str(caught.value)
    with pytest.raises(UserError, match="is not built"):
        environments.find("tiny", envs)

    make_wheel(wheels, "2.13.0+cu130", "13.0")
    environments.build("tiny", envs)
    assert environments.torch_of(environments.find("tiny", envs)) == environments.Torch("2.13.0+cu130", "13.0")


def test_one_that_was_built_of_a_torch_for_processors_is_built_again(envs: Path, wheels: Path) -> None:
    (envs / "tiny.txt").write_text("torch==2.13.0\n")
    make_wheel(wheels, "2.13.0+cu130", "13.0")
    folder = environments.build("tiny", envs)
    (version,) = folder.glob("lib/python3*/site-packages/torch/version.py")
    version.unlink()  # a hard link of uv's cache
    version.write_text(torch_file("2.13.0+cpu", None))
    environments.build("tiny", envs)
    assert environments.torch_of(environments.find("tiny", envs)) == environments.Torch("2.13.0+cu130", "13.0")


def test_one_for_processors_may_have_a_torch_for_processors(envs: Path, wheels: Path) -> None:
    (envs / "tiny.txt").write_text("torch==2.13.0+cpu\n")
    make_wheel(wheels, "2.13.0+cpu", None)
    environments.build("tiny", envs)
    assert environments.torch_of(environments.find("tiny", envs)) == environments.Torch("2.13.0+cpu", None)


def test_an_unknown_name_lists_the_known(envs: Path) -> None:
    with pytest.raises(UserError, match="there is no environment tyni: the environments are tiny"):
        environments.build("tyni", envs)


def test_a_sites_folder_of_programs_comes_first(envs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "module" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    monkeypatch.setenv("OPENTHOUGHTS_ENVIRONMENT_TINY", str(programs))
    found = environments.find("tiny", envs)
    assert found.command("python", "-V") == [str(programs / "python"), "-V"]
    assert found.variables()["PATH"].split(":")[0] == str(programs)


def test_a_sites_command_takes_programs_as_arguments(envs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENTHOUGHTS_ENVIRONMENT_TINY", "env SITE='a container'")
    found = environments.find("tiny", envs)
    assert ask(found, "import os; print(os.environ['SITE'])") == "a container"


def test_a_sites_own_that_is_not_there_is_named(envs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENTHOUGHTS_ENVIRONMENT_TINY", "/no/such/container.sh run")
    with pytest.raises(UserError, match=r"OPENTHOUGHTS_ENVIRONMENT_TINY names /no/such/container\.sh"):
        environments.find("tiny", envs)


def test_the_shipped_pins_are_exact_and_name_no_registry() -> None:
    folder = environments.WORKFLOW / "envs"
    assert environments.names() == ["llamafactory", "llamafactory-cpu", "vllm", "vllm-cpu"]
    for name in [*environments.names(), *environments.WORKFLOW_PINS]:
        text = (folder / f"{name}.txt").read_text()
        assert "://" not in text
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        assert lines and all("==" in line for line in lines), name
