"""Why an answer ended, by the names of many servers."""

from __future__ import annotations

ENDS = {
    **dict.fromkeys(
        ("max_tokens", "max_output_tokens", "max_length", "model_length", "token_limit", "limit"), "length"
    ),
    **dict.fromkeys(("model_context_window_exceeded", "pause_turn", "repetition_truncation"), "length"),
    **dict.fromkeys(("eos", "eos_token", "end_turn", "stop_sequence", "stop_token", "completed", "complete"), "stop"),
}
"""Finish reasons by the names of other servers, as ``plain`` writes them."""

BROKEN_OFF = {
    "abort", "aborted", "cancelled", "canceled", "error", "timeout", "network_error", "insufficient_system_resource",
}  # fmt: skip
"""Finish reasons of a server that ended the answer itself."""

FILTERED = {
    "content_filter", "content-filter", "content_filtered", "guardrail_intervened", "sensitive", "moderation",
    "safety", "recitation", "language", "blocklist", "prohibited_content", "spii", "model_armor",
    "image_safety", "image_prohibited_content", "image_recitation",
}  # fmt: skip
"""Finish reasons of an answer that a filter stopped; those in the second and third line are Gemini's."""

CALLING = {"tool_calls", "tool_call", "tool_use", "function_call"}
"""Finish reasons of an answer that waits for what a tool says."""

REFUSED = "refusal"
"""Finish reason of an answer that the model refused."""


def plain(name: str | None) -> str:
    """A finish reason in small letters, without blanks around it and what a server says after a colon."""
    return (name or "").partition(":")[0].strip().lower()


def refusal(name: str | None) -> str | None:
    """Why a finish reason says that there never will be an answer; None where it does not."""
    reason, told = plain(name), (name or "").strip()
    if reason == REFUSED:
        return "refused by the model"
    if reason not in FILTERED:
        return None
    return "refused by the content filter" + ("" if told == "content_filter" else f" ({told[:100]})")
