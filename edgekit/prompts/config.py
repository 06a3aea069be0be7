"""PromptsConfig: which library and model, which splits, how edits are searched for and what it may cost."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from edgekit.core.recipe import Config, Plan
from edgekit.engine.endpoint import Endpoint
from edgekit.library import Dynamic, load_library

Split = Literal["train", "dev", "test"]
Operator = Literal["clarify", "rule", "example", "aid", "shorten", "write"]


class Search(Config):
    """How candidates are found.

    greedy: the operators, best library first. gepa: the writer's texts, chosen by the package gepa
    (GEPA's reflective mutation and its front over single frames); its own extra.
    """

    kind: Literal["greedy", "gepa"] = "greedy"
    operators: list[Operator] = ["clarify", "rule", "example", "aid", "shorten", "write"]  # of greedy
    groups: int = Field(6, ge=1, le=100)  # groups of failures that a library's edits are made for
    screen: int = Field(16, ge=0, le=1000)  # failures that an edit is tried on first; 0: none
    patience: int = Field(24, ge=1)  # tries in a row that bring nothing as good as the best; then it stops
    # For more tokens the score must gain both: so much, and so many standard errors of the difference.
    least_gain: float = Field(0.005, ge=0, le=1)
    errors: float = Field(1.5, ge=0, le=10)
    minibatch: int = Field(8, ge=1, le=1000)  # of gepa: frames that a text is written from and tried on


class PromptsConfig(Config):
    """A prompt library, a labelled Dataset and a model in; library.yaml, report.json and report.md out.

    ``digests`` is filled in here, never by hand: what the library says, so that another one is another run.
    """

    inputs: ClassVar[tuple[str, ...]] = ("model", "dataset")

    model: str | None = None  # a Checkpoint or a Bundle
    kind: Literal["auto", "torch", "bundle", "endpoint"] = "auto"
    endpoint: Endpoint | None = None  # instead of a directory: an OpenAI-compatible port
    writer: Endpoint | None = None  # who writes edits, text only; its port may be the model's

    library: str = "library"  # the library to make better
    # As edgekit mine asks with the same two keys: default: one prompt for all frames; dynamic: composed for each, of
    # its tags, its speed, what detectors found and a first answer. Crops are cut from the stored image, not from the
    # drive's full resolution: a Dataset holds no larger picture.
    prompts: Literal["default", "dynamic"] = "default"
    dynamic: Dynamic = Field(default_factory=Dynamic)
    dataset: str
    split: Split = "dev"  # searched on: some scenes to read failures from, the others to choose by
    held_out: Split = "test"  # promoted on: asked about once the search is over
    learn: float = Field(0.5, gt=0, lt=1)  # share of the searched scenes that failures are read from
    frames: int | None = Field(None, ge=1)  # of each split at most so many, spread evenly over it
    batch: int = Field(8, ge=1, le=1024)

    budget: int = Field(5000, ge=1)  # evaluations (a prompt on an image) in all, the promotion's among them
    edits: int = Field(4, ge=1, le=20)  # at most so many between the library and a candidate
    target: float | None = Field(None, gt=0, le=1)  # the score at which the search may stop
    search: Search = Field(default_factory=Search)

    resamples: int = Field(2000, ge=100, le=100_000)
    margin: float = Field(
        0.01, ge=0, le=0.5
    )  # what fewer tokens may cost of the score, and any edit a single task
    seed: int = 0
    digests: dict[str, str] = {}

    @model_validator(mode="after")
    def _whole(self) -> PromptsConfig:
        if bool(self.model) == bool(self.endpoint):
            raise ValueError("name one of model (a directory) and endpoint (a port)")
        if (self.kind == "endpoint") != bool(self.endpoint) and self.kind != "auto":
            raise ValueError(f"kind: {self.kind} does not go with {'endpoint' if self.endpoint else 'model'}")
        if self.split == self.held_out:
            raise ValueError(
                f"split and held_out are both {self.split!r}: what is searched on cannot show that it holds"
            )
        if self.search.kind == "gepa" and not self.writer:
            raise ValueError("search.kind: gepa writes its edits with a model: name a writer")
        if self.search.kind == "greedy" and not self.writer and self.search.operators == ["write"]:
            raise ValueError("search.operators holds only 'write', and no writer is named")
        self.digests = {"library": load_library(self.library).digest()}
        return self

    @property
    def questions(self) -> int:
        """Evaluations of a frame for each library, at most: the default prompt is asked anew where an edit changed
        it, and then the composed one; no edit changes a probe, so that it is asked once for all."""
        return 2 if self.prompts == "dynamic" and self.dynamic.first == "label" else 1

    def plan(self) -> Plan:
        from edgekit.prompts.plan import plan_prompts
        from edgekit.prompts.shares import refusals

        return plan_prompts(self.model, self.budget, self.batch, refusals(self))
