"""The language of an answer: sentences in 21 languages, and what is no prose."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from tests.answer_tables import answers, drawn

from openthoughts.answers.filtering import filter_answers
from openthoughts.answers.language import MANY, PIECE_LETTERS, PIECES, language, languages, prose

SENTENCES = {
    "en": "We need to find the number of ways to choose three points so that"
    " no two are adjacent. Let me think about it step by step.",
    "de": "Wir müssen die Anzahl der Möglichkeiten finden, drei Punkte so zu wählen, dass keine zwei benachbart sind.",
    "fr": "Nous devons trouver le nombre de façons de choisir trois points"
    " de sorte que deux d'entre eux ne soient pas adjacents.",
    "es": "Necesitamos encontrar el número de formas de elegir tres puntos de manera que no haya dos adyacentes.",
    "zh": "我们需要找出选择三个点的方法数，使得没有两个点相邻。",
    "ja": "隣り合う点がないように三つの点を選ぶ方法の数を求める必要があります。",
    "ru": "Нам нужно найти количество способов выбрать три точки так, чтобы никакие две не были соседними.",
    "ar": "نحتاج إلى إيجاد عدد الطرق لاختيار ثلاث نقاط بحيث لا تكون أي نقطتين متجاورتين.",
    "ko": "두 점이 인접하지 않도록 세 점을 선택하는 방법의 수를 구해야 합니다.",
    "it": "Dobbiamo trovare il numero di modi per scegliere tre punti in modo che nessuno sia adiacente.",
    "pt": "Precisamos encontrar o número de maneiras de escolher três pontos de modo que não haja dois adjacentes.",
    "nl": "We moeten het aantal manieren vinden om drie punten te kiezen zodat er geen twee naast elkaar liggen.",
    "pl": "Musimy znaleźć liczbę sposobów wyboru trzech punktów tak, aby żadne dwa nie sąsiadowały.",
    "tr": "Hiçbiri bitişik olmayacak şekilde üç nokta seçmenin yollarının sayısını bulmalıyız.",
    "sv": "Vi måste hitta antalet sätt att välja tre punkter så att inga två är intilliggande.",
    "fi": "Meidän täytyy löytää tapojen määrä valita kolme pistettä niin, että mitkään kaksi eivät ole vierekkäin.",
    "hi": "हमें तीन बिंदुओं को चुनने के तरीकों की संख्या ज्ञात करनी है ताकि कोई दो आसन्न न हों।",
    "vi": "Chúng ta cần tìm số cách chọn ba điểm sao cho không có hai điểm nào kề nhau.",
    "uk": "Нам потрібно знайти кількість способів вибрати три точки так, щоб жодні дві не були сусідніми.",
    "el": "Πρέπει να βρούμε τον αριθμό των τρόπων επιλογής τριών σημείων ώστε να μην είναι γειτονικά.",
    "id": "Kita perlu menemukan banyaknya cara memilih tiga titik sehingga tidak ada dua yang bersebelahan.",
}
"""The same sentence in 21 languages."""


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_is_told_by_its_language(code: str) -> None:
    assert language(SENTENCES[code]) == code


@pytest.mark.parametrize("code", ["de", "zh", "en"])
def test_formulas_and_code_do_not_hide_the_language(code: str) -> None:
    mixed = rf"<think> $\frac{{x}}{{y}} \ne \sin x$ {SENTENCES[code]} \boxed{{7}}"
    mixed += "\n```python\nfor number in range(10):\n    print(number if number else 'nothing to print here')\n```\n"
    assert language(mixed) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "Thus, 7.",
        r"$$\int_0^1 x\,dx = \frac{1}{2}$$",
        "```python\ndef f(x):\n    return [value for value in range(x) if value % 2 == 0]\n```",
        "<think> x = y + z = 3 </think>",
    ],
)
def test_too_little_prose_has_no_language(text: str) -> None:
    assert language(text) is None


def test_long_texts_are_looked_at_from_beginning_to_end() -> None:
    text = SENTENCES["en"] * 3 + SENTENCES["ru"] * 300
    assert len(prose(text)) <= PIECES * (PIECE_LETTERS + 1)
    assert language(text) == "ru"


def test_many_texts_are_told_as_one_by_one() -> None:
    texts = [*SENTENCES.values(), "7"] * 25
    assert len(texts) > MANY
    assert languages(texts) == [*SENTENCES, None] * 25


def test_answers_in_other_languages_are_dropped(tmp_path: Path) -> None:
    texts = {"q": [SENTENCES["en"], SENTENCES["zh"], "7", SENTENCES["fr"]]}
    questions, given = drawn(tmp_path / "d.parquet", ["q"]), answers(tmp_path / "a.parquet", texts)
    filter_answers(questions, given, "language", {}, tmp_path / "k.parquet", tmp_path / "x.parquet")
    assert pl.read_parquet(tmp_path / "k.parquet")["sample"].to_list() == [0, 2]
    assert pl.read_parquet(tmp_path / "x.parquet")["reason"].to_list() == ["language zh", "language fr"]
    filter_answers(questions, given, "language", {"language": "fr"}, tmp_path / "k.parquet", tmp_path / "x.parquet")
    assert pl.read_parquet(tmp_path / "k.parquet")["sample"].to_list() == [2, 3]
