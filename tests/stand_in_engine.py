"""A stand-in for vLLM's command line: real processes and real HTTP, no model, so that starts and ends take moments.

``install`` writes a folder of programs for ``OPENTHOUGHTS_ENVIRONMENT_VLLM_CPU``. The stand-in serves ``/v1/models``
to the key of its environment, and starts a worker, which starts another in a session of its own, as engines do. Its
``--behave`` argument (of the engine arguments) makes it fail in one of the ways engines fail.
"""

from __future__ import annotations

import sys
from pathlib import Path

PROGRAM = r'''
import http.server, json, os, signal, subprocess, sys, threading, time

WORKER = """
import subprocess, sys, time
if sys.argv[1] == "engine-core":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "engine-worker"], start_new_session=True)
time.sleep(600)
"""

def option(name, default=None):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default

FAILURES = {
    "out-of-memory": "(EngineCore pid=7) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.",
    "weights": "RuntimeError: Cannot find any model weights with `/models/m`",
    "architecture": "ValueError: Model architectures ['FooForCausalLM'] are not supported for now.",
    "surprise": "(APIServer pid=7) ValueError: something nobody has thought of",
}
behave = option("--behave", "")
os.makedirs(os.environ["VLLM_CACHE_ROOT"], exist_ok=True)
with open(os.environ["STAND_IN_RECORD"], "a") as record:
    record.write(json.dumps({"pid": os.getpid(), "argv": sys.argv[1:], "environ": dict(os.environ)}) + "\n")
if behave == "port-once" and open(os.environ["STAND_IN_RECORD"]).read().count("\n") == 1:
    sys.exit("OSError: [Errno 98] Address already in use")
if behave in FAILURES:
    print("one line before", flush=True)
    sys.exit(FAILURES[behave])
if behave == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if behave == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", WORKER, "engine-core"])
if behave == "never-ready":
    time.sleep(600)
if behave == "dies-later":
    threading.Timer(2.0, lambda: os._exit(1)).start()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers["Authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        body = json.dumps({"data": [{"id": option("--served-model-name")}]}).encode()
        self.send_response(200 if known and self.path == "/v1/models" else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass

http.server.ThreadingHTTPServer((option("--host"), int(option("--port"))), Handler).serve_forever()
'''


def install(folder: Path) -> Path:
    """Write the stand-in's programs, ``python`` and ``vllm``, and return their folder."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    program = programs / "vllm"
    program.write_text(f"#!{sys.executable} -I\n{PROGRAM}")
    program.chmod(0o755)
    return programs
