"""Shared runs of tokens are what Python's sets find, with every engine and tokenizer."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openthoughts.base.cli import UserError
from openthoughts.models.tokenizers import Tokenizer, count_tokens, decode, load_tokenizer
from openthoughts.similarity import Engine
from openthoughts.similarity.ngrams import NgramIndex, SharedRun

PROSE = "the of a find number 12 7 x^2 = triangle ABC é 中文 😀 , . ( ) - - - \\frac{1}{2} e\u0301 <|im_end|>"
WORDS = [*PROSE.split(), "\n", "\u2028"]


def texts_sharing_runs(chance: random.Random, count: int) -> list[str]:
    phrases = [" ".join(chance.choices(WORDS, k=chance.randint(1, 40))) for _ in range(6)]
    return ["".join(chance.choices(phrases + WORDS, k=chance.randint(0, 9))) for _ in range(count)]


def by_definition(tokenizer: Tokenizer, texts: list[str], references: list[str], n: int) -> dict[tuple[int, int], int]:
    """Length in tokens of the longest run that a text and a reference share, where it is at least n."""
    found = {}
    encoded = [ids.tolist() for ids in tokenizer.encode_batch(references)]
    for i, ids in enumerate(tokenizer.encode_batch(texts)):
        own = ids.tolist()
        for j, other in enumerate(encoded):
            for length in range(min(len(own), len(other)), n - 1, -1):
                grams = {tuple(own[p : p + length]) for p in range(len(own) - length + 1)}
                if any(tuple(other[p : p + length]) in grams for p in range(len(other) - length + 1)):
                    found[i, j] = length
                    break
    return found


def check(tokenizer: Tokenizer, texts: list[str], references: list[str], n: int) -> list[SharedRun]:
    engines: list[Engine] = ["plain", "compiled"]
    plain, compiled = (NgramIndex(tokenizer, references, n, engine=engine).find(texts) for engine in engines)
    assert plain == compiled
    assert {(run.text, run.reference): run.tokens for run in plain} == by_definition(tokenizer, texts, references, n)
    return plain


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.sampled_from([1, 2, 5, 13, 20, 30]))
def test_runs_are_those_of_sets(seed: int, n: int) -> None:
    chance = random.Random(seed)
    tokenizer = load_tokenizer("qwen")
    for run in check(tokenizer, texts_sharing_runs(chance, 25), texts_sharing_runs(chance, 15), n):
        assert run.tokens >= n


def test_the_shared_text_is_in_both() -> None:
    shared = "the sum of the digits of the square of the smallest prime that is larger than one hundred"
    texts, references = [f"Compute {shared}, please.", "nothing"], ["unrelated", f"What is {shared}? Explain."]
    run = check(load_tokenizer("qwen"), texts, references, 13)[0]
    assert (run.text, run.reference) == (0, 1)
    assert run.shared_text == " " + shared


def test_texts_shorter_than_the_run_match_nothing() -> None:
    assert check(load_tokenizer("qwen"), ["a b c", ""], ["a b c", ""], 13) == []


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A model.json beside a small byte-level tokenizer trained on the spot."""
    from tokenizers import Tokenizer as Trained
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    trained = Trained(models.BPE())
    trained.normalizer = normalizers.NFC()
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=["<|im_end|>"])
    trained.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    (tmp_path / "weights").mkdir()
    trained.save(str(tmp_path / "weights" / "tokenizer.json"))
    file = tmp_path / "model.json"
    file.write_text(json.dumps({"path": "weights"}))
    return file


def test_tokenizer_of_a_model(model_file: Path) -> None:
    tokenizer = load_tokenizer(str(model_file))
    assert tokenizer.lossless
    chance = random.Random(5)
    texts = texts_sharing_runs(chance, 20)
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert decode(tokenizer, ids) == tokenizer.normalise(text)
    check(tokenizer, texts, texts_sharing_runs(chance, 10), 5)


def test_tokenizer_that_loses_bytes_is_not_filtered_by_them(model_file: Path) -> None:
    specification_file = model_file.parent / "weights" / "tokenizer.json"
    specification = json.loads(specification_file.read_text())
    specification["normalizer"] = {"type": "Lowercase"}
    specification["pre_tokenizer"]["add_prefix_space"] = True
    specification_file.write_text(json.dumps(specification))
    load_tokenizer.cache_clear()
    tokenizer = load_tokenizer(str(model_file))
    assert not tokenizer.lossless
    assert check(tokenizer, ["THE NUMBER OF A TRIANGLE ABC IS 12"], ["the number of a triangle abc is 7"], 5)


def test_counts_and_special_tokens() -> None:
    tokenizer = load_tokenizer("Qwen/Qwen2-7B-Instruct")
    texts = ["", "hello world", "<|im_end|>", "<|extra_3|>", "a" * 5000 + " " * 300_000 + "b"]
    counts = count_tokens(tokenizer, texts)
    assert counts[:3] == [0, 2, 1]
    assert counts[3] > 1
    assert decode(tokenizer, tokenizer.encode_batch(texts)[4]) == texts[4]


def test_fallback_for_long_blanks_agrees_with_tiktoken() -> None:
    tokenizer = load_tokenizer("qwen")
    chance = random.Random(2)
    for _ in range(300):
        text = tokenizer.normalise(
            "".join(chance.choices(" \n\tab'sS12.,é中אＡ\r😀<|im_end|>", k=chance.randint(0, 50)))
        )
        assert tokenizer.encode_batch([text])[0].tolist() == tokenizer._encode_by_pieces(text)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["gpt2", "missing/model.json"])
def test_unknown_tokenizers_are_one_sentence(name: str) -> None:
    with pytest.raises(UserError, match="there is no tokenizer"):
        load_tokenizer(name)


def test_hosted_model_has_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"path": null}')
    with pytest.raises(UserError, match="hosted"):
        load_tokenizer(str(tmp_path / "model.json"))
