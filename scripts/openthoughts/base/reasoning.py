"""A response in the form of DeepSeek-R1: reasoning between ``<think>`` and ``</think>``, then the answer."""

from __future__ import annotations


def split_reasoning(text: str) -> tuple[str, str | None]:
    """The reasoning of a response, without its tags, and its answer: what follows the last ``</think>``.

    A response without tags is an answer; one that opens ``<think>`` and never closes it has none.
    """
    before, closed, answer = text.rpartition("</think>")
    if not closed and "<think>" not in text:
        return "", text
    return (before if closed else text).replace("<think>", "", 1).strip(), answer if closed else None


def after_reasoning(text: str) -> str | None:
    """The answer of a response; null where its reasoning was never closed."""
    return split_reasoning(text)[1]
