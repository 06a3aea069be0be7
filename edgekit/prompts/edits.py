"""Edits of a prompt library: what one is, and the operators that propose them for a group of failures.

An edit says what it changes, never what comes out: so it can be tried again on another library. An operator
is a function of a few lines; the words that it says stand in edits.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.core.errors import UserError
from edgekit.core.files import sha256_json
from edgekit.core.label import SLOTS
from edgekit.core.recipe import Yaml  # `no` and `off` are words of the vocabulary
from edgekit.dataset import Sample
from edgekit.library import WORDS, Entry, Example, Library, check_library
from edgekit.library.examples import ABSENT
from edgekit.prompts.failures import Group

MOST_EXAMPLES = 3  # of an entry: each costs about 130 tokens
SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])(?=.)")


class Edit(BaseModel):
    """One change. how: ``append`` a text to an entry, ``cut`` one out of it, ``set`` its text or aid, ``example``
    adds one, ``add`` a whole entry, ``drop`` one. why: the failures that it is for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    operator: str
    how: Literal["append", "cut", "set", "example", "add", "drop"]
    entry: str
    value: str | Example | Entry = ""
    field: Literal["text", "aid"] = "text"
    why: str = ""

    def key(self) -> str:
        """What it changes, whoever proposed it and why."""
        return sha256_json(self.model_dump(mode="json", exclude={"operator", "why"}))

    def record(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_defaults=True)

    def told(self) -> str:
        """In one line, for people."""
        said = getattr(self.value, "facts", None) or getattr(self.value, "text", None) or self.value
        return f"{self.operator}: {self.how} `{self.entry}`" + (f" “{said}”" if said else "")


def apply(library: Library, edit: Edit) -> Library | None:
    """The edited library; None where the edit does not fit it or makes it one that may not be."""
    entries = list(library.entries)
    at = next((i for i, entry in enumerate(entries) if entry.id == edit.entry), None)
    if (at is None) != (edit.how == "add"):
        return None
    if edit.how == "add":
        entries.append(edit.value)
    elif edit.how == "drop":
        del entries[at]
    elif (changed := _changed(entries[at], edit, library.joiner)) is None:
        return None
    else:
        entries[at] = changed
    try:
        return check_library(library.model_copy(update={"entries": tuple(entries)}), "an edit")
    except UserError:
        return None


def _changed(entry: Entry, edit: Edit, joiner: str) -> Entry | None:
    value = edit.value
    if edit.how == "example":
        update = {"examples": (*entry.examples, value)}
    elif edit.how == "append":
        update = {"text": f"{entry.text}{joiner}{value}"}
    elif edit.how == "cut":
        update = {"text": " ".join(entry.text.replace(value, "").split())}
    else:
        update = {edit.field: value}
    if value in entry.examples or all(getattr(entry, name) == new for name, new in update.items()):
        return None
    try:
        return Entry.model_validate({**entry.model_dump(), **update})
    except ValidationError:
        return None


# --- the operators --------------------------------------------------------------------------


class Case(NamedTuple):
    """What an operator sees: the library, a group of failures, and the rows that they were read from."""

    library: Library
    group: Group
    rows: Sequence[Sample]
    aids: frozenset[str] = frozenset()  # that can be shown with some of these rows

    def edit(self, operator: str, how: str, entry: str, value: Any = "", field: str = "text") -> Edit:
        return Edit(operator=operator, how=how, entry=entry, value=value, field=field, why=self.group.name)

    @property
    def own(self) -> Entry | None:
        """The entry that is always said of the group's task."""
        said = [entry for entry in self.library.entries if self.group.task in entry.tasks and not entry.when]
        return min(said, key=lambda entry: (entry.order, entry.id), default=None)


def clarify(case: Case) -> Iterator[Edit]:
    """What the task means, said more clearly where it is always said."""
    for phrase in phrases(case.group) if case.own else ():
        yield case.edit("clarify", "append", case.own.id, phrase[case.library.language])


def rule(case: Case) -> Iterator[Edit]:
    """A sentence of its own for the slice, said only where the slice's word is known."""
    if case.group.slice not in WORDS:
        return
    order = max((entry.order for entry in case.library.entries), default=0) + 10
    for phrase in phrases(case.group):
        text = phrase[case.library.language]
        name = f"{case.group.task}-{case.group.slice}-{sha256_json(text)[:6]}".replace("_", "-")
        entry = Entry(id=name, task=case.group.task, text=text, when=(case.group.slice,), order=order)
        yield case.edit("rule", "add", name, entry)


def example(case: Case) -> Iterator[Edit]:
    """One of the failures as a worked example, in words: the one most like the others of its group."""
    if not case.own or len(case.own.examples) >= MOST_EXAMPLES or case.group.said == "unparsed":
        return
    rows = [case.rows[i] for i in case.group.rows if whole(case.rows[i])]
    if rows:
        said = [facts_of(row, case.library.language) for row in rows]
        i = said.index(max(said, key=lambda text: (said.count(text), text)))
        answer = {slot: value for slot in SLOTS if (value := getattr(rows[i].label, slot)) != ABSENT[slot]}
        yield case.edit("example", "example", case.own.id, Example(facts=said[i], answer=answer))


def aid(case: Case) -> Iterator[Edit]:
    """Another visual aid for the task: shown where it was not, left out where it was."""
    if case.own:
        for other in sorted(case.aids | {"none"}):
            if other != case.own.aid:
                yield case.edit("aid", "set", case.own.id, other, "aid")


OPERATORS: dict[str, Callable[[Case], Iterator[Edit]]] = {
    "clarify": clarify, "rule": rule, "example": example, "aid": aid,
}  # fmt: skip


def shorten(library: Library) -> Iterator[Edit]:
    """Fewer tokens: an entry that is said only sometimes left out, or an entry's last sentence; dearest first."""
    for entry in sorted(library.entries, key=lambda entry: (-entry.tokens, entry.id)):
        why = f"{entry.tokens} tokens"
        if entry.when:
            yield Edit(operator="shorten", how="drop", entry=entry.id, why=why)
        sentences = SENTENCE.split(entry.text)
        if len(sentences) > 1:
            yield Edit(operator="shorten", how="cut", entry=entry.id, value=sentences[-1], why=why)


# --- their words ----------------------------------------------------------------------------


@lru_cache
def _catalogue() -> dict[str, Any]:
    return yaml.load((Path(__file__).parent / "edits.yaml").read_text(encoding="utf-8"), Yaml)


def phrases(group: Group) -> list[dict[str, str]]:
    """The catalogue's phrases for such failures, those that name the slice first."""
    here = {"task": group.task, "truth": group.true, "said": group.said, "slice": group.slice}
    fit = [row for row in _catalogue()["phrases"] if all(here[key] in row[key] for key in here if key in row)]
    return sorted(fit, key=lambda row: "slice" not in row)


def whole(row: Sample) -> bool:
    """Whether everything is known of a row, and trusted."""
    dropped = any(mark.status == "dropped" for mark in row.tasks.values())
    return not dropped and "unknown" not in row.label.model_dump().values()


def facts_of(row: Sample, language: str) -> str:
    """What a row's image shows, in words, from its tags and its label."""
    words = _catalogue()["facts"][language]
    label = row.label.model_dump()
    parts = [words["tags"][tag] for tag in row.tags if tag in words["tags"]]
    parts += [
        text.format(**{slot: words["values"].get(value, value) for slot, value in label.items()})
        for slot, text in words["slots"].items()
        if label[slot] not in ("none", "no", "unknown")
    ]
    return words["join"].join(parts or [words["nothing"]]) + words["end"]
