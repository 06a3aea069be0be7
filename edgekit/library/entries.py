"""A prompt library on disk: schema edgekit/prompts/2 (and 1, which had no templates, examples or aids)."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from edgekit import __version__
from edgekit.core.errors import UserError, suggestion
from edgekit.core.files import sha256_json, write_text
from edgekit.core.places import shipped
from edgekit.core.recipe import Yaml  # `no`, `off` and `yes` are words of the vocabulary
from edgekit.engine.chat import clean
from edgekit.library.context import HOLES, WORDS
from edgekit.library.examples import Example
from edgekit.library.tokens import tokens_of

SCHEMAS = ("edgekit/prompts/1", "edgekit/prompts/2")
MAX_BYTES = 1_000_000

Task = Literal["speed", "light", "obstacles", "crossroad"]
Aid = Literal["none", "crop", "mark", "lane"]

# What schema 1 knew: another key in such a file is a slip, and digests of what it can say stay as they were.
_OLD_ENTRY = {"id", "task", "text", "when", "order"}
_OLD_LIBRARY = {"id", "base", "closing", "entries", "joiner"}


class Entry(BaseModel):
    """One part of an instruction. ``when`` empty: always said; else said when one of its items is known.

    when: words of WORDS; ``night+rain`` wants both. text: a string.Template with holes of HOLES (a dollar is
    ``$$``). aid: what else is shown where it can be. priority: under a token budget higher stays longer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    task: Task
    text: str = Field(min_length=1, max_length=4000)
    when: tuple[str, ...] = ()
    order: int = 0
    also: tuple[Task, ...] = ()  # further tasks that it speaks to
    version: int = Field(1, ge=1)
    priority: int = Field(50, ge=0, le=100)
    aid: Aid = "none"
    examples: tuple[Example, ...] = ()

    @field_validator("when")
    @classmethod
    def _known(cls, when: tuple[str, ...]) -> tuple[str, ...]:
        for word in (word for item in when for word in item.split("+")):
            if word not in WORDS:
                raise ValueError(f"{word!r} is not a word that may be known; {suggestion(word, WORDS)}")
        return when

    @property
    def tasks(self) -> tuple[Task, ...]:
        return (self.task, *self.also)

    @property
    def holes(self) -> list[str]:
        return Template(self.text).get_identifiers()

    @property
    def tokens(self) -> int:
        """What it costs with its examples, by the rule of ``tokens_of``; holes count as their names."""
        return tokens_of(self.text) + sum(tokens_of(example.text("en")) for example in self.examples)

    def fits(self, known: frozenset[str]) -> bool:
        """Whether it is said where ``known`` is known."""
        return not self.when or any(known.issuperset(item.split("+")) for item in self.when)


class Library(BaseModel):
    """A whole library; ``base``, the entries that fit in their ``order``, and ``closing`` make a prompt.

    probe: the text of a cheap first question whose answer says which entries fit; empty: the default prompt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    base: str
    closing: str
    entries: tuple[Entry, ...] = Field(max_length=500)
    joiner: str = " "
    language: Literal["en", "zh"] = "en"
    version: int = Field(1, ge=1)
    probe: str = ""

    def digest(self) -> str:
        """sha256 of what it says, whatever its file is called and however it is laid out."""
        return sha256_json(_dump(self))


def known_libraries() -> list[str]:
    """The names of the libraries that ship with edgekit."""
    return sorted(path.stem for path in shipped("prompts").glob("*.yaml"))


def load_library(name: str | Path = "library") -> Library:
    """A shipped library by name (``library``, ``long-en``, ``long-zh``) or a YAML file.

    Raises UserError for an unknown name, what is not YAML in UTF-8, another schema, and what
    ``check_library`` refuses.
    """
    path = Path(name)
    if not path.is_file():
        path = shipped("prompts") / f"{name}.yaml"
    if not path.is_file():
        raise UserError(
            f"no prompt library {str(name)!r}",
            suggestion(str(name), known_libraries()),
            "name one of these, or a file",
        )
    if path.stat().st_size > MAX_BYTES:
        raise UserError(
            f"{path}: too large", f"{path.stat().st_size} bytes, over {MAX_BYTES}", "name a prompt library"
        )
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Yaml)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that is none
        raise UserError(f"{path}: not YAML", str(error).replace("\n", " "), "mend the file") from None
    schema = raw.pop("schema", None) if isinstance(raw, dict) else None
    if schema not in SCHEMAS:
        raise UserError(
            f"{path}: not a prompt library",
            f"edgekit {__version__} reads {' and '.join(SCHEMAS)}",
            f"say `schema: {SCHEMAS[-1]}` and follow the shipped ones",
        )
    try:
        library = Library.model_validate(_from_1(raw, path) if schema == SCHEMAS[0] else raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"{path}: not a prompt library",
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            "mend that entry",
        ) from None
    return check_library(library, path)


def save_library(library: Library, path: str | Path) -> None:
    """Writes a library as YAML that ``load_library`` reads back to an equal one."""
    raw = {"schema": SCHEMAS[-1], **_dump(library)}
    write_text(path, yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, width=110))


def check_library(library: Library, where: str | Path = "the library") -> Library:
    """The library itself; also for one that was edited in memory (``model_copy`` checks nothing).

    Raises UserError for a twice-used id, a hole that nothing fills, a hole in what is always said, and a
    control word in a text.
    """
    ids = [entry.id for entry in library.entries]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise UserError(f"{where}: an id is used twice", ", ".join(twice), "give every entry its own id")
    for entry in library.entries:
        _check_template(entry, where)
    said = [entry.text for entry in library.entries]
    said += [example.facts for entry in library.entries for example in entry.examples]
    for text in (library.base, library.closing, library.probe, *said):
        if clean(text) != text:
            raise UserError(
                f"{where}: a control word stands in a text", text[:80], "leave chat marks to the template"
            )
    return library


def _check_template(entry: Entry, where: str | Path) -> None:
    what = f"{where}: entry {entry.id!r} is no template that can be filled"
    if not Template(entry.text).is_valid():
        raise UserError(what, "a $ stands there that begins no hole", "write $$ for a dollar")
    unknown = [hole for hole in entry.holes if hole not in HOLES]
    if unknown:
        raise UserError(what, f"nothing fills ${unknown[0]}", suggestion(unknown[0], HOLES))
    if entry.holes and not entry.when:
        raise UserError(
            what, f"it is always said, and ${entry.holes[0]} is not always known", "give it a `when`"
        )


def _dump(library: Library) -> dict[str, Any]:
    """As JSON; what schema 1 did not know stands in it only where it is said."""
    raw = library.model_dump(mode="json")
    entries = [
        {k: v for k, v in entry.items() if k in _OLD_ENTRY or v != plain[k]}
        for plain in [Entry(id="x", task="speed", text="x").model_dump(mode="json")]
        for entry in raw["entries"]
    ]
    plain = Library(id="x", base="", closing="", entries=()).model_dump(mode="json")
    return {k: v for k, v in raw.items() if k in _OLD_LIBRARY or v != plain[k]} | {"entries": entries}


def _from_1(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """Schema 1 as schema 2: its texts were no templates, so a dollar is a dollar."""
    entries = raw.get("entries")
    rows = [row for row in entries if isinstance(row, dict)] if isinstance(entries, list) else []
    newer = sorted(
        {str(k) for part, old in [(raw, _OLD_LIBRARY)] for k in part if k not in old}
        | {str(k) for row in rows for k in row if k not in _OLD_ENTRY}
    )
    later = [k for k in newer if k in Library.model_fields or k in Entry.model_fields]
    if later:
        raise UserError(
            f"{path}: schema 1 has no {later[0]!r}",
            f"the file says {SCHEMAS[0]}, and that came with {SCHEMAS[1]}",
            f"say `schema: {SCHEMAS[1]}`",
        )
    for row in rows:
        if isinstance(row.get("text"), str):
            row["text"] = row["text"].replace("$", "$$")
    return raw
