"""map.csv: what a map says of the places that a drive comes through, from when on."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgekit.core.errors import UserError
from edgekit.drives.align import EPSILON_S
from edgekit.drives.tables import header_of
from edgekit.library.context import VALUE_CHARS

COLUMNS = ("t_s", "words")
EXAMPLE = "a time and words parted by blanks, such as 12.5,roundabout school_zone"
MAX_BYTES = 10_000_000
Words = tuple[str, ...]


class Places(NamedTuple):
    """From each time on, seconds float64 (n,) strictly rising, what is known of the place; () is nothing."""

    t_s: np.ndarray
    words: list[Words]

    def at(self, times_s: np.ndarray) -> list[Words]:
        """The words at each time; () before the first row. The last row holds to the end."""
        words = [(), *self.words]
        return [words[row] for row in np.searchsorted(self.t_s, times_s + EPSILON_S, side="right")]


def read_places(path: Path) -> Places:
    """The rows of a map.csv: ``t_s`` and ``words``, parted by blanks (``roundabout school_zone``).

    Raises UserError for what is no CSV in UTF-8, a missing column, a time that is no number or does not rise,
    a comma, a control character or more than ``VALUE_CHARS`` characters in the words, and a file over
    ``MAX_BYTES``.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise UserError(f"{path}: too long", f"{size} bytes, over {MAX_BYTES}", "keep a row for each change")
    times, words, known = [], [], {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in COLUMNS if name not in header_of(path, reader)]:
                found = ", ".join(reader.fieldnames) or "nothing"
                why = f"no {', '.join(missing)}; found {found}"
                raise UserError(f"{path}: columns are missing", why, f"write the columns {','.join(COLUMNS)}")
            for number, row in enumerate(reader, start=2):
                if why := _wrong(row, times[-1] if times else -math.inf):
                    raise UserError(f"{path}:{number}: not a row of a map", why, f"write {EXAMPLE}")
                times.append(float(row["t_s"]))
                said = tuple(row["words"].split())
                words.append(known.setdefault(said, said))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file in UTF-8", str(error), "save it again") from None
    return Places(np.array(times, np.float64), words)


def _wrong(row: dict, last_s: float) -> str:
    """Why a row is none; empty where it is fine."""
    if None in row or None in row.values():
        return f"{'more' if None in row else 'fewer'} columns than the header"
    try:
        t_s = float(row["t_s"])
    except ValueError:
        t_s = math.nan
    if not math.isfinite(t_s):
        return f"t_s is {row['t_s'][:40]!r}"
    if t_s <= last_s:
        return f"t_s {t_s:g} follows {last_s:g}: times rise"
    said = row["words"]
    if len(said) > VALUE_CHARS:
        return f"{len(said)} characters of words, over {VALUE_CHARS}"
    return "" if said.isprintable() else f"a control character in {said!r}"


def reached(places: Places, times_s: np.ndarray, name: str) -> list[str]:
    """A note where a map says nothing of any frame, or nothing that changes: its clock may be another."""
    if not any(places.at(times_s)):
        return [f"{name} says nothing of any frame"]
    if len(places.t_s) > 1 and places.t_s[-1] < times_s[0]:
        return [f"{name} ends before the first frame: its last row holds throughout, or its clock is another"]
    return []
