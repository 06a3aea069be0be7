"""Footage: the frames of a drive and their times, wherever they are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from edgekit.engine.pixels import read_image

MAX_FRAMES = 500_000
MAX_FPS = 1000.0  # as drive.json
Load = Callable[[], np.ndarray]  # decodes one frame: RGB uint8 (H, W, 3)


@dataclass(frozen=True)
class Footage:
    """times_s: float64 (n,), seconds, strictly rising from 0 at the first frame.

    loads(start): one ``Load`` per frame from number ``start`` on, in order; what is not called is not
    decoded further than the next frame needs. size: (width, height) in pixels, None where it is not
    told before decoding. notes: what was assumed, mended or left out. damaged: numbers of the frames that
    their decoder said it could only guess in part; it fills as they are decoded.
    """

    times_s: np.ndarray
    fps: float
    loads: Callable[[int], Iterator[Load]]
    size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    damaged: set[int] = field(default_factory=set, compare=False)

    def damage(self) -> list[str]:
        """A note on the frames decoded so far that are damaged. A decoder does not notice all damage, and
        says nothing of later frames that lean on a damaged one."""
        if not self.damaged:
            return []
        numbers = sorted(self.damaged)
        named = ", ".join(map(str, numbers[:8])) + (" …" if len(numbers) > 8 else "")
        return [
            f"{len(numbers)} of the frames are damaged, first at {self.times_s[numbers[0]]:.1f} s (frames {named}); "
            "they are mined as they decode, and what follows them up to a key frame may be smeared, too"
        ]


def stills(files: Sequence[Path], fps: float) -> Footage:
    """Image files in order, ``fps`` a second."""
    return Footage(
        np.arange(len(files)) / fps, fps, lambda start: (partial(read_image, path) for path in files[start:])
    )
