"""``model.json``: who a model is, and what identifies its answers."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.tiny_model import make_tiny_model

from openthoughts.base.cli import UserError
from openthoughts.base.options import problems
from openthoughts.inference.sampling import Sampling
from openthoughts.models.engine_arguments import changing
from openthoughts.models.model import Model, describe, weights_digest
from openthoughts.models.request_form import CHAT, RequestForm

API = Model(
    "mini", "openai:mini-2024-07-18", provider="api", base_url="https://api.openai.com/v1", api_model="mini-2024-07-18"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_tiny_model(folder)
    return folder


@pytest.fixture
def tiny(made: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model to spoil."""
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def test_what_is_written_is_read(tiny: Path) -> None:
    model = Model.read(tiny / "model.json")
    model.write(tiny / "again.json")
    assert Model.read(tiny / "again.json") == model
    assert model.weights == tiny / "weights"
    assert (tiny / "again.json").read_bytes() == (tiny / "model.json").read_bytes()


def test_a_moved_folder_keeps_its_weights(tiny: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    tiny.rename(moved)
    assert Model.read(moved / "model.json").weights == moved / "weights"


def test_the_key_of_a_local_model_is_what_changes_its_answers(tiny: Path) -> None:
    path, weights = tiny / "model.json", tiny / "weights"
    model = Model.read(path)
    same = describe(weights, tiny / "sub" / "model.json", "another name", licence="MIT", base_url="http://127.0.0.1/v1")
    assert same.key() == model.key() and same.key_digest() == model.key_digest()
    others = [
        describe(weights, path, "tiny", dtype="float32"),
        describe(weights, path, "tiny", max_model_len=1024),
        describe(weights, path, "tiny", quantization="fp8"),
        describe(weights, path, "tiny", identity="somebody/else@0"),
    ]
    (weights / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    others.append(describe(weights, path, "tiny"))
    assert len({it.key_digest() for it in [model, *others]}) == 6


@pytest.mark.parametrize(
    ("given", "changing_ones"),
    [
        ("", ""),
        ("--max-num-seqs 64 --gpu-memory-utilization=0.8 -tp 4 --no-enable-prefix-caching --enforce-eager -O3", ""),
        ("--quantization fp8 --max-num-seqs 64 --kv-cache-dtype=fp8", "--kv-cache-dtype=fp8 --quantization=fp8"),
        ("--rope-scaling '{\"factor\": 4}'", "'--rope-scaling={\"factor\": 4}'"),
        ("--enable-something-new", "--enable-something-new"),
        ("--limit-mm-per-prompt image=0 video=0", "'--limit-mm-per-prompt=image=0 video=0'"),
    ],
)
def test_arguments_of_an_engine_that_may_change_answers_are_part_of_the_key(
    tiny: Path, given: str, changing_ones: str
) -> None:
    assert changing(given) == changing_ones
    model = Model.read(tiny / "model.json")
    with_them = replace(model, engine_args=changing(given))
    assert (with_them.key() == model.key()) == (changing_ones == "")


def test_the_key_of_an_apis_model_is_its_dated_name() -> None:
    assert API.key() == {"identity": "openai:mini-2024-07-18"}


def test_the_form_of_an_apis_requests_is_part_of_its_key() -> None:
    form = {"omit": ["temperature"]}
    assert replace(API, request=form).key() == {"identity": "openai:mini-2024-07-18", "request": form}
    assert replace(API, request=form).request_form().shape({"temperature": 1, "top_p": 1}) == {"top_p": 1}


def test_an_apis_model_has_no_weights() -> None:
    with pytest.raises(UserError, match="mini is served by an API and has no weights here"):
        _ = API.weights


def test_a_students_identity_is_its_weights(tiny: Path) -> None:
    path, weights = tiny / "model.json", tiny / "weights"
    before = describe(weights, path, "student")
    assert before.identity == f"sha256:{weights_digest(weights)}"
    file = weights / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert describe(weights, path, "student").key_digest() != before.key_digest()


def test_what_training_leaves_beside_the_weights_does_not_count(tiny: Path) -> None:
    weights = tiny / "weights"
    before = weights_digest(weights)
    (weights / "training_args.bin").write_bytes(b"x")
    (weights / "trainer_state.json").write_text("{}")
    assert weights_digest(weights) == before


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda it: (it / "chat_template.jinja").unlink(), "has no chat template: add chat_template.jinja"),
        (lambda it: (it / "config.json").unlink(), "is not a model folder: it has no readable config.json"),
        (lambda it: (it / "config.json").write_text("{"), "is not a model folder: it has no readable config.json"),
        (lambda it: (it / "model.safetensors").unlink(), "holds no weights"),
    ],
)
def test_a_folder_that_lacks_something_is_named(spoil, sentence: str, tiny: Path) -> None:
    spoil(tiny / "weights")
    with pytest.raises(UserError) as raised:
        describe(tiny / "weights", tiny / "model.json", "tiny")
    assert sentence in str(raised.value) and str(tiny / "weights") in str(raised.value)


def test_a_length_beyond_the_models_own_is_refused(tiny: Path) -> None:
    with pytest.raises(UserError, match="max_model_len 4096 of tiny is more than the 2048 tokens it was made for"):
        describe(tiny / "weights", tiny / "model.json", "tiny", max_model_len=4096)


def test_missing_weights_name_the_remedy(tiny: Path) -> None:
    shutil.rmtree(tiny / "weights")
    with pytest.raises(UserError, match=r"the weights of tiny are not in .*: delete .*model\.json and run again"):
        _ = Model.read(tiny / "model.json").weights


@pytest.mark.parametrize("text", ["", "[]", '{"name": "x"', '{"name": "x"}'])
def test_a_file_cut_short_is_one_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(text)
    with pytest.raises(UserError, match="delete it and fetch the model again"):
        Model.read(path)


def test_a_missing_file_and_a_missing_field_are_named(tiny: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.json does not exist: run fetch_model"):
        Model.read(tiny / "nowhere.json")
    content = json.loads((tiny / "model.json").read_text())
    (tiny / "model.json").write_text(json.dumps({**content, "digest": None}))
    with pytest.raises(UserError, match="lacks digest"):
        Model.read(tiny / "model.json")


@pytest.mark.parametrize(
    ("request_block", "problem"),
    [
        ({"add": {"stream": True}}, "add: the key 'stream' cannot be added, as the workflow sets it itself"),
        ({"add": {"messages": []}}, "add: the key 'messages' cannot be added, as the workflow sets it itself"),
        ({"add": {"max_tokens": 5}}, "add: the key 'max_tokens' cannot be added, as the workflow sets it itself: set"),
        ({"add": {1: 2}}, "add: the key 1 is not text: put it in quotes"),
        ({"omit": ["temratpure"]}, "omit: no request has a key 'temratpure' (did you mean temperature?)"),
        ({"omit": ["reasoning"]}, "omit: no request has a key 'reasoning' (did you mean reasoning_effort?)"),
        ({"rename": {"max_token": "length"}}, "rename: no request has a key 'max_token' (did you mean max_tokens?)"),
        ({"rename": {"max_tokens": "seed"}}, "rename: max_tokens and seed would both be sent as seed: give each"),
        ({"rename": {"top_k": "k", "top_p": "k"}}, "rename: top_k and top_p would both be sent as k: give each"),
        ({"rename": {"stream": "x"}}, "rename: stream is what is asked and how"),
        ({"rename": {"seed": "n"}}, "rename.seed: n is what is asked and how"),
        ({"rename": {"seed": "draw"}, "add": {"draw": 1}}, "add: seed is sent as draw: add it under another name"),
    ],
)
def test_a_form_that_would_do_something_else_is_refused(request_block: dict[str, Any], problem: str) -> None:
    found = problems(RequestForm, request_block, "request")
    assert len(found) == 1 and found[0].startswith(f"request.{problem}"), found


@pytest.mark.parametrize(
    "request_block",
    [
        {"rename": {"max_tokens": "max_completion_tokens"}},
        {"rename": {"max_tokens": "seed"}, "omit": ["seed"]},
        {"rename": {"top_p": "top_k", "top_k": "top_p"}},
        {"api": "responses", "omit": ["reasoning", "store"], "rename": {"max_tokens": "max_output_tokens"}},
    ],
)
def test_a_form_whose_names_differ_is_taken(request_block: dict[str, Any]) -> None:
    assert problems(RequestForm, request_block) == []


def test_every_sampling_setting_can_be_left_out() -> None:
    assert set(CHAT) >= set(Sampling.model_fields)
