"""In the sandbox of the tests: run them against a function that lives in another sandbox. Copied there as the program.

Ends with 0 where every test passes, else with 1 and the reason on standard error. Before it stands a line ``trace``
with a hash of all that the function returned; with ``every_case`` in the settings no case is left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path.cwd()))
import channel  # type: ignore[import-not-found]

answers = os.fdopen(os.dup(0), encoding="utf-8")
questions = os.fdopen(os.dup(1), "w", encoding="utf-8")
verdict = os.fdopen(os.dup(2), "w", encoding="utf-8")
nowhere = os.open("/dev/null", os.O_RDWR)
os.dup2(nowhere, 1)
os.dup2(nowhere, 2)


trace = hashlib.sha256()


def candidate(*arguments: Any, **keywords: Any) -> Any:
    """Call the untrusted function."""
    channel.send(questions, [channel.encode(arguments), channel.encode(keywords)])
    reply = channel.receive(answers)
    shown = channel.canonical(reply["value"]) if "value" in reply else "!" + reply["error"].partition(":")[0]
    trace.update(shown.encode() + b"\0")
    if "value" not in reply:
        raise RuntimeError(f"the solution raised {reply['error']}")
    return channel.decode(reply["value"])


def main(settings: dict[str, Any]) -> None:
    """Run the tests; raises where one fails."""
    channel.send(questions, settings["function"])
    failure = channel.receive(answers)
    if failure is not None:
        raise RuntimeError(f"the solution did not load: {failure}")
    if "test" in settings:
        namespace: dict[str, Any] = {"__name__": "__tests__"}
        exec(settings["prelude"], namespace)
        namespace[settings["function"]] = candidate
        exec(settings["test"], namespace)
        namespace["check"](candidate)
    wrong = None
    for number, case in enumerate(settings.get("cases", [])):
        try:
            found = candidate(*case["input"])
            if not channel.same(found, case["output"]):
                raise AssertionError(f"case {number}: {found!r} instead of {case['output']!r}"[:300])
        except (AssertionError, RuntimeError) as error:
            if not settings.get("every_case"):
                raise
            wrong = wrong or error
    if wrong is not None:
        raise wrong


failed = ""
try:
    main(json.loads(Path("settings.json").read_text(encoding="utf-8")))
except BaseException as error:
    failed = f"{type(error).__name__}: {error}"[:500]
verdict.write(f"trace {trace.hexdigest()}\n{failed}")
verdict.flush()
os._exit(1 if failed else 0)
