"""scripts/serve_model.py as a user runs it, with a stand-in engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.stand_in_engine import install
from tests.tiny_model import make_tiny_model

from openthoughts.models.model import Model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def variables(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a user whose engine is the stand-in; it leaves nothing in the temporary folder."""
    temporary = Path(tempfile.mkdtemp(dir="/tmp"))
    yield {
        **{name: value for name, value in os.environ.items() if not name.startswith("OPENTHOUGHTS_")},
        "OPENTHOUGHTS_ENVIRONMENT_VLLM_CPU": str(install(tmp_path / "stand-in")),
        "STAND_IN_RECORD": str(tmp_path / "starts.jsonl"),
        "TMPDIR": str(temporary),
    }
    assert not list(temporary.iterdir())
    temporary.rmdir()


def command(model: Model, *wanted: str, options: tuple[str, ...] = ()) -> list[str]:
    file = model.folder / "model.json"
    program = [sys.executable, str(ROOT / "scripts" / "serve_model.py"), str(file), "--accelerator", "cpu"]
    return [*program, *options, "--", *wanted]


def engine_tree(tmp_path: Path) -> list[psutil.Process]:
    """The stand-in's processes, once all of them run."""
    record = tmp_path / "starts.jsonl"
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if record.is_file() and record.read_text().endswith("\n"):
            root = psutil.Process(json.loads(record.read_text().splitlines()[0])["pid"])
            found = [root, *root.children(recursive=True)]
            if len(found) == 3:
                return found
        time.sleep(0.02)
    raise AssertionError("the engine did not start")


def wait_for(path: Path) -> str:
    end = time.monotonic() + 120
    while not (path.is_file() and path.read_text().strip()):
        assert time.monotonic() < end, f"waited in vain for {path}"
        time.sleep(0.02)
    return path.read_text().strip()


def assert_all_end(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=120)
    assert not [it for it in alive if it.is_running() and it.status() != psutil.STATUS_ZOMBIE]


ASK = """
import json, os, sys, urllib.request
[(key, server)] = json.loads(os.environ["OPENTHOUGHTS_SERVERS"]).items()
headers = {"Authorization": "Bearer " + server["api_key"]}
request = urllib.request.Request(server["base_url"] + "/models", headers=headers)
print(key, json.load(urllib.request.urlopen(request))["data"][0]["id"])
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("status", [0, 3])
def test_the_command_asks_the_server_and_its_status_is_passed_on(
    model: Model, variables: dict[str, str], tmp_path: Path, status: int
) -> None:
    wanted = command(model, sys.executable, "-c", ASK, str(status))
    done = subprocess.run(wanted, capture_output=True, text=True, env=variables, timeout=300)
    assert done.returncode == status, done.stderr
    assert done.stdout.split() == [model.key_digest(), "tiny"]
    assert not psutil.pid_exists(json.loads((tmp_path / "starts.jsonl").read_text())["pid"])


def test_servers_that_are_there_already_stay_known(model: Model, variables: dict[str, str]) -> None:
    other = {"base_url": "http://127.0.0.1:9/v1", "api_key": "k", "model_name": "other"}
    variables["OPENTHOUGHTS_SERVERS"] = json.dumps({"other": other})
    code = "import json, os; print(*sorted(json.loads(os.environ['OPENTHOUGHTS_SERVERS'])))"
    done = subprocess.run(
        command(model, sys.executable, "-c", code), capture_output=True, text=True, env=variables, timeout=60
    )
    assert sorted(done.stdout.split()) == sorted(["other", model.key_digest()])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_whatever_ends_it_ends_engine_and_command(
    model: Model, variables: dict[str, str], tmp_path: Path, number: int
) -> None:
    started = tmp_path / "started"
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored by all that nohup starts, as these tests may be\n"
        "open(sys.argv[1], 'w').write(str(os.getpid()))\ntime.sleep(600)"
    )
    serving = subprocess.Popen(command(model, sys.executable, "-c", code, str(started)), env=variables)
    engine = engine_tree(tmp_path)
    processes = [*engine, *engine[0].parents()[:2], psutil.Process(int(wait_for(started)))]
    serving.send_signal(number)
    status = serving.wait(300)
    assert_all_end(processes)
    assert status == (-number if number == signal.SIGKILL else 128 + number)


def test_a_command_that_finishes_its_work_after_sigterm_is_given_the_time(
    model: Model, variables: dict[str, str], tmp_path: Path
) -> None:
    code = (
        "import os, signal, sys, time\n"
        "def flush(*_):\n    time.sleep(1); open(sys.argv[1], 'w').write('flushed'); sys.exit(5)\n"
        "signal.signal(signal.SIGTERM, flush)\nopen(sys.argv[2], 'w').write('here')\ntime.sleep(600)"
    )
    flushed, here = tmp_path / "flushed", tmp_path / "here"
    wanted = command(model, sys.executable, "-c", code, str(flushed), str(here))
    serving = subprocess.Popen(wanted, env=variables)
    wait_for(here)
    serving.terminate()
    assert serving.wait(300) == 5
    assert flushed.read_text() == "flushed"


def test_an_engine_that_dies_does_not_take_the_command_with_it(
    model: Model, variables: dict[str, str], tmp_path: Path
) -> None:
    here, go = tmp_path / "here", tmp_path / "go"
    code = (
        "import os, sys, time\nopen(sys.argv[1], 'w').write('here')\n"
        "while not os.path.exists(sys.argv[2]): time.sleep(0.02)\nsys.exit(4)"
    )
    wanted = command(model, sys.executable, "-c", code, str(here), str(go))
    serving = subprocess.Popen(wanted, env=variables, stderr=subprocess.PIPE, text=True)
    tree = engine_tree(tmp_path)
    supervisors = tree[0].parents()[:2]
    wait_for(here)
    tree[0].kill()
    assert_all_end([*tree, *supervisors])
    go.touch()
    _, error = serving.communicate(timeout=300)
    assert serving.returncode == 4
    assert "the engine of tiny has ended: it was killed" in error


def test_a_failed_start_runs_no_command(model: Model, variables: dict[str, str], tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    wanted = command(model, "touch", str(ran), options=("--engine-args", "--behave weights"))
    done = subprocess.run(wanted, capture_output=True, text=True, env=variables, timeout=300)
    assert done.returncode == 1
    assert not ran.exists()
    assert (
        done.stderr.strip().splitlines()[-1].startswith("error: the engine of tiny has ended: its weights are missing")
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [[], ["--"], ["true"]])
def test_a_missing_command_is_named(model: Model, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    import serve_model

    if arguments == ["true"]:
        with pytest.raises(SystemExit):
            serve_model.main([str(model.folder / "model.json"), *arguments])
    else:
        assert serve_model.main([str(model.folder / "model.json"), *arguments]) == 1
    assert "[options] -- COMMAND" in capsys.readouterr().err
