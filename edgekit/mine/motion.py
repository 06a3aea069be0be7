"""Motion consistency (driving-mllm section 3.2.1, step 3): labels that contradict how the vehicle moved.

Rules are data (motion.yaml): a label condition, a motion condition, and what becomes of a label that meets
both. All of them look at the labels as they came in. Only a rule whose reason leaves one answer relabels;
the others make a label count less (demote) or ask a person (review).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgekit import __version__
from edgekit.core.errors import UserError, suggestion
from edgekit.core.files import sha256_json
from edgekit.core.label import SLOTS, TASKS, SceneLabel, coherent
from edgekit.mine.facts import EPSILON, MEANING, Facts, facts
from edgekit.mine.smooth import nearest_light

__all__ = ["Bound", "Facts", "Fired", "Rule", "apply", "digest", "facts", "load_rules"]

SCHEMA = "edgekit/motion/1"
SHIPPED = Path(__file__).with_name("motion.yaml")


class Bound(BaseModel):
    """Strictly above and below these numbers, in the fact's unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    above: float | None = Field(None, allow_inf_nan=False)
    below: float | None = Field(None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _bounds(self) -> Bound:
        if self.above is None and self.below is None:
            raise ValueError("name above, below or both")
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise ValueError(f"nothing is above {self.above:g} and below {self.below:g}")
        return self

    def holds(self, values: np.ndarray) -> np.ndarray:
        """bool (n,); False where a value is NaN: what is not known contradicts nothing."""
        out = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            out &= True if self.above is None else values > self.above
            out &= True if self.below is None else values < self.below
        return out


class Rule(BaseModel):
    """A label that meets ``when`` while the vehicle met ``motion`` for ``for_s`` seconds contradicts it.

    when: slot → the values that it speaks of. motion: fact → bounds. to: of a relabel, slots of ``task``;
    a light's arrow and kind are taken from the nearest frame that shows that light. weight: of a demote, the
    factor of the confidence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    why: str = Field(min_length=20)
    task: Literal["speed", "light", "obstacles", "crossroad"]
    when: dict[str, tuple[str, ...]] = Field(min_length=1)
    motion: dict[str, Bound] = Field(min_length=1)
    for_s: float = Field(0.0, ge=0, le=600)
    action: Literal["demote", "relabel", "review"]
    to: dict[str, str] = {}
    weight: float = Field(1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _whole(self) -> Rule:
        if (self.action == "relabel") != bool(self.to):
            raise ValueError("a relabel, and nothing else, names in to: what the label becomes")
        if (self.action == "demote") != (self.weight < 1):
            raise ValueError("a demote, and nothing else, has a weight below 1")
        return self

    def asks(self, known: Facts) -> np.ndarray:
        """bool (n,): where the motion has been met for ``for_s`` seconds."""
        met = np.ones(len(known), dtype=bool)
        for name, bound in self.motion.items():
            met &= bound.holds(known.columns[name]) if name in known.columns else False
        since = np.maximum.accumulate(np.where(met, -1, np.arange(len(met)))) + 1 if len(met) else met
        began = known.times_s[np.minimum(since, len(met) - 1)] if len(met) else known.times_s
        return met & (known.times_s - began >= self.for_s - EPSILON)

    def speaks_of(self, label: SceneLabel) -> bool:
        return all(getattr(label, slot) in values for slot, values in self.when.items())


class Fired(NamedTuple):
    """What a rule did to a task of a frame. before, after: the task's slots; factor: of its confidence."""

    rule: str
    task: str
    action: str
    before: dict[str, str]
    after: dict[str, str]
    factor: float


def load_rules(path: str | Path | None = None, off: Sequence[str] = ()) -> list[Rule]:
    """The rules of a file (None: those that ship), in its order, without those named in ``off``.

    Raises UserError for what is no such file, a name that stands twice, an unknown fact, slot, value or key,
    and a name in ``off`` that no rule has.
    """
    place = Path(path) if path is not None else SHIPPED
    try:
        raw = yaml.safe_load(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{place}: no motion rules", error.strerror or str(error), "check the path") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8
        raise UserError(f"{place}: not YAML", str(error).replace("\n", " "), "mend the file") from None
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA or not isinstance(raw.get("rules"), list):
        raise UserError(
            f"{place}: not a file of motion rules",
            f"edgekit {__version__} reads schema {SCHEMA} with a list of rules",
            "copy edgekit/mine/motion.yaml and edit it",
        )
    rules = [_rule(entry, f"{place}: rule {number}") for number, entry in enumerate(raw["rules"], start=1)]
    names = [rule.name for rule in rules]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{place}: rules share a name", f"twice: {', '.join(twice)}", "rename one of them")
    for name in off:
        if name not in names:
            raise UserError(
                f"no motion rule {name!r} to switch off", suggestion(name, names), "name one of these"
            )
    return [rule for rule in rules if rule.name not in off]


def _rule(raw: Any, where: str) -> Rule:
    if not isinstance(raw, dict):
        raise UserError(
            f"{where}: not a rule", f"it is {raw!r:.80}", "write name, why, task, when, motion, action"
        )
    where = f"{where} ({raw.get('name', 'without a name')})"
    _known(where, "key", raw, Rule.model_fields)
    for key, known in (("when", SLOTS), ("motion", MEANING), ("to", TASKS.get(str(raw.get("task")), SLOTS))):
        part = raw.get(key) or {}
        if not isinstance(part, dict):
            raise UserError(
                f"{where}: {key} is not a table", f"it is {part!r:.80}", f"write {key}: {{name: …}}"
            )
        _known(where, "fact" if key == "motion" else "slot", part, known)
        for slot, said in part.items() if key != "motion" else ():
            _known(where, f"{slot} value", said if isinstance(said, list) else [said], SLOTS[slot])
    try:
        return Rule(**raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{where}: {place or 'the rule'} is not valid", first["msg"], "mend the rule"
        ) from None


def _known(where: str, what: str, names: Any, known: Any) -> None:
    """Raises UserError for the first name that is not known."""
    for name in names:
        if isinstance(name, bool):  # YAML 1.1 reads these words so
            raise UserError(
                f"{where}: {what} is {str(name).lower()}",
                "YAML reads yes, no, on and off as true and false",
                "put the word in quotes",
            )
        if str(name) not in known:
            raise UserError(
                f"{where}: unknown {what} {name!r}", suggestion(str(name), known), "mend the rule"
            )


def digest(rules: Sequence[Rule]) -> str:
    """sha256 of what the rules say, whatever their file is called."""
    return sha256_json([rule.model_dump(mode="json") for rule in rules])


def apply(
    labels: Sequence[SceneLabel], known: Facts, rules: Sequence[Rule]
) -> tuple[list[SceneLabel], list[Sequence[Fired]]]:
    """The labels of one drive after the rules, and per frame what fired (``known``: facts of these labels).

    Of a task's relabels the first in the rules' order counts, and no other rule then speaks of that task of
    that frame: they all spoke of the label that is gone.
    """
    if len(labels) != len(known):
        raise ValueError(f"{len(labels)} labels, facts of {len(known)} frames")
    found: dict[int, dict[str, list[Rule]]] = {}
    for rule in rules:
        for i in np.flatnonzero(rule.asks(known)):
            if rule.speaks_of(labels[i]):
                found.setdefault(int(i), {}).setdefault(rule.task, []).append(rule)
    out, fired = list(labels), [()] * len(labels)
    for i, by_task in found.items():
        label = final = labels[i]
        log = []
        for task, those in by_task.items():
            relabel = next((rule for rule in those if rule.action == "relabel"), None)
            if relabel:
                final = _relabelled(final, relabel, labels, i)
            for rule in [relabel] if relabel else those:
                before, after = ({s: getattr(x, s) for s in TASKS[task]} for x in (label, final))
                log.append(Fired(rule.name, task, rule.action, before, after, rule.weight))
        out[i], fired[i] = final, log
    return out, fired


def _relabelled(label: SceneLabel, rule: Rule, labels: Sequence[SceneLabel], own: int) -> SceneLabel:
    values = label.model_dump() | rule.to
    if "light" in rule.to and "light_arrow" not in rule.to:
        values |= nearest_light(labels, own, rule.to["light"])
    return coherent(values)
