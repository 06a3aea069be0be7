"""The errors that a user may see, and their exit codes.

EdgekitError          three lines: what and where / why, with numbers / what to do
├── UserError         exit 2: the recipe, the data or the machine must change
└── GateError         exit 3: everything ran, and a stated gate was not met
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EdgekitError(Exception):
    """An error told in three lines; ``str(error)`` is those lines.

    what: what failed and where; why: the cause, with numbers; do: the next step.
    """

    exit_code = 1

    def __init__(self, what: str, why: str, do: str):
        super().__init__(what, why, do)
        self.what, self.why, self.do = what, why, do

    def __str__(self) -> str:
        return f"{self.what}\n  why: {self.why}\n  do:  {self.do}"


class UserError(EdgekitError):
    """Something that the user can mend: exit 2, no traceback."""

    exit_code = 2


class GateError(EdgekitError):
    """A gate that was stated beforehand is not met: exit 3."""

    exit_code = 3


def suggestion(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` or the list of known words, for unknown keys and names."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def need_disk(
    path, needed_bytes: int, what: str, do: str = "free some space, or choose another place with --out"
) -> None:
    """Raises UserError before a costly step when the disk under ``path`` has too little room."""
    import shutil
    from pathlib import Path

    place = Path(path).resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed_bytes:
        raise UserError(
            f"{what}: not enough disk under {path}",
            f"{needed_bytes / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free",
            do,
        )
