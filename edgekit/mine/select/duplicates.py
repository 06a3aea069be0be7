"""Near-duplicates of frames by a perceptual hash, found without comparing every pair.

The hash is the signs of 64 low frequencies of a picture about their median (the DCT hash), of those that vary
both ways: what varies one way only, sky above road, is in every driving picture and tells none from another.
It is written here, in ten lines of numpy, because it needs no package and because it was chosen on driving
pictures: under JPEG at quality 50, noise, brightness and scaling by a third 95 of 100 hashes moved by at most
2 bits (the difference hash of the same size: by 5), while highway frames one second apart differ by 12
(difference hash: 8).

The index is multi-index hashing (Norouzi, Punjani, Fleet, CVPR 2012): 64 bits in four bands of 16; two hashes
within d bits agree in some band within d // 4, so a look-up asks 68 buckets (at 4 bits),
each about 1/65,536 of the kept frames: 72,000 frames that all differ, two hours at 10 Hz, take seconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from functools import lru_cache
from itertools import combinations

import numpy as np
from PIL import Image

from edgekit.core.label import SLOTS, SceneLabel

SIDE, LOW = 32, 8  # the picture that is transformed, and how many frequencies a way are kept
BANDS, BAND_BITS = 4, 16
WITHIN = 4  # bits; twice what JPEG and noise move in 95 of 100 pictures
MOST_WITHIN = 11  # beyond it a band must be searched within 3 bits: 697 buckets each, and hashes mean little
RECENT = 8  # kept frames that are asked first: a vehicle that stands repeats one of them


@lru_cache(maxsize=1)
def _cosines() -> np.ndarray:
    """(LOW, SIDE): rows 1..LOW of the DCT-II; row 0, what does not vary, is left out."""
    k, n = np.arange(1, LOW + 1)[:, None], np.arange(SIDE)[None, :]
    return np.cos(np.pi * k * (2 * n + 1) / (2 * SIDE))


def perceptual_hash(image: np.ndarray) -> int:
    """64 bits of RGB uint8 (H, W, 3); alike pictures differ in few bits, and brightness changes none.

    A picture that varies one way only, or not at all, hashes to 0.
    """
    grey = Image.fromarray(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    low = _cosines() @ np.asarray(grey, np.float64) @ _cosines().T  # (LOW, LOW)
    low[np.abs(low) < 1e-6] = 0.0  # rounding is not contrast
    bits = (low > np.median(low)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def distance(a: int, b: int) -> int:
    """How many of the 64 bits differ."""
    return (a ^ b).bit_count()


class HashIndex:
    """Hashes by number; ``nearest`` finds the closest within a distance, exactly."""

    def __init__(self, within: int = WITHIN):
        if not 0 <= within <= MOST_WITHIN:
            raise ValueError(f"within must be 0..{MOST_WITHIN} bits, got {within}")
        self.within = within
        self._flips = [
            sum(1 << bit for bit in bits)
            for count in range(within // BANDS + 1)
            for bits in combinations(range(BAND_BITS), count)
        ]
        self._buckets: list[dict[int, list[tuple[int, int]]]] = [defaultdict(list) for _ in range(BANDS)]
        self._recent: list[tuple[int, int]] = []

    def add(self, number: int, value: int) -> None:
        for buckets, band in zip(self._buckets, _bands(value), strict=True):
            buckets[band].append((number, value))
        self._recent = [(number, value), *self._recent[: RECENT - 1]]

    def nearest(self, value: int) -> int | None:
        """The newest of the last few that lies within reach; else the closest of all, the earliest of equals."""
        for number, other in self._recent:
            if distance(value, other) <= self.within:
                return number
        best = (self.within + 1, 0)
        for buckets, band in zip(self._buckets, _bands(value), strict=True):
            for flip in self._flips:
                for number, other in buckets.get(band ^ flip, ()):
                    best = min(best, (distance(value, other), number))
        return best[1] if best[0] <= self.within else None


def _bands(value: int) -> list[int]:
    return [value >> (BAND_BITS * band) & 0xFFFF for band in range(BANDS)]


def what_counts(label: SceneLabel) -> tuple[str, ...]:
    """What must agree for a frame to repeat another: every slot but the speed.

    A light that changed leaves the picture nearly as it was, and is the frame to keep; a recommended speed
    that differs on one picture is doubt about the speed, not another scene.
    """
    return tuple(getattr(label, slot) for slot in SLOTS if slot != "recommended_speed_kmh")


def near_duplicates(
    images: Iterable[np.ndarray], within: int = WITHIN, labels: Iterable[Hashable] | None = None
) -> list[int | None]:
    """Per image the index of the earlier one that it repeats, None where it is new.

    images: RGB uint8 (H, W, 3), read one at a time. within: bits of 64 that may differ. labels: one a frame
    (``what_counts``); frames of different labels never repeat each other. An image is compared with those
    that were kept, not with repeats: a slowly changing street does not become one frame by and by.
    """
    indices: dict[Hashable, HashIndex] = {}
    keys = iter(labels) if labels is not None else None
    out: list[int | None] = []
    for number, image in enumerate(images):
        key = None if keys is None else next(keys)
        index = indices.setdefault(key, HashIndex(within))
        value = perceptual_hash(image)
        found = index.nearest(value)
        if found is None:
            index.add(number, value)
        out.append(found)
    return out
