"""Where things lie: what ships in the package, and where runs go."""

from __future__ import annotations

from pathlib import Path

from edgekit.core.errors import UserError, suggestion

PACKAGE = Path(__file__).resolve().parent.parent


def shipped(folder: str) -> Path:
    """``recipes`` or ``prompts``: package data in a wheel, a top-level folder in a checkout."""
    wheel = PACKAGE / "data" / folder
    return wheel if wheel.is_dir() else PACKAGE.parent / folder


def asset(name: str) -> Path:
    """A Run directory that ships in the package (``package:NAME`` in a recipe).

    Raises UserError for an unknown name.
    """
    folder = PACKAGE / "assets"
    path = folder / name
    if not (path / "manifest.json").is_file():
        known = [p.parent.name for p in folder.glob("*/manifest.json")]
        raise UserError(
            f"package:{name} does not ship with this edgekit",
            f"{suggestion(name, known)}",
            "name one of these, or a path of your own",
        )
    return path
