"""The joins find what brute force finds, to the last bit, whatever the texts, the engine and the threads."""

from __future__ import annotations

import random
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz, process

from openthoughts.similarity import Engine, Rule, first_similar, join, joins
from openthoughts.similarity.bounds import largest_distances, length_window, score_of

ALPHABETS = [
    "a",
    "ab",
    "abc 1",
    "etaoin shrdlucmfwypvbgkjqxz.,",
    "0123456789+-*/=()x ",
    "éàüöñçßøåœ aeiou",
    "αβγδεζηθικλμνξοπρστυφχψω ∑∫√≤≥∈",
    "".join(map(chr, range(0x4E00, 0x4F00))),
    "".join(map(chr, range(0x1F600, 0x1F640))),
    "אבגדהוזחטיכלמנסעפצקרשת\u200f ",
    "e\u0301a\u0300\u0302\u0000\ud800",
]
THRESHOLDS = st.one_of(st.sampled_from([50, 60, 66.7, 67, 75, 80, 90, 95, 99, 100]), st.floats(50, 100))
ENGINES: list[Engine] = ["compiled", "plain"]


def related_texts(chance: random.Random, count: int, longest: int) -> list[str]:
    """Random texts of 0 to ``longest`` characters, most of them edits of a few."""
    alphabet = chance.choice(ALPHABETS)

    def fresh() -> str:
        return "".join(chance.choices(alphabet, k=chance.randint(0, longest)))

    def edited(text: str) -> str:
        characters = list(text)
        for _ in range(int(len(text) * chance.choice([0.02, 0.1, 0.25, 0.4]))):
            if characters and chance.random() < 0.5:
                characters.pop(chance.randrange(len(characters)))
            else:
                characters.insert(chance.randint(0, len(characters)), chance.choice(alphabet))
        return "".join(characters)

    seeds = [fresh() for _ in range(4)]
    return [edited(chance.choice(seeds)) if chance.random() < 0.7 else fresh() for _ in range(count)]


def brute_force(left: list[str], right: list[str], threshold: float) -> list[tuple[int, int, float]]:
    scores = ((i, j, fuzz.ratio(a, b)) for i, a in enumerate(left) for j, b in enumerate(right))
    return [pair for pair in scores if pair[2] >= threshold]


def joined(left: list[str], right: list[str], threshold: float, **options: object) -> list[tuple[int, int, float]]:
    return [
        pair
        for batch in join(left, right, threshold, **options)  # type: ignore[arg-type]
        for pair in zip(batch.left.tolist(), batch.right.tolist(), batch.score.tolist(), strict=True)
    ]


def greedy(texts: list[str], threshold: float, rule: Rule) -> tuple[list[int], list[float]]:
    """What deduplication is by definition."""
    kept: list[int] = []
    twins, scores = [], []
    for i, text in enumerate(texts):
        similar = [j for j in kept if fuzz.ratio(text, texts[j]) >= threshold]
        if not similar and rule == "any":
            similar = [j for j in range(i) if fuzz.ratio(text, texts[j]) >= threshold]
        twins.append(similar[0] if similar else -1)
        scores.append(fuzz.ratio(text, texts[similar[0]]) if similar else 0.0)
        if not similar:
            kept.append(i)
    return twins, scores


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), threshold=THRESHOLDS, longest=st.sampled_from([3, 40, 300, 2000]))
def test_join_is_brute_force(seed: int, threshold: float, longest: int) -> None:
    chance = random.Random(seed)
    texts = related_texts(chance, 60, longest)
    left, right = texts[:35], texts[35:]
    expected = brute_force(left, right, threshold)
    for engine in ENGINES:
        assert joined(left, right, threshold, engine=engine, block=chance.choice([1, 10, 100])) == expected


@pytest.mark.parametrize("threshold", [60, 75, 90])
def test_join_of_more_texts_than_a_tile(threshold: float) -> None:
    chance = random.Random(threshold)
    left = [text for _ in range(12) for text in related_texts(chance, 30, 250)]
    right = [text for _ in range(12) for text in related_texts(chance, 12, 250)] + left[::7]
    expected = brute_force(left, right, threshold)
    assert len(expected) > 100
    for engine in ENGINES:
        for threads in (1, 3):
            assert joined(left, right, threshold, engine=engine, threads=threads, block=100) == expected


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), threshold=THRESHOLDS, longest=st.sampled_from([3, 60, 400]), step=st.integers(2, 64))
def test_deduplication_is_the_greedy_one(seed: int, threshold: float, longest: int, step: int) -> None:
    chance = random.Random(seed)
    texts = sorted(related_texts(chance, 70, longest), key=len, reverse=True)
    rules: list[Rule] = ["kept", "any"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joins, "_SMALLEST_STEP", step)
        patch.setattr(joins, "_LARGEST_STEP", 4 * step)
        patch.setattr(joins, "_HEAD", chance.choice([1, 3, 10]))
        patch.setattr(joins, "_MANY_PAIRS", chance.choice([1, 100]))
        for rule in rules:
            expected = greedy(texts, threshold, rule)
            for engine in ENGINES:
                found = first_similar(texts, threshold, rule, engine=engine, threads=chance.choice([1, 2]))
                assert (found.twin.tolist(), found.score.tolist()) == expected


def test_deduplication_wants_its_order() -> None:
    with pytest.raises(ValueError, match="longest first"):
        first_similar(["a", "bb"], 90)


def test_without_numba_the_result_is_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(9)
    left, right = ([text for _ in range(30) for text in related_texts(chance, 30, 20)] for _ in range(2))
    expected = joined(left, right, 80, engine="compiled")
    monkeypatch.setitem(sys.modules, "openthoughts.similarity.engine", None)
    assert joined(left, right, 80) == expected
    assert "Numba does not run here" in caplog.text


@pytest.mark.parametrize("engine", ENGINES)
def test_odd_texts(engine: Engine) -> None:
    texts = [
        "",
        "",
        "a",
        "b",
        "a" * 3000,
        "a" * 2999 + "b",
        "ab" * 1500,
        "😀" * 300,
        "😀" * 280,
        "e\u0301",
        "é",
        "\x00",
    ]
    for threshold in (50, 75, 90, 100):
        assert joined(texts, texts, threshold, engine=engine) == brute_force(texts, texts, threshold)
    assert joined([], texts, 75, engine=engine) == []
    assert joined(texts, [], 75, engine=engine) == []


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_counts_beyond_16_bits_rule_nothing_out(engine: Engine) -> None:
    many = "a" * 70_000
    texts = [many, many + "b" * 100, "a" * 66_000 + "b" * 4_000, "ab" * 35_000]
    assert joined(texts, texts, 75, engine=engine) == brute_force(texts, texts, 75)


@pytest.mark.slow
def test_a_text_of_a_million_characters() -> None:
    chance = random.Random(1)
    long = "".join(chance.choices("etaoin shrdlu.\n", k=1_000_000))
    right = ["short", long, long[: len(long) // 2], long[:-5] + "!"]
    found = joined([long], right, 90, engine="compiled")
    assert [(i, j) for i, j, _ in found] == [(0, 1), (0, 3)]
    assert found[0][2] == 100.0


@pytest.mark.parametrize("threshold", [50, 57, 67, 75, 83.3, 90, 100])
def test_largest_distance_is_where_the_score_reaches_the_threshold(threshold: float) -> None:
    totals = np.arange(400)
    for total, distance in zip(totals.tolist(), largest_distances(totals, threshold).tolist(), strict=True):
        assert score_of(distance, total) >= threshold
        assert distance == total or score_of(distance + 1, total) < threshold


def test_score_is_the_one_of_rapidfuzz() -> None:
    for own in range(60):
        for other in range(60):
            assert score_of(own + other, own + other) == fuzz.ratio("a" * own, "b" * other)
            assert score_of(abs(own - other), own + other) == fuzz.ratio("a" * own, "a" * other)


@pytest.mark.parametrize("threshold", [50, 75, 90, 100])
def test_length_window_leaves_out_no_length_that_can_be_similar(threshold: float) -> None:
    lengths = np.arange(300)
    for length in range(0, 120, 7):
        start, end = length_window(lengths, length, threshold)
        fits = [n for n in range(300) if fuzz.ratio("a" * length, "a" * n) >= threshold]
        assert list(range(start, end)) == fits


def brute_force_table(left: list[str], right: list[str], threshold: float) -> list[tuple[int, int, float]]:
    found = []
    for start in range(0, len(left), 256):
        block = left[start : start + 256]
        scores = process.cdist(
            block, right, scorer=fuzz.ratio, score_cutoff=threshold - 1, dtype=np.float64, workers=-1
        )
        for i, j in zip(*np.nonzero(scores >= threshold), strict=True):
            found.append((start + int(i), int(j), float(scores[i, j])))
    return found


@pytest.mark.slow
def test_join_of_real_texts() -> None:
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    )
    texts = sorted({text.strip() for text in source.split("\n\n") if 30 < len(text) < 1500})
    random.Random(0).shuffle(texts)
    left, right = texts[:2500], texts[2500:3000]
    expected = brute_force_table(left, right, 60)
    assert len(expected) > 20
    assert joined(left, right, 60, engine="compiled") == expected


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [75, 90])
def test_join_of_20000_by_2000_real_texts(threshold: float) -> None:
    from benchmarks.similarity.corpus import real_texts

    left, right = real_texts(20_000, 2_000)
    expected = brute_force_table(left, right, threshold)
    assert len(expected) > 500
    assert joined(left, right, threshold, engine="compiled") == expected
