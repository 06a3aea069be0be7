"""A prompt library on disk: schema edgekit/prompts/1."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit import __version__
from edgekit.core.errors import UserError, suggestion
from edgekit.core.files import sha256_json
from edgekit.core.places import shipped
from edgekit.engine.chat import clean

SCHEMA = "edgekit/prompts/1"

# What may be known of an image before it is asked about (``context_of`` gives these).
Word = Literal[
    "night", "dusk", "clear", "rain", "light", "cones", "obstacle", "near_crossroad", "zebra", "slow", "fast"
]  # fmt: skip


class Entry(BaseModel):
    """One part of an instruction. ``when`` empty: always said; else said when one of its words is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    task: Literal["speed", "light", "obstacles", "crossroad"]
    text: str = Field(min_length=1)
    when: tuple[Word, ...] = ()
    order: int = 0


class Library(BaseModel):
    """A whole library; ``base``, the entries that fit in their ``order``, and ``closing`` make a prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    base: str
    closing: str
    entries: tuple[Entry, ...]
    joiner: str = " "

    def digest(self) -> str:
        """sha256 of what it says, whatever its file is called and however it is laid out."""
        return sha256_json(self.model_dump(mode="json"))


def known_libraries() -> list[str]:
    """The names of the libraries that ship with edgekit."""
    return sorted(path.stem for path in shipped("prompts").glob("*.yaml"))


def load_library(name: str | Path = "library") -> Library:
    """A shipped library by name (``library``, ``long-en``, ``long-zh``) or a YAML file.

    Raises UserError for an unknown name, what is not YAML in UTF-8, another schema, a twice-used id or a
    control word in a text.
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
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that is none
        raise UserError(f"{path}: not YAML", str(error).replace("\n", " "), "mend the file") from None
    if not isinstance(raw, dict) or raw.pop("schema", None) != SCHEMA:
        raise UserError(
            f"{path}: not a prompt library",
            f"edgekit {__version__} reads {SCHEMA}",
            f"say `schema: {SCHEMA}` and follow the shipped ones",
        )
    try:
        library = Library.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"{path}: not a prompt library",
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            "mend that entry",
        ) from None
    _check(library, path)
    return library


def _check(library: Library, path: Path) -> None:
    ids = [entry.id for entry in library.entries]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise UserError(f"{path}: an id is used twice", ", ".join(twice), "give every entry its own id")
    for text in (library.base, library.closing, *(entry.text for entry in library.entries)):
        if clean(text) != text:
            raise UserError(
                f"{path}: a control word stands in a text", text[:80], "leave chat marks to the template"
            )
