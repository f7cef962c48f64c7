"""Tokenises a ShareGPT dataset with LLaMA-Factory's own code. Runs in LLaMA-Factory's environment, as a child process.

``llamafactory_tokenize.py REQUEST.json``, a request of ``openthoughts/training/tokenize.py``. The rows are cut into
chunks of a fixed size, each chunk goes through LLaMA-Factory's ``get_dataset`` in one of several processes, and the
tokenised chunks become one dataset that LLaMA-Factory loads by ``tokenized_path``. Chunks hold a whole number of
LLaMA-Factory's batches (within which it packs), so that the result does not depend on the number of processes.

A model's chat template decides how a question is asked at evaluation. The same must hold in training, so the default
system prompt is taken from the chat template, and a template of LLaMA-Factory that still renders a question otherwise
is refused. What becomes of single rows is in ``training_rows.py``.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from training_rows import QUESTION, Protection, RefusalError, Rows, kept

REFUSED = 3
"""Exit status of a refusal: the last line of standard error is the sentence for the user."""

SYSTEM_PROBE = "The system prompt of a probe."
USER_PROBE = "What is 2 + 2?"

SAMPLED_ROWS = 3
"""Rows that are shown as the trainer sees them."""


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
    """Tokenise all chunks of a request and put the dataset together; returns what was counted.

    Raises ``RefusalError`` where nothing is left to train on, or the settings allow nothing to be left out.
    """
    arguments = request["arguments"]
    arguments["default_system"] = default_system(arguments, request["rules"]["empty_thinking"])
    work = Path(request["work"])
    processes = min(request["processes"], -(-request["rows"] // request["chunk_rows"]))
    chunks = write_chunks(Path(request["dataset"]), work, request["chunk_rows"])
    tasks = ((chunk, request["info"], arguments, request["rules"]) for chunk in chunks)
    if processes > 1:
        # Forked, so that the libraries, which take longest, are imported once.
        with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:
            counted = list(pool.map(tokenize_chunk, tasks))
    else:
        counted = [tokenize_chunk(task) for task in tasks]
    totals: Counter[str] = sum((each["counts"] for each in counted), Counter())
    dropped: Counter[str] = sum((each["dropped"] for each in counted), Counter())
    check_counts(request, totals, dropped, max(each["longest"] for each in counted))
    assemble(work, Path(request["output"]), [number for number, each in enumerate(counted) if each["packed_rows"]])
    offsets = (number * request["chunk_rows"] for number in range(len(counted)))
    sample = [
        row | {"row": row["row"] + offset}
        for each, offset in zip(counted, offsets, strict=True)
        for row in each["sample"]
    ]
    digest = hashlib.sha256("".join(each["digest"] for each in counted).encode()).hexdigest()
    return {
        **{name: totals[name] for name in ("rows", "tokens", "trained_tokens", "cut_rows", "special_rows")},
        "packed_rows": sum(each["packed_rows"] for each in counted),
        "dropped": dict(dropped),
        "sample": spread(sample, SAMPLED_ROWS),
        "default_system": arguments["default_system"],
        "digest": digest,
    }


def check_counts(request: dict[str, Any], totals: Counter[str], dropped: Counter[str], longest: int) -> None:
    """Raise ``RefusalError`` where the rows that do not fit leave nothing, or are not allowed."""
    cutoff, rules = request["arguments"]["cutoff_len"], request["rules"]
    if rules["empty_thinking"] == "prompt" and totals["thinking_rows"]:
        raise RefusalError(
            f"{totals['thinking_rows']} of {totals['rows']} answers have thinking, which empty_thinking: prompt closes "
            "before it begins: choose none or answer."
        )
    over = sum(dropped[reason] for reason in dropped if reason != "special")
    if over and rules["over_cutoff"] == "fail":
        raise RefusalError(
            f"{over} of {totals['rows']} rows are longer than the cutoff of {cutoff} tokens ({dropped[QUESTION]} by "
            f"their question alone; the longest has {longest}): raise the cutoff, or set over_cutoff to drop or cut."
        )
    if sum(dropped.values()) == totals["rows"]:
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(dropped.items()))
        raise RefusalError(
            f"all {totals['rows']} rows are dropped at the cutoff of {cutoff} tokens ({why}; the longest has {longest} "
            "tokens): raise the cutoff, or set over_cutoff to cut."
        )


def spread(rows: list[Any], most: int) -> list[Any]:
    """At most so many of the rows, the first, the last and those between at equal distances."""
    if len(rows) <= most:
        return rows
    return [rows[round(number * (len(rows) - 1) / (most - 1))] for number in range(most)]


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


def tokenize_chunk(task: tuple[Path, dict[str, Any], dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    """Tokenise one chunk: leaves ``tokens/`` beside it, unless no row of it is left.

    Returns ``counts``, ``dropped`` (by reason), ``sample`` and ``longest`` of ``Rows``, ``packed_rows`` (rows of the
    result) and the digest of its data.
    """
    chunk, info, arguments, rules = task
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    (chunk.parent / "dataset_info.json").write_text(json.dumps({"chunk": {**info, "file_name": chunk.name}}))
    local = {"dataset": "chunk", "dataset_dir": str(chunk.parent), "cache_dir": str(chunk.parent / "cache")}
    model_args, data_args, training_args, *_ = get_train_args(arguments | local)
    tokenizer = load_tokenizer(model_args)
    chat_template = tokenizer["tokenizer"].chat_template
    template = get_template_and_fix_tokenizer(tokenizer["tokenizer"], data_args)
    tokenizer["tokenizer"].chat_template = chat_template  # some templates replace it

    number_of_rows = pq.read_metadata(chunk).num_rows
    wanted = frozenset(spread(list(range(number_of_rows)), SAMPLED_ROWS))
    rows = Rows(**rules, protection=Protection.of(tokenizer["tokenizer"]), wanted=wanted)
    protect(chunk, rows.protection)
    with ruled_by(rows), redirect_stdout(io.StringIO()):  # an example's token ids, thousands of them
        try:
            data = get_dataset(template, model_args, data_args, training_args, stage="sft", **tokenizer)
        except RuntimeError:
            if sum(rows.dropped.values()) < number_of_rows:  # otherwise it only misses an example to show
                raise
    if rows.counts["rows"] != number_of_rows:
        raise RuntimeError(f"LLaMA-Factory took {rows.counts['rows']} of {number_of_rows} rows of {chunk}.")
    result = {"counts": rows.counts, "dropped": rows.dropped, "sample": rows.sample, "longest": rows.longest}
    if sum(rows.dropped.values()) == number_of_rows:
        return {**result, "packed_rows": 0, "digest": ""}
    dataset = data["train_dataset"]
    if rows.dropped and not data_args.packing:
        dataset = kept(dataset)
    save(dataset, chunk.parent / "tokens")
    shutil.rmtree(chunk.parent / "cache", ignore_errors=True)
    chunk.unlink()
    digest = data_digest(chunk.parent / "tokens" / "data-00000-of-00001.arrow")
    return {**result, "packed_rows": len(dataset), "digest": digest}


def protect(chunk: Path, protection: Protection) -> None:
    """Mark what is not to be taken for special tokens in the conversations of a chunk."""
    conversations = pq.read_table(chunk).column("conversations")
    values = pc.struct_field(pc.list_flatten(conversations), "value")
    if pc.any(pc.match_substring_regex(values, protection.pattern.pattern)).as_py():
        turns_of = conversations.to_pylist()
        marked = [[turn | {"value": protection.mark(turn["value"])} for turn in turns] for turns in turns_of]
        pq.write_table(pa.table({"conversations": marked}), chunk)


@contextmanager
def ruled_by(rows: Rows) -> Iterator[None]:
    """Rows are encoded, cut and dropped as ``rows`` says while this lasts, instead of silently."""
    from llamafactory.data.processor import supervised
    from llamafactory.data.template import ReasoningTemplate, Template

    one, packed = supervised.SupervisedDatasetProcessor, supervised.PackedSupervisedDatasetProcessor
    infer_seqlen, encode, pack = supervised.infer_seqlen, one._encode_data_example, packed.preprocess_dataset
    plain, level = Template.encode_multiturn, supervised.logger.level

    def encode_pair(template: Any, tokenizer: Any, messages: Any, system: Any = None, *_: Any) -> Any:
        return rows.encode_pair(lambda *asked: plain(template, *asked), template, tokenizer, messages, system)

    def packed_batch(processor: Any, examples: Any) -> Any:
        names = ("input_ids", "attention_mask", "position_ids", "labels", "images", "videos", "audios")
        return pack(processor, examples) or {name: [] for name in names}

    supervised.infer_seqlen = lambda source, target, cutoff: rows.fit(source, target, cutoff, infer_seqlen)
    one._encode_data_example = lambda self, **example: rows.row(self, encode, **example)
    packed.preprocess_dataset = packed_batch
    thinking = ReasoningTemplate.encode_multiturn
    Template.encode_multiturn = ReasoningTemplate.encode_multiturn = encode_pair
    supervised.logger.setLevel("ERROR")  # a line per dropped row
    try:
        yield
    finally:
        supervised.infer_seqlen, one._encode_data_example, packed.preprocess_dataset = infer_seqlen, encode, pack
        Template.encode_multiturn, ReasoningTemplate.encode_multiturn = plain, thinking
        supervised.logger.setLevel(level)


def save(dataset: Any, folder: Path) -> None:
    """Write a tokenised dataset, with 4 bytes per number: the collator makes 8-byte tensors of them anyway."""
    from datasets import Value

    features = dataset.features.copy()
    for name in ("input_ids", "labels", "attention_mask", "position_ids"):
        if name in features and features[name].feature == Value("int64"):
            features[name].feature = Value("int32")
    dataset.cast(features).save_to_disk(str(folder), num_shards=1)


def data_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def assemble(work: Path, output: Path, chunks: list[int]) -> None:
    """Make one dataset folder of the tokenised chunks (files are moved, not copied), with nothing random in it."""
    train = output / "train"
    train.mkdir(parents=True)
    files = []
    for place, number in enumerate(chunks):
        tokens = work / f"chunk-{number:05d}" / "tokens"
        name = f"data-{place:05d}-of-{len(chunks):05d}.arrow"
        (tokens / "data-00000-of-00001.arrow").replace(train / name)
        files.append({"filename": name})
    first = work / f"chunk-{chunks[0]:05d}" / "tokens"
    state = json.loads((first / "state.json").read_text())
    state |= {"_data_files": files, "_fingerprint": "tokenized"}
    (train / "state.json").write_text(json.dumps(state, indent=2, sort_keys=True))
    features = json.loads((first / "dataset_info.json").read_text())["features"]
    (train / "dataset_info.json").write_text(json.dumps({"features": features}, indent=2, sort_keys=True))
    (output / "dataset_dict.json").write_text(json.dumps({"splits": ["train"]}))


def default_system(arguments: dict[str, Any], empty_thinking: str) -> str:
    """The system prompt that the model's chat template writes where a conversation has none ("" for none).

    Raises ``RefusalError`` where training on the named template would not show the model the prompts of evaluation.
    """
    from llamafactory.data import get_template_and_fix_tokenizer
    from llamafactory.data.template import Template
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
    prompt, _ = Template.encode_oneturn(template, tokenizer, messages)
    if empty_thinking == "prompt":
        prompt += template.get_thought_word_ids(tokenizer)
    asked = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, tokenize=False)
    evaluated = tokenizer.encode(asked, add_special_tokens=False)
    # A chat template may open the answer itself; in training that text is the answer's own beginning.
    opening = tokenizer.decode(evaluated[len(prompt) :])
    if evaluated[: len(prompt)] != prompt or opening.strip() not in ("", "<think>"):
        raise RefusalError(
            f"template {template_name} renders a question as {tokenizer.decode(prompt)!r} where the model's chat "
            f"template has {asked!r}: name the template of LLaMA-Factory that is the model's own"
            f"{' (and empty_thinking: prompt)' if '</think>' in opening else ''}."
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
