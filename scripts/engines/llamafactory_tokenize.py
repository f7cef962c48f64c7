"""Tokenises a ShareGPT dataset with LLaMA-Factory's own code. Runs in LLaMA-Factory's environment, as a child process.

``llamafactory_tokenize.py REQUEST.json``, a request of ``openthoughts/training/tokenize.py``. The rows are cut into
chunks of a fixed size, each chunk goes through LLaMA-Factory's ``get_dataset`` in one of several processes, and the
tokenised chunks become one dataset that LLaMA-Factory loads by ``tokenized_path``. Chunks hold a whole number of
LLaMA-Factory's batches (within which it packs), so that the result does not depend on the number of processes.

A model's chat template decides how a question is asked at evaluation. The same must hold in training, so the default
system prompt is taken from the chat template, and a template of LLaMA-Factory that still renders a question otherwise
is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

REFUSED = 3
"""Exit status of a refusal: the last line of standard error is the sentence for the user."""

SYSTEM_PROBE = "The system prompt of a probe."
USER_PROBE = "What is 2 + 2?"


class RefusalError(Exception):
    """The request cannot be carried out; the message is one sentence for the user."""


def main() -> int:
    """Carry out the request in the file named on the command line."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        answer = tokenize(request)
    except RefusalError as error:
        print(error, file=sys.stderr)
        return REFUSED
    Path(request["answer"]).write_text(json.dumps(answer, indent=2), encoding="utf-8")
    return 0


def tokenize(request: dict[str, Any]) -> dict[str, Any]:
    """Tokenise all chunks of a request and put the dataset together; returns what was counted."""
    arguments = request["arguments"] | {"default_system": default_system(request["arguments"])}
    work = Path(request["work"])
    processes = min(request["processes"], -(-request["rows"] // request["chunk_rows"]))
    chunks = write_chunks(Path(request["dataset"]), work, request["chunk_rows"])
    tasks = ((chunk, request["info"], arguments) for chunk in chunks)
    if processes > 1:
        # Forked, so that the libraries, which take longest, are imported once.
        with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:
            counted = list(pool.map(tokenize_chunk, tasks))
    else:
        counted = [tokenize_chunk(task) for task in tasks]
    assemble(work, Path(request["output"]), len(counted))
    totals = {key: sum(count[key] for count in counted) for key in counted[0] if key != "digest"}
    digest = hashlib.sha256("".join(count["digest"] for count in counted).encode()).hexdigest()
    return {**totals, "default_system": arguments["default_system"], "digest": digest}


def write_chunks(dataset: Path, work: Path, chunk_rows: int) -> Iterator[Path]:
    """Write the conversations as Parquet files of ``chunk_rows`` rows each, reading the dataset once, in order."""
    pending: list[pa.RecordBatch] = []
    number = 0
    for batch in pq.ParquetFile(dataset).iter_batches(batch_size=1000, columns=["conversations"]):
        pending.append(batch)
        while sum(map(len, pending)) >= chunk_rows:
            table = pa.Table.from_batches(pending)
            yield write_chunk(table.slice(0, chunk_rows), work, number)
            pending, number = table.slice(chunk_rows).to_batches(), number + 1
    if pending and sum(map(len, pending)):
        yield write_chunk(pa.Table.from_batches(pending), work, number)


def write_chunk(table: pa.Table, work: Path, number: int) -> Path:
    """Write one chunk into a folder of its own."""
    path = work / f"chunk-{number:05d}" / "rows.parquet"
    path.parent.mkdir()
    pq.write_table(table, path)
    return path


def tokenize_chunk(task: tuple[Path, dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    """Tokenise one chunk: leaves ``tokens/`` beside it, returns its counts and the digest of its data.

    Counts: ``rows`` (conversations), ``tokens`` (after the cut, without padding), ``trained_tokens`` (those of the
    answers), ``cut_rows`` (conversations longer than the cutoff), ``packed_rows`` (rows of the result).
    """
    chunk, info, arguments = task
    from datasets import Value
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer  # type: ignore[import-not-found]
    from llamafactory.data.processor import supervised  # type: ignore[import-not-found]
    from llamafactory.hparams import get_train_args  # type: ignore[import-not-found]
    from llamafactory.model import load_tokenizer  # type: ignore[import-not-found]

    (chunk.parent / "dataset_info.json").write_text(json.dumps({"chunk": {**info, "file_name": chunk.name}}))
    local = {"dataset": "chunk", "dataset_dir": str(chunk.parent), "cache_dir": str(chunk.parent / "cache")}
    model_args, data_args, training_args, *_ = get_train_args(arguments | local)
    tokenizer = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(tokenizer["tokenizer"], data_args)

    counts = {"rows": pq.read_metadata(chunk).num_rows, "tokens": 0, "trained_tokens": 0, "cut_rows": 0}
    infer_seqlen = supervised.infer_seqlen

    def counted(source: int, target: int, cutoff: int) -> tuple[int, int]:
        """LLaMA-Factory's cut of one question and answer, which it makes silently, with a note of what it did."""
        new_source, new_target = infer_seqlen(source, target, cutoff)
        counts["tokens"] += new_source + new_target
        counts["trained_tokens"] += new_target
        counts["cut_rows"] += source + target > cutoff
        return new_source, new_target

    supervised.infer_seqlen = counted
    try:
        with redirect_stdout(io.StringIO()):  # an example's token ids, thousands of them
            data = get_dataset(template, model_args, data_args, training_args, stage="sft", **tokenizer)
    finally:
        supervised.infer_seqlen = infer_seqlen
    dataset = data["train_dataset"]

    # 4 bytes a number instead of 8: the collator makes 8-byte tensors of them anyway.
    features = dataset.features.copy()
    for name in ("input_ids", "labels", "attention_mask", "position_ids"):
        if name in features and features[name].feature == Value("int64"):
            features[name].feature = Value("int32")
    dataset = dataset.cast(features)
    dataset.save_to_disk(str(chunk.parent / "tokens"), num_shards=1)
    digest = data_digest(chunk.parent / "tokens" / "data-00000-of-00001.arrow")
    shutil.rmtree(chunk.parent / "cache", ignore_errors=True)
    chunk.unlink()
    return {**counts, "packed_rows": len(dataset), "digest": digest}


def data_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def assemble(work: Path, output: Path, chunks: int) -> None:
    """Make one dataset folder of the tokenised chunks (files are moved, not copied), with nothing random in it."""
    train = output / "train"
    train.mkdir(parents=True)
    files = []
    for number in range(chunks):
        tokens = work / f"chunk-{number:05d}" / "tokens"
        name = f"data-{number:05d}-of-{chunks:05d}.arrow"
        (tokens / "data-00000-of-00001.arrow").replace(train / name)
        files.append({"filename": name})
    first = work / "chunk-00000" / "tokens"
    state = json.loads((first / "state.json").read_text())
    state |= {"_data_files": files, "_fingerprint": "tokenized"}
    (train / "state.json").write_text(json.dumps(state, indent=2, sort_keys=True))
    features = json.loads((first / "dataset_info.json").read_text())["features"]
    (train / "dataset_info.json").write_text(json.dumps({"features": features}, indent=2, sort_keys=True))
    (output / "dataset_dict.json").write_text(json.dumps({"splits": ["train"]}))


def default_system(arguments: dict[str, Any]) -> str:
    """The system prompt that the model's chat template writes where a conversation has none ("" for none).

    Raises ``RefusalError`` where training on the named template would not show the model the prompts of evaluation.
    """
    from llamafactory.data import get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    probe = {"dataset": "none"}
    model_args, data_args, *_ = get_train_args(arguments | probe)
    tokenizer = load_tokenizer(model_args)["tokenizer"]
    if not tokenizer.chat_template:
        raise RefusalError(f"{model_args.model_name_or_path} has no chat template: name a model that has one.")
    data_args.default_system = chat_default_system(tokenizer)
    template_name = data_args.template
    try:
        template = get_template_and_fix_tokenizer(tokenizer, data_args)
    except ValueError as error:
        raise RefusalError(f"LLaMA-Factory has no template {template_name}: name one that it has.") from error
    messages = [{"role": "user", "content": USER_PROBE}, {"role": "assistant", "content": "4"}]
    prompt, _ = template.encode_oneturn(tokenizer, messages)
    asked = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, tokenize=False)
    evaluated = tokenizer.encode(asked, add_special_tokens=False)
    # A chat template may open the answer itself; in training that text is the answer's own beginning.
    opening = tokenizer.decode(evaluated[len(prompt) :])
    if evaluated[: len(prompt)] != prompt or opening.strip() not in ("", "<think>"):
        raise RefusalError(
            f"template {template_name} renders a question as {tokenizer.decode(prompt)!r} where the model's chat "
            f"template has {asked!r}: name the template of LLaMA-Factory that is the model's own."
        )
    return str(data_args.default_system)


def chat_default_system(tokenizer: Any) -> str:
    """The text that the chat template puts in the place of a system message that is not given."""

    def render(*messages: tuple[str, str]) -> str:
        chat = [{"role": role, "content": content} for role, content in messages]
        return str(tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))

    try:
        with_probe = render(("system", SYSTEM_PROBE), ("user", USER_PROBE))
    except Exception:  # a template may refuse system messages, in words of its own
        return ""
    without = render(("user", USER_PROBE))
    head, found, tail = with_probe.partition(SYSTEM_PROBE)
    if found and len(without) >= len(head) + len(tail) and without.startswith(head) and without.endswith(tail):
        return without[len(head) : len(without) - len(tail)]
    return ""


if __name__ == "__main__":
    sys.exit(main())
