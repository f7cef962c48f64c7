"""An OpenAI-compatible server for tests: real HTTP on loopback, wrong on demand, and it remembers what it was asked.

    with FakeServer() as server:
        server.faults.append(Fault(status=503, times=3))
        ...
        assert server.asked[...] == 1

Answers are a function of messages and seed. Run as a program, it serves until it is killed (for benchmarks).
"""

from __future__ import annotations

import argparse
import array
import asyncio
import base64
import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests import fake_responses

ASKED = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings")
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
    body: Any = None  # replaces the whole body of the answer
    raw: bytes | None = None  # replaces the body as it is sent
    times: int | None = None
    probability: float = 1.0
    where: Callable[[Body], bool] = lambda body: True


@dataclass
class BatchFault:
    """What goes wrong with the next batch."""

    fail: str | None = None  # the batch fails with this message, nothing is answered
    answered: int | None = None  # so many are answered, then it expires
    status: int = 200  # every request gets this status
    spared: int = 0  # so many are answered all the same
    lines: list[bytes] = field(default_factory=list)  # what is sent for the first; ID stands for the custom_id
    broken: int = 0  # so many requests get status 500 in the error file


@dataclass
class CreateFault:
    """What goes wrong when the next batch is created."""

    made: bool = True  # it is made all the same
    status: int | None = None  # of the reply; none comes without it, the connection is cut
    content_type: str = "application/json"  # another one with status 200 comes with a page that is not JSON
    first: Callable[[], None] = lambda: None  # what happens before the reply


def request_name(body: Body) -> str:
    """Names a request by what is asked: messages, seed and length."""
    length = body.get("max_tokens", body.get("max_output_tokens"))
    asked = [body.get("messages", body.get("input")), body.get("seed"), length]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def embedding(body: Body) -> Body:
    """An embedding of 64 numbers that counts words, so that texts with words in common are near each other."""
    counts = Counter(int(hashlib.sha256(word.encode()).hexdigest(), 16) % 64 for word in body["input"].lower().split())
    size = sum(count * count for count in counts.values()) ** 0.5 or 1.0
    numbers = array.array("f", [counts[place] / size for place in range(64)])
    found: Any = numbers.tolist()
    if body.get("encoding_format") == "base64":
        found = base64.b64encode(numbers.tobytes()).decode()
    usage = {"prompt_tokens": len(body["input"].split()), "total_tokens": len(body["input"].split())}
    return {"object": "list", "model": MODEL, "data": [{"index": 0, "embedding": found}], "usage": usage}


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
        self.models = [MODEL]
        self.times: list[float] = []
        self.batch_seconds = 0.0
        self.batch_faults: list[BatchFault] = []
        self.create_faults: list[CreateFault] = []
        self.unlisted = 0  # so many times the batches are not listed
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Body] = {}
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
            return await self._send(
                writer, 200, {"object": "list", "data": [{"id": one, "object": "model"} for one in self.models]}
            )
        if path.startswith(("/v1/files", "/v1/batches")):
            return await self._batch_api(method, path.partition("?")[0], headers, content, writer)
        if method != "POST" or path not in ASKED:
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
        status, answer = self._answer(path, body, fault)
        if status != 200:
            return await self._send(writer, status, answer)
        answer = answer if fault.body is None else fault.body
        if fault.raw is not None:
            return await self._send_raw(writer, fault)
        if fault.cut or fault.malformed or fault.content_type != "application/json":
            return await self._send_broken(writer, answer, fault)
        self.served[name] += 1
        return await self._send(writer, 200, answer, fault.headers)

    async def _batch_api(
        self, method: str, path: str, headers: dict[str, str], content: bytes, writer: asyncio.StreamWriter
    ) -> bool:
        parts = path.split("/")[2:]
        if (method, parts) == ("POST", ["files"]):
            boundary = headers["content-type"].partition("boundary=")[2].strip('"').encode()
            uploaded = next(part for part in content.split(b"--" + boundary) if b"filename=" in part)
            name = f"file-{len(self.files)}"
            self.files[name] = uploaded.partition(b"\r\n\r\n")[2].rstrip(b"\r\n")
            described = {"id": name, "object": "file", "bytes": len(self.files[name]), "created_at": 0}
            return await self._send(
                writer, 200, {**described, "filename": "x", "purpose": "batch", "status": "processed"}
            )
        if method == "GET" and parts[0] == "files" and parts[-1] == "content":
            return await self._send_text(writer, self.files[parts[1]])
        if (method, parts) == ("POST", ["batches"]):
            return await self._create_batch(json.loads(content), writer)
        if (method, parts) == ("GET", ["batches"]):
            shown = [] if self.unlisted > 0 else list(self.batches.values())
            self.unlisted -= 1
            return await self._send(writer, 200, {"object": "list", "data": shown, "has_more": False})
        batch = self.batches.get(parts[1])
        if batch is None:
            return await self._send(writer, 404, _error("no such batch", None))
        if method == "POST" and parts[-1] == "cancel":
            batch["due"] = 0.0
            self.batch_faults.insert(0, BatchFault(answered=1))
        if batch["status"] == "in_progress" and time.monotonic() >= batch["due"]:
            self._end_batch(batch, parts[-1] == "cancel")
        return await self._send(writer, 200, batch)

    async def _create_batch(self, asked: Body, writer: asyncio.StreamWriter) -> bool:
        fault = self.create_faults.pop(0) if self.create_faults else CreateFault(status=200)
        batch = {"id": f"batch-{len(self.batches)}", "object": "batch", "created_at": 0, "status": "in_progress"}
        batch = {**batch, **asked, "due": time.monotonic() + self.batch_seconds}
        if fault.made:
            self.batches[batch["id"]] = batch
        fault.first()
        if fault.status is None:
            return False
        if fault.content_type != "application/json":
            return await self._send_broken(writer, batch, Fault(content_type=fault.content_type))
        return await self._send(writer, fault.status, batch if fault.status == 200 else _error("made to fail", None))

    def _end_batch(self, batch: Body, cancelled: bool) -> None:
        fault = self.batch_faults.pop(0) if self.batch_faults else BatchFault()
        asked = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        mismatched = [line["url"] for line in asked if line["url"] != batch["endpoint"]]
        if mismatched:
            fault.fail = f"The URL {mismatched[0]} does not match the batch's endpoint {batch['endpoint']}."
        if fault.fail is not None:
            batch["status"] = "failed"
            batch["errors"] = {"object": "list", "data": [{"code": "failed", "message": fault.fail}]}
            return
        answered, errors, odd = [], [], list[bytes]()
        for number, line in enumerate(asked):
            result: Body = {"id": f"r{number}", "custom_id": line["custom_id"], "error": None}
            if fault.answered is not None and number >= fault.answered:
                errors.append({**result, "response": None, "error": {"code": "batch_expired", "message": "expired"}})
                continue
            if number < len(fault.lines):
                odd.append(fault.lines[number].replace(b"ID", line["custom_id"].encode()))
                continue
            if number < fault.broken or (fault.status != 200 and number >= fault.spared):
                status = 500 if number < fault.broken else fault.status
                body = _error("made to fail", None)
                errors.append({**result, "response": {"status_code": status, "request_id": "q", "body": body}})
                continue
            name = request_name(line["body"])
            self.asked[name] += 1
            self.served[name] += 1
            self.bodies.append(line["body"])
            status, body = self._answer(line["url"], line["body"], Fault())
            reply = {**result, "response": {"status_code": status, "request_id": "q", "body": body}}
            (answered if status == 200 else errors).append(reply)
        self._random.shuffle(answered)
        answered += answered[:2]  # the same line twice must do no harm
        batch["status"] = "cancelled" if cancelled else "completed" if fault.answered is None else "expired"
        batch["request_counts"] = {"total": len(asked), "completed": len(answered), "failed": len(errors)}
        for kind, results in (("output_file_id", answered), ("error_file_id", errors)):
            if results or (odd and kind == "output_file_id"):
                batch[kind] = f"file-{len(self.files)}"
                lines = [*odd, *(json.dumps(one).encode() for one in results)]
                self.files[batch[kind]] = b"\n".join(lines) + b"\n"

    async def _send_text(self, writer: asyncio.StreamWriter, text: bytes) -> bool:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {len(text)}\r\n\r\n"
        writer.write(head.encode() + text)
        await writer.drain()
        return True

    def _fault(self, body: Body) -> Fault:
        for fault in self.faults:
            if fault.times == 0 or not fault.where(body) or self._random.random() >= fault.probability:
                continue
            if fault.times is not None:
                fault.times -= 1
            return fault
        return Fault()

    def _answer(self, path: str, body: Body, fault: Fault) -> tuple[int, Body]:
        """The status and the body of an answer by the API of a path."""
        if body.get("model") not in self.models:
            return 404, _error(f"The model `{body.get('model')}` does not exist", "model_not_found", "model")
        if path.endswith("/embeddings"):
            return 200, embedding(body)
        if path.endswith("/responses"):
            if refused := fake_responses.problem(body):
                return 400, _error(*refused)
            chat = fake_responses.as_chat(body)
            return 200, fake_responses.response(body, self._completion(chat, fault))
        return 200, self._completion(body, fault)

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

    async def _send_raw(self, writer: asyncio.StreamWriter, fault: Fault) -> bool:
        sent = fault.raw or b""
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {fault.content_type}\r\ncontent-length: {len(sent)}\r\n\r\n"
        writer.write(head.encode() + sent)
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


def _error(message: str, code: str | None, parameter: str | None = None) -> Body:
    return {"error": {"message": message, "type": "invalid_request_error", "param": parameter, "code": code}}


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
