"""Recipes: YAML in, a typed config out; unknown keys get a suggestion.

Defaults live in the types, differences in the YAML. A recipe is true on its own: no inheritance,
no interpolation, no class paths.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.core.errors import UserError, suggestion
from edgekit.core.places import shipped


class Yaml(yaml.SafeLoader):
    """YAML 1.2's booleans: true and false. ``off``, ``on``, ``yes`` and ``no`` are words of ours."""


Yaml.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_BOOL = re.compile("^(?:true|True|TRUE|false|False|FALSE)$")
Yaml.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))


REFUSED = "WOULD BE REFUSED: "  # how a plan's note begins where the run would end with it


class Plan(NamedTuple):
    """What a run would cost, told before anything is spent (``--dry-run``).

    memory_gb: peak of the largest process; disk_gb: what is written; minutes: wall time;
    notes: one line each, what the numbers rest on, and what would be refused (``refusal``).
    """

    memory_gb: float
    disk_gb: float
    minutes: float
    notes: tuple[str, ...] = ()

    @property
    def refused(self) -> list[str]:
        """What the run would be refused for."""
        return [note.removeprefix(REFUSED) for note in self.notes if note.startswith(REFUSED)]


def refusal(error: UserError) -> str:
    """A plan's note on what would end the run."""
    return f"{REFUSED}{error.what} ({error.why}); {error.do}"


def refused_by(checks: Iterable[Callable[[], object]]) -> list[str]:
    """A plan's notes on those checks that raise UserError or OSError, as the run would."""
    notes = []
    for check in checks:
        try:
            check()
        except (UserError, OSError) as error:
            notes.append(refusal(error) if isinstance(error, UserError) else f"{REFUSED}{error}")
    return notes


class Config(BaseModel):
    """A station's recipe, or a part of one.

    inputs: the keys that hold input directories; operational: keys that change no byte of the
    result (how many processes, how long to wait), so that a run can go on with others.
    """

    model_config = ConfigDict(extra="forbid", validate_default=True, protected_namespaces=())
    inputs: ClassVar[tuple[str, ...]] = ()
    operational: ClassVar[tuple[str, ...]] = ()

    def lasting(self) -> dict[str, Any]:
        """The keys that decide a byte of the result, as JSON: those of a run's identity."""
        left_out = (*self.inputs, *self.operational)
        body = {key: value for key, value in self.model_dump(mode="json").items() if key not in left_out}
        for key in body:
            part = getattr(self, key, None)
            if isinstance(part, Config) and isinstance(body[key], dict):
                body[key] = {k: v for k, v in body[key].items() if k not in part.operational}
        return body

    def plan(self) -> Plan:
        """Memory, disk and time; stations with a cost override it."""
        return Plan(0.5, 0.01, 0.1)


C = TypeVar("C", bound=Config)


def find_recipe(name: str, verb: str) -> Path:
    """A file, or the shipped recipe ``recipes/<verb>/<name>.yaml``. Raises UserError."""
    path = Path(name)
    if path.is_file():
        return path
    parts = path.with_suffix(".yaml").parts
    if parts[0] == "recipes":
        parts = parts[1:]
    for candidate in (shipped("recipes").joinpath(*parts), (shipped("recipes") / verb).joinpath(*parts)):
        if candidate.is_file():
            return candidate
    known = recipes_of(verb)
    raise UserError(
        f"edgekit {verb}: no recipe {name!r}",
        f"it is no file, and of the shipped ones: {suggestion(path.stem, known)}",
        f"give a YAML file, or one of: {', '.join(known) or 'none ships for this verb'}",
    )


def recipes_of(verb: str) -> list[str]:
    """Names of the shipped recipes of a verb: lora, study/methods."""
    home = shipped("recipes") / verb
    return sorted(p.relative_to(home).with_suffix("").as_posix() for p in home.rglob("*.yaml"))


def load_recipe(kind: type[C], path: Path, overrides: list[str] | None = None) -> C:
    """The typed config of a YAML file with ``key.sub=value`` overrides (values are YAML)."""
    try:
        raw = yaml.load(path.read_text(), Yaml) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML", str(error).replace("\n", " "), "mend the file") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: not a recipe", f"the top is {type(raw).__name__}", "write key: value")
    for override in overrides or []:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise UserError(
                f"override {override!r} is not key=value", "there is no '='", "write train.steps=100"
            )
        try:
            change(raw, {key: yaml.load(value, Yaml)}, "override")
        except yaml.YAMLError as error:
            raise UserError(
                f"override {override!r}: its value is not YAML", str(error).replace("\n", " "),
                "quote it, or mend the brackets",
            ) from None  # fmt: skip
    return build(kind, raw, " ".join([str(path), *(["with"] if overrides else []), *(overrides or [])])[:160])


def change(raw: dict[str, Any], changes: dict[str, Any], where: str) -> dict[str, Any]:
    """``raw`` with each ``key.sub: value`` put in, in place. Raises UserError for a key below a value."""
    for key, value in changes.items():
        place = raw
        *outer, last = key.split(".")
        for part in outer:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise UserError(f"{where}: {key!r}", f"{part!r} holds a value, not a group", "check the key")
        place[last] = value
    return raw


def build(kind: type[C], raw: dict[str, Any], where: str) -> C:
    """``kind(**raw)`` with errors in three lines."""
    _check_keys(kind, raw, where, "")
    try:
        return kind(**raw)
    except ValidationError as error:
        first, *more = error.errors()
        key, why = (
            ".".join(str(p) for p in first["loc"] if p != "[key]"),
            first["msg"].removeprefix("Value error, "),
        )
        what, do = (
            f"{key} is not valid",
            f"write {key}=[…]" if first["type"] == "list_type" else f"change {key}",
        )
        if not key:  # several keys that do not go together: the message names them
            what, do = "it is not valid as a whole", "change what is named above"
        raise UserError(
            f"{where}: {what}",
            f"{why} (given: {str(first.get('input'))[:80]!r})" if key else why,
            do + (f"; {len(more)} more problem(s) in this recipe" if more else ""),
        ) from None


def _check_keys(kind: type[BaseModel], raw: dict, where: str, prefix: str) -> None:
    for key, value in raw.items():
        field = kind.model_fields.get(key)
        if field is None:
            raise UserError(
                f"{where}: unknown key {prefix + str(key)!r}",
                f"{kind.__name__} has no such key; {suggestion(str(key), kind.model_fields)}",
                "mend the key, or leave it out for the default",
            )
        inner = config_in(field.annotation)
        if inner and isinstance(value, dict):
            _check_keys(inner, value, where, f"{prefix}{key}.")


def config_in(annotation: Any) -> type[BaseModel] | None:
    """The one model class inside an annotation such as ``Lora | None``; None for a real union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        found = [m for a in typing.get_args(annotation) if (m := config_in(a))]
        return found[0] if len(found) == 1 else None
    return None


def dump_recipe(config: Config) -> str:
    """The resolved recipe as YAML: feeding it back repeats the run."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
