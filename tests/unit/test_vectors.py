"""The vector operations give the same results on every kind of processor."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from llvmlite import binding
from numba import njit
from rapidfuzz.distance import LCSseq

from openthoughts.similarity.vectors import CODES, PACK, SEGMENT, STRIP, WORD, lookup_instruction, make_lcs


def compiled(words: int, instruction: str) -> Any:
    lcs = make_lcs(words, instruction)

    @njit
    def call(table, first, stream, chunks, carries, out):  # type: ignore[no-untyped-def]
        lcs(table, first, stream, chunks, carries, out)

    return call


def packed(texts: list[list[int]]) -> tuple[np.ndarray, int]:
    chunks = max((len(text) + CODES - 1) // CODES for text in texts)
    stream = np.zeros((chunks, PACK), dtype=np.uint32)
    for lane, text in enumerate(texts):
        for position, code in enumerate(text):
            stream[position // CODES, lane] |= np.uint32(code << (4 * (position % CODES)))
    return stream.ravel(), chunks


def table_of(text: list[int], words: int) -> np.ndarray:
    table = np.zeros(words * SEGMENT, dtype=np.uint32)
    for position, code in enumerate(text):
        table[(position // WORD) * SEGMENT + code] |= np.uint32(1 << (position % WORD))
    return table


def instructions_here() -> list[str]:
    """The kinds of instructions that this processor can run; no installation brings the others."""
    have = binding.get_host_cpu_features()
    return [name for name, feature in (("avx512", "avx512f"), ("avx2", "avx2")) if have.get(feature)] + ["portable"]


@pytest.mark.parametrize("instruction", instructions_here())
@pytest.mark.parametrize("words", [1, 3, STRIP])
def test_lcs_of_a_pack(instruction: str, words: int) -> None:
    call = compiled(words, instruction)
    chance = random.Random(words)
    for codes in (1, 4, 15):
        strips = 2 if words == STRIP else 1
        text = chance.choices(range(1, codes + 1), k=chance.randint(1, WORD * words * strips))
        others = [chance.choices(range(1, codes + 1), k=chance.randint(0, 200)) for _ in range(PACK)]
        stream, chunks = packed(others)
        carries = np.zeros(chunks * CODES * PACK, dtype=np.uint32)
        out = np.zeros(PACK, dtype=np.uint32)
        for strip in range(strips):  # a strip leaves its carries for the next
            call(table_of(text, words * strips), strip * words, stream, chunks, carries, out)
        assert out.tolist() == [LCSseq.similarity(text, other) for other in others]


@pytest.mark.parametrize(
    ("features", "instruction"),
    [({"avx512f": True, "avx2": True}, "avx512"), ({"avx512f": False, "avx2": True}, "avx2"), ({}, "portable")],
)
def test_instruction_of_a_processor(features: dict[str, bool], instruction: str) -> None:
    assert lookup_instruction(features) == instruction
