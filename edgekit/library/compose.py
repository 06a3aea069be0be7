"""Composing the instruction for one image out of a library (driving-mllm section 3.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from string import Template
from typing import NamedTuple

from edgekit.library.context import tame
from edgekit.library.entries import Entry, Library, load_library

# Said where an aid is shown. A crop reaches the model as a further picture, or as an inset where the model takes
# one picture only (edgekit.library.aids.fit_pictures): the sentence holds for both.
AIDS = {
    "en": {
        "crop": "The signal head is shown once more, cut out of the camera frame at full resolution: as a further "
        "picture, or as an inset with a magenta frame. It is the same light, not another one.",
        "mark": "Magenta outlines were drawn by a tool around things that a detector found. They are not part of the "
        "scene, and the detector can be wrong.",
        "lane": "Two cyan lines were drawn by a tool along the edges of our own path. They are not paint on the road.",
    },
    "zh": {
        "crop": "信号灯另以原始分辨率裁出，作为附加图片，或以洋红色边框嵌在图中；它与原图中是同一盏灯，不是另一盏。",
        "mark": "洋红色轮廓由工具根据检测结果画上，不属于场景本身，检测也可能有误。",
        "lane": "两条青色线由工具沿本车行驶路径的边缘画上，不是路面标线。",
    },
}


class Prompt(NamedTuple):
    """An instruction: ``id`` names the library and the entries in it; ``aids``: what must be shown with it.

    sha256: of the text, and of the aids where there are any.
    """

    id: str
    text: str
    sha256: str
    aids: tuple[str, ...] = ()

    def record(self) -> dict[str, str]:
        """What a Dataset's row keeps of it."""
        return {"id": self.id, "sha256": self.sha256}


def compose(
    library: Library,
    context: Iterable[str] = (),
    values: Mapping[str, str] | None = None,
    aids: Collection[str] = (),
) -> Prompt:
    """The prompt of the entries that fit ``context``; with no context, the default composition.

    context: words that are known of the image, as ``context_of`` gives them. The text depends on
    the set of words alone, not on their order. values: what fills holes (``values_of``); an entry with a hole that
    none fills is not said. aids: those that can be shown with this image (``possible_aids``).
    """
    known = frozenset(context)
    chosen = [entry for entry in library.entries if entry.fits(known)]
    return assemble(library, chosen, values, aids)


def assemble(
    library: Library,
    entries: Iterable[Entry],
    values: Mapping[str, str] | None = None,
    aids: Collection[str] = (),
    without_examples: Collection[str] = (),
) -> Prompt:
    """The prompt of these very entries; ``without_examples``: ids of those whose examples are left out."""
    filled = {name: said for name, value in (values or {}).items() if (said := tame(value))}
    chosen = [entry for entry in entries if filled.keys() >= set(entry.holes)]
    chosen.sort(key=lambda entry: (entry.order, entry.id))
    shown = tuple(dict.fromkeys(entry.aid for entry in chosen if entry.aid in aids))
    parts = [library.base, *(Template(entry.text).substitute(filled) for entry in chosen)]
    parts += [AIDS[library.language][aid] for aid in shown]
    parts += [
        example.text(library.language)
        for entry in chosen
        if entry.id not in without_examples
        for example in entry.examples
    ]
    text = library.joiner.join([*parts, library.closing])
    return _prompt(library, [entry.id for entry in chosen if entry.when], text, shown)


def probe_prompt(library: Library) -> Prompt:
    """The cheap first question: the library's ``probe``, or its default composition where it has none."""
    if not library.probe:
        return compose(library)
    return Prompt(f"{library.id}/probe", library.probe, hashlib.sha256(library.probe.encode()).hexdigest())


@lru_cache
def default_prompt(library: str = "library") -> Prompt:
    """The default composition of a shipped library; ``library`` is what nano models are trained on."""
    return compose(load_library(library))


def _prompt(library: Library, extra: Sequence[str], text: str, aids: tuple[str, ...]) -> Prompt:
    name = f"{library.id}/" + "+".join(["default", *extra]) + "".join(f" {aid}" for aid in aids)
    told = text + "".join(f"\n{aid}" for aid in aids)
    return Prompt(name, text, hashlib.sha256(told.encode()).hexdigest(), aids)
