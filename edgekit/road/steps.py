"""A step of the road, the way to its station's typed config, and what can be wrong with a list of steps."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from edgekit.core.errors import UserError, suggestion
from edgekit.core.files import sha256_json
from edgekit.core.places import PACKAGE
from edgekit.core.recipe import Config, find_recipe, load_recipe


class Step(Config):
    """One recipe of one verb.

    set: changes to the recipe (``key.sub: value``). reads: its inputs by key; a value names an
    earlier step (or a folder of it: ``distill/before``), ``package:NAME``, or a path. row: the name
    of an evaluate step's row in the closing table; against: an earlier row that it is compared with,
    frame by frame.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    verb: str = ""  # default: the name
    recipe: str
    set: dict[str, Any] = {}
    reads: dict[str, str | list[str]] = {}
    row: str = ""
    against: str = ""

    @model_validator(mode="after")
    def _verb(self) -> Step:
        self.verb = self.verb or self.name
        return self


def kind_of(verb: str) -> type[Config]:
    """The verb's config class. Raises UserError for a verb that has no station here."""
    known = [p.parent.name for p in PACKAGE.glob("*/run.py") if p.parent.name != "road"]
    if verb not in known:
        raise UserError(f"road: no station {verb!r}", suggestion(verb, known), "mend the step's verb")
    return getattr(importlib.import_module(f"edgekit.{verb}.config"), f"{verb.title()}Config")


def resolve(step: Step, written: Mapping[str, Path]) -> Config:
    """The step's config: its recipe, ``set``, and ``reads`` with the paths that steps have written.

    written: step name -> its run directory; a step that is not there yet keeps its name as path.
    """
    kind = kind_of(step.verb)
    overrides = [f"{key}={json.dumps(value)}" for key, value in step.set.items()]
    for key, value in step.reads.items():
        paths = [place(v, written) for v in (value if isinstance(value, list) else [value])]
        overrides.append(f"{key}={json.dumps(paths if isinstance(value, list) else paths[0])}")
    return load_recipe(kind, find_recipe(step.recipe, step.verb), overrides)


def place(name: str, written: Mapping[str, Path]) -> str:
    """``distill`` -> its run directory; ``distill/before`` -> a folder of its out/; else as it is."""
    step, slash, below = name.partition("/")
    if step not in written:
        return name
    return str(written[step] / "out" / below if slash else written[step])


def check(steps: Sequence[Step]) -> tuple[list[str], dict[str, str]]:
    """(what no step writes, digest of each step's recipe). Raises UserError, before anything is spent."""
    seen: list[str] = []
    foreign: list[str] = []
    digests: dict[str, str] = {}
    for step in steps:
        if step.name in seen:
            raise UserError(
                f"road: two steps are called {step.name!r}", "names tell them apart", "rename one"
            )
        config = resolve(step, {})
        for key in step.reads:
            if key not in config.inputs:
                known = ", ".join(config.inputs) or "none"
                raise UserError(
                    f"road: step {step.name}: {key!r} is no input of {step.verb}", f"its inputs: {known}",
                    "mend the key, or put it under set",
                )  # fmt: skip
        for key in config.inputs:
            for item in _items(config, key):
                later = [s.name for s in steps if s.name == item.partition("/")[0]]
                if later and later[0] not in seen:
                    raise UserError(
                        f"road: step {step.name} reads {item!r}", "that step does not come before it",
                        "change the order of the steps",
                    )  # fmt: skip
                if not later and item not in foreign:
                    foreign.append(item)
        digests[step.name] = sha256_json(config.model_dump(mode="json"))
        seen.append(step.name)
    return sorted(foreign), digests


def reads(config: Config) -> set[str]:
    """The first parts of a config's inputs: names of steps, or the roots of paths."""
    return {item.partition("/")[0] for key in config.inputs for item in _items(config, key)}


def _items(config: Config, key: str) -> list[str]:
    value = getattr(config, key)
    return value if isinstance(value, list) else [value] if value else []
