"""The state of a traffic light from its crop, by rules that can be read: colour, place and brightness of a lamp.

No network. Three terms for each of red, yellow and green, weighed and put through a softmax:

colour:     how much chroma (HSV's saturation times value) of that hue stands above the head's median;
place:      whether that colour lies where its lamp is along the head: in the middle or at an end. Which end red is
            at is not used: lying heads differ by country, boxes of a detector cut heads short, and a first form
            that used it on upright ones was no better on real photographs;
brightness: whether that lamp's third of the head is brighter than the other two.

The three weights are fitted by maximum likelihood on the truth boxes of a train split
(``benchmarks/lights.py --fit``), the rest is stated here. An unlit head is not told from one whose lamp the camera
washes out: both are ``unknown``; ``off`` is never said.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

STATES = ("red", "yellow", "green")

# Hue in degrees: from, full from, full to, to (round the circle). A signal's green is bluish, a tree's is yellowish.
HUES = {"red": (310, 340, 12, 25), "yellow": (12, 25, 55, 70), "green": (85, 130, 180, 205)}
PLACES = {"red": (1 / 6, 5 / 6), "yellow": (1 / 2,), "green": (1 / 6, 5 / 6)}  # of a lamp along the head
LIT_SHARE = 1 / 12  # of the box's pixels: about a third of a lamp, so that a lamp half hidden still counts
WIDTH = 0.3  # standard deviation of the weight across the head, in box widths: the rim is street, not head
SMALLEST_PX = (6, 3)  # along and across the head; smaller ones are not judged
FLOOR = 2 / 255  # chroma above the head's median: below it there is no colour, only the camera's noise


class Weights(NamedTuple):
    """Of the three terms."""

    colour: float
    place: float
    brightness: float


# Fitted on 2,412 truth boxes of traffic_lights_ccby's train split (CC BY 4.0).
WEIGHTS = Weights(colour=1.85, place=2.19, brightness=9.57)


def light_state(
    image: np.ndarray, box: tuple[float, float, float, float], sure: float = 0.6
) -> tuple[str, float]:
    """(state, confidence) of the head in ``box`` (x0, y0, x1, y1 in pixels) of RGB uint8 (H, W, 3).

    state: red, yellow, green, or unknown where the most probable one's confidence is below ``sure``, where nothing
    lit is seen, and where the head is smaller than SMALLEST_PX; confidence then is 0 or that of the state not said.
    """
    head = crop(image, box)
    if head is None:
        return "unknown", 0.0
    terms, lit = evidence(head)
    if lit < FLOOR:
        return "unknown", 0.0
    shares = probabilities(terms[None])[0]
    best = int(shares.argmax())
    return (STATES[best] if shares[best] >= sure else "unknown"), float(shares[best])


def crop(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray | None:
    """The box's pixels, cut at the image's edge; None where less than SMALLEST_PX is left."""
    x0, y0, x1, y1 = (round(v) for v in box)
    head = image[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    if max(head.shape[:2]) < SMALLEST_PX[0] or min(head.shape[:2]) < SMALLEST_PX[1]:
        return None
    return head


def probabilities(terms: np.ndarray, weights: Weights = WEIGHTS) -> np.ndarray:
    """(n, states) of terms (n, states, 3), summing to 1."""
    score = terms @ np.array(weights)
    score = np.exp(score - score.max(axis=1, keepdims=True))
    return score / score.sum(axis=1, keepdims=True)


def evidence(head: np.ndarray) -> tuple[np.ndarray, float]:
    """(terms (states, 3) float64: colour, place, brightness; the strongest colour's chroma above the housing)."""
    if head.shape[1] > 1.2 * head.shape[0]:  # a head that lies
        head = head.transpose(1, 0, 2)
    hue, chroma, value = _hue_chroma_value(head)
    along, across = ((np.arange(n) + 0.5) / n for n in head.shape[:2])
    inside = np.broadcast_to(np.exp(-(((across - 0.5) / WIDTH) ** 2) / 2), value.shape)
    excess = np.clip(chroma - np.median(chroma), 0, None) * inside
    lamps = _lamps((value * inside).sum(axis=1) / inside.sum(axis=1))

    terms, strongest = np.zeros((len(STATES), 3)), 0.0
    for i, state in enumerate(STATES):
        glow = excess * _member(hue, *HUES[state])
        some = max(1, round(glow.size * LIT_SHARE))
        lit = float(np.partition(glow.ravel(), -some)[-some:].mean())
        strongest = max(strongest, lit)
        rows = glow.sum(axis=1)
        at = float((rows * along).sum() / rows.sum()) if rows.sum() > 0 else 0.5
        away = min(abs(at - end) for end in PLACES[state])
        terms[i] = np.log(lit + 0.01), -3 * away, lamps[1] if state == "yellow" else max(lamps[0], lamps[2])
    return terms, strongest


def _lamps(profile: np.ndarray) -> np.ndarray:
    """(3,) of brightness (n,) along the head: each third's mean above the mean of the other two."""
    thirds = np.array([part.mean() for part in np.array_split(profile, 3)])
    return thirds - (thirds.sum() - thirds) / 2


def _hue_chroma_value(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HSV of RGB uint8 (H, W, 3): hue in degrees, saturation times value, value; the latter two in 0..1."""
    red, green, blue = np.moveaxis(pixels.astype(np.float64) / 255, 2, 0)
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    divisor = np.where(chroma > 0, chroma, 1)
    hue = np.where(
        value == red,
        (green - blue) / divisor,
        np.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    return hue * 60 % 360, chroma, value


def _member(hue: np.ndarray, start: float, full: float, until: float, end: float) -> np.ndarray:
    """0..1: a trapezoid over the circle of hues."""
    along, rise, fall, whole = (np.mod(x - start, 360) for x in (hue, full, until, end))
    return np.clip(np.minimum(along / rise, (whole - along) / (whole - fall)), 0, 1)
