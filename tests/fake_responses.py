"""The Responses API of the fake server: what it refuses, as OpenAI's does, and the form of its answers."""

from __future__ import annotations

import hashlib
import re
from typing import Any

Body = dict[str, Any]

MOVED = {"messages": "input", "max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}
MOVED |= {"response_format": "text.format", "reasoning_effort": "reasoning.effort"}
"""Parameters of chat completions that have another name here."""

FEWEST_TOKENS = 16

KNOWN: dict[str, type | tuple[type, ...]] = {
    "model": str,
    "input": (str, list),
    "instructions": str,
    "max_output_tokens": int,
    "temperature": (int, float),
    "top_p": (int, float),
    "top_logprobs": int,
    "text": dict,
    "reasoning": dict,
    "store": bool,
    "stream": bool,
    "metadata": dict,
    "include": list,
    "truncation": str,
    "service_tier": str,
    "tools": list,
    "user": str,
}


def problem(body: Body) -> tuple[str, str, str] | None:
    """Message, code and parameter of the first thing that the API refuses in a body; None where it takes it."""
    for key, value in body.items():
        if key in MOVED:
            words = f"In the Responses API, this parameter has moved to '{MOVED[key]}'. Try again with the new one."
            return f"Unsupported parameter: '{key}'. {words}", "unsupported_parameter", key
        if key not in KNOWN:
            return f"Unknown parameter: '{key}'.", "unknown_parameter", key
        if not isinstance(value, KNOWN[key]) or (isinstance(value, bool) and KNOWN[key] is not bool):
            return f"Invalid type for '{key}'.", "invalid_type", key
    for key in ("model", "input"):
        if key not in body:
            return f"Missing required parameter: '{key}'.", "missing_required_parameter", key
    if body.get("max_output_tokens", FEWEST_TOKENS) < FEWEST_TOKENS:
        words = f"Expected a value >= {FEWEST_TOKENS}"
        message = f"Invalid 'max_output_tokens': integer below minimum value. {words}, but got something less instead."
        return message, "integer_below_min_value", "max_output_tokens"
    return _problem_within(body)


def _problem_within(body: Body) -> tuple[str, str, str] | None:
    """The same of the messages, of ``text`` and of ``reasoning``."""
    for number, item in enumerate(body["input"] if isinstance(body["input"], list) else []):
        if item.get("role") not in ("user", "assistant", "system", "developer") or "content" not in item:
            return f"Invalid value: 'input[{number}]'.", "invalid_value", f"input[{number}]"
    form = body.get("text", {}).get("format", {"type": "text"})
    if form.get("type") not in ("text", "json_schema", "json_object"):
        return "Invalid value for 'text.format.type'.", "invalid_value", "text.format.type"
    if form["type"] == "json_schema":
        if unknown := set(form) - {"type", "name", "schema", "strict", "description"}:
            return f"Unknown parameter: 'text.format.{min(unknown)}'.", "unknown_parameter", "text.format"
        for key in ("name", "schema"):
            if key not in form:
                place = f"text.format.{key}"
                return f"Missing required parameter: '{place}'.", "missing_required_parameter", place
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", form["name"]):
            return "Invalid 'text.format.name'.", "invalid_value", "text.format.name"
    effort = body.get("reasoning", {}).get("effort", "low")
    if effort not in ("none", "minimal", "low", "medium", "high", "xhigh", "max"):
        return f"Invalid value: '{effort}' of 'reasoning.effort'.", "invalid_value", "reasoning.effort"
    return None


def as_chat(body: Body) -> Body:
    """A body of the Responses API as one of chat completions, from which answers are made."""
    messages = body["input"] if isinstance(body["input"], list) else [{"role": "user", "content": body["input"]}]
    chat = {"model": body["model"], "messages": messages, "max_tokens": body.get("max_output_tokens")}
    form = body.get("text", {}).get("format", {})
    if form.get("type") == "json_schema":
        chat["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": form["name"], "schema": form["schema"]},
        }
    return chat


def response(body: Body, completion: Body) -> Body:
    """The answer of a chat completion in the form of the Responses API, with the thinking as a reasoning item."""
    choice = completion["choices"][0]
    message, cut = choice["message"], choice["finish_reason"] == "length"
    name = hashlib.sha256(completion["id"].encode()).hexdigest()[:16]
    thought = re.match(r"\s*<think>\n?(.*?)\n?</think>\s*", message["content"] or "", re.DOTALL)
    summary = [{"type": "summary_text", "text": thought[1]}] if thought else []
    output: list[Body] = [{"type": "reasoning", "id": f"rs_{name}", "summary": summary, "encrypted_content": "gAAAA"}]
    parts: list[Body] = []
    if message.get("refusal"):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    elif message["content"]:
        text = message["content"][thought.end() :] if thought else message["content"]
        parts.append({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
    status = "incomplete" if cut else "completed"
    if parts:
        output.append({"type": "message", "id": f"msg_{name}", "role": "assistant", "status": status, "content": parts})
    usage = completion["usage"]
    return {
        "id": f"resp_{name}",
        "object": "response",
        "created_at": 0,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "model": completion["model"],
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "store": body.get("store", True),
        "reasoning": {"effort": body.get("reasoning", {}).get("effort", "medium"), "summary": None},
        "text": body.get("text", {"format": {"type": "text"}}),
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        },
    }
