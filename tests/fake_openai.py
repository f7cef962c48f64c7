"""An OpenAI-compatible server for tests: real HTTP on loopback, wrong on demand, and it remembers what it was asked.

    with FakeServer() as server:
        server.faults.append(Fault(status=503, times=3))
        ...
        assert server.asked[...] == 1

Answers are a function of messages and seed. Run as a program, it serves until it is killed (for benchmarks).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

API_KEY = "test-key-that-must-not-leak"
MODEL = "fake-model"

Body = dict[str, Any]


@dataclass
class Fault:
    """What goes wrong with the requests that ``where`` selects, at most ``times`` times, with a probability."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "made to fail"
    code: str | None = None
    delay: float = 0.0
    cut: bool = False  # the connection is closed in the middle of the body
    hang: bool = False  # no answer ever comes
    malformed: bool = False  # the body is not JSON
    content_type: str = "application/json"
    answer: Body | None = None  # replaces the answer's message and finish reason
    times: int | None = None
    probability: float = 1.0
    where: Callable[[Body], bool] = lambda body: True


def request_name(body: Body) -> str:
    """Names a request by what is asked: messages, seed and length."""
    asked = [body.get("messages"), body.get("seed"), body.get("max_tokens")]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def default_answer(body: Body) -> str:
    """The text of an answer: the same for the same messages and seed."""
    question = body["messages"][-1]["content"]
    name = request_name(body)
    if body.get("response_format"):
        schema = body["response_format"]["json_schema"]["schema"]["properties"]
        number = int(name, 16) % 10 + 1
        return json.dumps({key: f"because {name}" if "string" in str(kind) else number for key, kind in schema.items()})
    return f"<think>\nabout {len(question)} characters, {name}\n</think>\n\nThe answer is {int(name, 16) % 100}."


class FakeServer:
    """The server, in a thread of its own. ``asked`` counts requests and ``served`` whole answers, by request."""

    def __init__(self, latency: float = 0.0, port: int = 0, answer: Callable[[Body], str] = default_answer) -> None:
        self.latency = latency
        self.answer = answer
        self.faults: list[Fault] = []
        self.asked: Counter[str] = Counter()
        self.served: Counter[str] = Counter()
        self.bodies: list[Body] = []
        self.keep_bodies = True
        self.times: list[float] = []
        self.most_at_once = 0
        self._at_once = 0
        self._random = random.Random(0)
        self._port = port
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def base_url(self) -> str:
        """The address that a client is given."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> FakeServer:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away at once, as a killed server does."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)

        async def start() -> asyncio.Server:
            return await asyncio.start_server(self._connection, "127.0.0.1", self._port, backlog=4096)

        server = self._loop.run_until_complete(start())
        self.port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                content = await reader.readexactly(int(headers.get("content-length", 0)))
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
                try:
                    if not await self._respond(method, path, headers, content, writer):
                        return
                finally:
                    self._at_once -= 1
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            writer.close()

    async def _respond(
        self, method: str, path: str, headers: dict[str, str], content: bytes, writer: asyncio.StreamWriter
    ) -> bool:
        if path == "/health":
            return await self._send(writer, 200, {})
        if headers.get("authorization") != f"Bearer {API_KEY}":
            return await self._send(writer, 401, _error("wrong key", "invalid_api_key"))
        if path.endswith("/models"):
            return await self._send(writer, 200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        if (method, path) != ("POST", "/v1/chat/completions"):
            return await self._send(writer, 404, _error(f"no such path: {path}", None))
        body: Body = json.loads(content)
        name = request_name(body)
        self.asked[name] += 1
        self.times.append(time.monotonic())
        if self.keep_bodies:
            self.bodies.append(body)
        fault = self._fault(body)
        await asyncio.sleep(self.latency + fault.delay)
        if fault.hang:
            await asyncio.sleep(3600)
        if fault.status != 200:
            return await self._send(writer, fault.status, _error(fault.message, fault.code), fault.headers)
        answer = self._completion(body, fault)
        if fault.cut or fault.malformed or fault.content_type != "application/json":
            return await self._send_broken(writer, answer, fault)
        self.served[name] += 1
        return await self._send(writer, 200, answer, fault.headers)

    def _fault(self, body: Body) -> Fault:
        for fault in self.faults:
            if fault.times == 0 or not fault.where(body) or self._random.random() >= fault.probability:
                continue
            if fault.times is not None:
                fault.times -= 1
            return fault
        return Fault()

    def _completion(self, body: Body, fault: Fault) -> Body:
        choice: Body = {"finish_reason": "stop", "message": {"role": "assistant", "content": None}}
        if fault.answer is None:
            choice["message"]["content"] = self.answer(body)
        else:
            choice["finish_reason"] = fault.answer.get("finish_reason", "stop")
            choice["message"].update({key: value for key, value in fault.answer.items() if key != "finish_reason"})
        prompt = sum(len(message["content"]) for message in body["messages"]) // 4 + 1
        completion = len(choice["message"]["content"] or "") // 4 + 1
        return {
            "id": f"chatcmpl-{request_name(body)}",
            "object": "chat.completion",
            "created": 0,
            "model": MODEL,
            "choices": [{"index": 0, "logprobs": None, **choice}],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            },
        }

    async def _send(
        self, writer: asyncio.StreamWriter, status: int, body: Body, headers: dict[str, str] | None = None
    ) -> bool:
        payload = json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(payload)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + payload)
        await writer.drain()
        return True

    async def _send_broken(self, writer: asyncio.StreamWriter, answer: Body, fault: Fault) -> bool:
        payload = json.dumps(answer).encode()
        sent = b'{"choices": [{"mess' if fault.malformed else payload
        if fault.content_type != "application/json":
            sent = b"<html><body>Please log in</body></html>"
        length = len(payload) if fault.cut else len(sent)
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {fault.content_type}\r\n".encode())
        writer.write(f"content-length: {length}\r\n\r\n".encode() + (payload[: length // 2] if fault.cut else sent))
        await writer.drain()
        return not fault.cut


def _error(message: str, code: str | None) -> Body:
    return {"error": {"message": message, "type": "error", "param": None, "code": code}}


def main() -> None:
    """Serve until killed; the address is the first line of output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds an answer takes")
    options = parser.parse_args()
    with FakeServer(options.latency, options.port) as server:
        server.keep_bodies = False
        print(server.base_url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
