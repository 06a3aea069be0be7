"""The adapter that a tuning begins with: a new one for this base and these frames, or one that goes on."""

from __future__ import annotations

from pydantic import ValidationError

from edgekit.core.errors import UserError, suggestion
from edgekit.core.run import Run
from edgekit.generators.adapters.adapter import Adapter, attach
from edgekit.generators.adapters.files import adapter_folder, load_adapter
from edgekit.generators.adapters.method import Method
from edgekit.generators.conditions import LabelCondition
from edgekit.generators.generator import Generator
from edgekit.tune.config import TuneConfig
from edgekit.tune.data import Frame
from edgekit.tune.start import start_labels


def attached(config: TuneConfig, run: Run, generator: Generator, frames: list[Frame]) -> Adapter:
    """Raises UserError for labels and settings that do not go together, and as ``attach`` and ``load_adapter``."""
    if config.adapter_from:
        return _continued(config, run, generator, frames)
    names = getattr(generator.condition, "names", None)
    method = _settings(config, generator, frames)
    if new := getattr(method, "labels", []):
        if new != names:
            run.note(f"the base does not know all labels: its table is built anew for {', '.join(new)}")
    old = generator.condition
    kept = run.state / "awareness.json"
    if kept.exists():  # CA-LoRA: measured before the run was killed
        method = method.model_copy(update={"scores": str(kept)})
    adapter = attach(method, generator, config.seed)
    if awareness := getattr(adapter, "awareness", None):
        awareness.save(kept)
    if getattr(method, "label_start", "normal") != "normal":
        if not adapter.new_labels:
            run.note(f"method.label_start: {method.label_start} starts nothing: no label is new to the base")
        elif method.label_start == "ssei":
            start_labels(config, run, adapter, old, frames)
    return adapter


def _settings(config: TuneConfig, generator: Generator, frames: list[Frame]) -> Method:
    """The method's settings for this base and these frames: AdaLoRA's steps, labels that the base lacks."""
    method, change = config.method, {}
    if method.kind == "adalora":
        change["steps"] = config.train.steps
    if isinstance(generator.condition, LabelCondition):
        wanted, known = sorted({f.asked for f in frames}), generator.condition.names
        given = getattr(method, "labels", None)
        known = given or known
        if strange := [label for label in wanted if label not in known]:
            if given is None or given:
                raise UserError(
                    f"tune: a frame's label {strange[0]!r} is not among the {'method' if given else 'base'}'s",
                    suggestion(strange[0], known),
                    "change condition.label, or " + ("method.labels" if given else "choose another method"),
                )
            change["labels"] = wanted
    try:
        return type(method).model_validate(method.model_dump() | change)
    except ValidationError as error:
        raise UserError(
            f"tune: {method.kind} cannot learn these frames' labels",
            error.errors()[0]["msg"].removeprefix("Value error, "),
            "change the method's keys, or condition.label",
        ) from None


def _continued(config: TuneConfig, run: Run, generator: Generator, frames: list[Frame]) -> Adapter:
    """The adapter of ``adapter_from``, as it was made. Raises UserError where the recipe wants it otherwise."""
    adapter, asked = load_adapter(adapter_folder(run.input("adapter_from")), generator), config.method
    if adapter.kind != asked.kind:
        raise UserError(
            f"tune: adapter_from is a {adapter.kind} adapter",
            f"and method.kind is {asked.kind}",
            "name one method in both",
        )
    for key, field in type(asked).model_fields.items():
        mine, theirs = getattr(asked, key), getattr(adapter.config, key)
        if mine == theirs:
            continue
        # A resolved recipe states every key: one at its default may never have been asked for.
        if mine != field.get_default(call_default_factory=True):
            raise UserError(
                f"tune: method.{key} is {str(mine)[:80]}",
                f"adapter_from was made with {str(theirs)[:80]}",
                f"leave method.{key} out, or begin without adapter_from",
            )
        if key not in ("labels", "units"):  # chosen by the first tuning
            run.note(f"adapter_from: method.{key} is {theirs}, as it was made with")
    known = getattr(generator.condition, "names", None)
    if strange := [f.asked for f in frames if known and f.asked not in known]:
        raise UserError(
            f"tune: adapter_from does not know the label {strange[0]!r}",
            suggestion(strange[0], known),
            "change condition.label, or begin without adapter_from",
        )
    return adapter
