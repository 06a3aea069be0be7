"""Progress bars: one look everywhere, silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")


def bar(
    what: str, total: int | None = None, unit: str = "it", initial: int = 0, file: TextIO | None = None
) -> tqdm:
    """A bar to be moved by ``.update(n)``; shows ``what``, the count, the rate and what is left.

    file: where it is drawn, stderr unless told.
    """
    file = file or sys.stderr
    return tqdm(
        desc=what, total=total, unit=unit, initial=initial, file=file,
        mininterval=0.5 if file.isatty() else 15, dynamic_ncols=True,
    )  # fmt: skip


def track(items: Iterable[T], what: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """``for item in track(items, "mining", unit="frame")``."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    with bar(what, total, unit) as shown:
        for item in items:
            yield item
            shown.update()
