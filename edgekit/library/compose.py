"""Composing the instruction for one image out of a library (driving-mllm section 3.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from edgekit.core.label import SceneLabel
from edgekit.library.entries import Library, load_library

SLOW_MPS, FAST_MPS = 3.0, 14.0  # below 11 km/h, above 50 km/h


class Prompt(NamedTuple):
    """An instruction: ``id`` names the library and the entries in it, ``sha256`` is of the text."""

    id: str
    text: str
    sha256: str

    def record(self) -> dict[str, str]:
        """What a Dataset's row keeps of it."""
        return {"id": self.id, "sha256": self.sha256}


def compose(library: Library, context: Iterable[str] = ()) -> Prompt:
    """The prompt of the entries that fit ``context``; with no context, the default composition.

    context: words that are known of the image, as ``context_of`` gives them. The text depends on
    the set of words alone, not on their order.
    """
    known = set(context)
    chosen = [entry for entry in library.entries if not entry.when or known & set(entry.when)]
    chosen.sort(key=lambda entry: (entry.order, entry.id))
    text = library.joiner.join([library.base, *(entry.text for entry in chosen), library.closing])
    extra = [entry.id for entry in chosen if entry.when]
    name = f"{library.id}/" + ("+".join(["default", *extra]))
    return Prompt(name, text, hashlib.sha256(text.encode()).hexdigest())


@lru_cache
def default_prompt(library: str = "library") -> Prompt:
    """The default composition of a shipped library; ``library`` is what nano models are trained on."""
    return compose(load_library(library))


def context_of(
    tags: Iterable[str] = (), last: SceneLabel | None = None, speed_mps: float | None = None
) -> frozenset[str]:
    """The words that are known of an image: its tags, an earlier answer about it, the speed in m/s."""
    words = set(tags)
    if last is not None:
        if last.light not in ("none", "unknown"):
            words.add("light")
        if last.cones == "yes":
            words.add("cones")
        if last.obstacle not in ("none", "unknown"):
            words.add("obstacle")
        if last.crossroad == "yes":
            words.add("near_crossroad")
        if last.zebra == "yes":
            words.add("zebra")
    if speed_mps is not None:
        words |= {"slow"} if speed_mps < SLOW_MPS else {"fast"} if speed_mps > FAST_MPS else set()
    return frozenset(words)
