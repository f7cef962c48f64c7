"""Text as the tables hold it: valid Unicode, never blank."""

from __future__ import annotations


def valid_text(text: str) -> str:
    """``text`` with surrogate pairs joined and lone surrogates replaced by U+FFFD; most texts come back as they are."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def answer_text(value: object) -> str | None:
    """A reference answer as text; null and blank become null, numbers keep their shortest spelling."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    text = valid_text(value if isinstance(value, str) else str(value)).strip()
    return text or None
