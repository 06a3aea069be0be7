"""What a recipe reads: by key, whether it is there, and what makes it where it is not."""

from __future__ import annotations

from pathlib import Path

from edgekit.core.errors import UserError
from edgekit.core.files import nearby
from edgekit.core.places import PACKAGE, asset
from edgekit.core.recipe import Config, recipes_of
from edgekit.core.run import find_input


def given(config: Config) -> list[tuple[str, str]]:
    """(key, input) of everything that the recipe reads, in the order of its keys."""
    found = []
    for key in config.inputs:
        value = getattr(config, key)
        items = value if isinstance(value, list) else [value] if value else []
        found += [(key, str(item)) for item in items]
    return found


def missing(config: Config) -> list[str]:
    """The inputs that are not there, or whose run is not complete; nothing is read through or fetched."""
    lacking = []
    for _, item in given(config):
        if item.startswith("hub:") or item in lacking:
            continue
        try:
            find_input(item)
        except UserError:
            lacking.append(item)
    return lacking


def how_to_make(item: str) -> str:
    """In words, what makes an input that is missing: a station's command, or the user's own hand."""
    if item.startswith("package:"):
        try:
            asset(item.removeprefix("package:"))
        except UserError as error:
            return error.do
    parts = Path(item).parts
    where = parts.index("runs") if "runs" in parts[:-2] else len(parts)
    if len(parts) < where + 3 or not (PACKAGE / parts[where + 1] / "run.py").is_file():
        there = Path(item).exists() or item.startswith("package:")
        return f"it is yours to bring: check the path{'' if there else f' ({nearby(item)})'}, or name another"
    verb, name = parts[where + 1 : where + 3]
    recipes = recipes_of(verb)
    recipe = {recipe.replace("/", "-"): recipe for recipe in recipes}.get(name, "RECIPE")
    out = Path(*parts[: where + 3])
    hint = "" if recipe != "RECIPE" else f" (RECIPE: {', '.join(recipes) or 'your own'})"
    return f"edgekit {verb} {recipe} --out {out} makes it{hint}"
