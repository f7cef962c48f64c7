"""In the sandbox of an untrusted solution: load it, then call its function as asked. Copied there as the program."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path.cwd()))
sys.setrecursionlimit(20_000)
import channel  # type: ignore[import-not-found]  # noqa: E402

questions = os.fdopen(os.dup(0), encoding="utf-8")
answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
nowhere = os.open("/dev/null", os.O_RDWR)
for descriptor in (0, 1, 2):
    os.dup2(nowhere, descriptor)

name = channel.receive(questions)
namespace: dict[str, Any] = {"__name__": "__solution__"}
try:
    exec(compile(Path("solution.py").read_text(encoding="utf-8"), "solution.py", "exec"), namespace)
    function = namespace[name] if name in namespace else getattr(namespace["Solution"](), name)
    channel.send(answers, None)
except BaseException as error:
    channel.send(answers, f"{type(error).__name__}: {error}"[:300])
    os._exit(0)

while True:
    try:
        arguments, keywords = (channel.decode(part) for part in channel.receive(questions))
    except EOFError:
        os._exit(0)
    try:
        reply = {"value": channel.encode(function(*arguments, **keywords))}
    except Exception as error:
        reply = {"error": f"{type(error).__name__}: {error}"[:300]}
    channel.send(answers, reply)
