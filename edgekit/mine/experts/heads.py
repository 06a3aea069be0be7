"""From a detector's raw outputs to boxes: pure numpy, one image at a time.

ssd:  scores (1, A, C) and boxes (1, A, 4) or (1, A, 1, 4), ymin xmin ymax xmax in shares of the input
      (TensorFlow's SSD without its post-processing).
yolo: one output, (1, 4 + C, N) (v8 and later) or (1, N, 5 + C) (v5: objectness before the classes);
      x, y of the centre, width and height in pixels of the input.
detr: logits (1, Q, C + 1), the last column "no object", and boxes (1, Q, 4): centre and size in shares of the input
      (with activation sigmoid, as RT-DETR: (1, Q, C), no such column).

A decoder gives (scores (n, C) float in 0..1, boxes (n, 4) x0 y0 x1 y1 in shares of the input). Which output is which
is told by its shape; what does not fit raises ValueError with the shapes, as do scores outside 0..1 and
scores that are NaN or infinite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

WIDE = 4.0  # a box that ends so many pictures away is in pixels; an SSD of COCO shown grey stays below 1.3
TURNED = 0.01  # share of boxes that end before they begin; an SSD's sizes are exponentials, and leave none
EDGE = 0.01  # DETR's boxes come out of a sigmoid, 0 to 1; half precision rounds a little beyond


class Found(NamedTuple):
    """Boxes (n, 4) x0 y0 x1 y1, their columns (n,) and scores (n,), best first."""

    boxes: np.ndarray
    columns: np.ndarray
    scores: np.ndarray


def decode(
    head: str, outputs: Sequence[np.ndarray], size: tuple[int, int], activation: str = "auto",
    columns: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(scores (n, C), boxes (n, 4) in shares of the input) of the outputs of one image.

    size: (width, height) of the input in pixels. columns: how many classes there should be, None = any.
    """
    if activation == "auto":
        activation = "softmax" if head == "detr" else "none"
    if head == "yolo":
        scores, boxes = _yolo(outputs, size, activation, columns)
    else:
        scores, boxes = _pair(outputs)
        scores = _activate(scores, activation)
        if head == "detr":
            scores = scores[:, :-1] if activation == "softmax" else scores
            boxes = _corners(boxes)
        else:
            boxes = boxes[:, [1, 0, 3, 2]]
    if columns is not None and scores.shape[1] != columns:
        raise ValueError(f"scores of {scores.shape[1]} classes, not {columns}; {told(outputs)}")
    wrong = int((~np.isfinite(scores)).sum())
    if wrong:  # none of them reaches a threshold: it would look as if nothing were there
        raise ValueError(f"{wrong} of {scores.size} scores are NaN or infinite; {told(outputs)}")
    if scores.size and (scores.min() < -1e-3 or scores.max() > 1 + 1e-3):
        raise ValueError(
            f"scores from {scores.min():.3g} to {scores.max():.3g} are no probabilities: "
            f"with activation {activation!r} they stay so"
        )
    return scores, boxes


def unlike(head: str, outputs: Sequence[np.ndarray], activation: str = "auto") -> str | None:
    """In words, which other head the outputs look like, and why, or that an SSD's scores need no ``activation``;
    None where nothing speaks against ``head`` and it.

    outputs: of a picture with nothing in it, where no box is more at home than another. SSD's and DETR's have
    the same shapes; what numbers their boxes and scores can be tells them apart.
    """
    if len(outputs) == 1 and outputs[0].ndim == 3:
        looks, why = "head: yolo", "there is one output"
    else:
        try:
            scores, boxes = _pair(outputs)
        except ValueError:  # like none of them: decode tells what is wanted
            return None
        looks, why = _looks(scores, boxes, activation)
    if f"head: {head}" not in looks.split(" or "):
        return f"it looks like {looks}: {why}; {told(outputs)}"
    # Of a grey picture's logits hardly one lies there: nearly all say no. And were they logits, sigmoid would
    # give every box more than 0.5 of every class.
    if head == "ssd" and activation in ("sigmoid", "softmax") and _within(scores):
        return f"its scores are probabilities already: activation {activation} belies them, set none; {told(outputs)}"
    return None


def _looks(scores: np.ndarray, boxes: np.ndarray, activation: str) -> tuple[str, str]:
    """(the head or heads that scores (n, C) and boxes (n, 4) may be of, why)."""
    turned = float(np.mean((boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])))
    low, high = np.nanmin(boxes, initial=0.0), np.nanmax(boxes, initial=0.0)
    if high > WIDE:
        return "no head that is read here", f"its boxes reach {high:.4g}, as pixels do and not shares"
    if turned > TURNED:
        return "head: detr", f"read as corners, {turned:.0%} of its boxes end before they begin"
    if low < -EDGE or high > 1 + EDGE:
        return (
            "head: ssd",
            f"its boxes run from {low:.2f} to {high:.2f}, and DETR's centres and sizes stay within 0 and 1",
        )
    if activation != "none" and _within(scores):
        return "head: ssd", "its scores are probabilities already (for a DETR of such set activation: none)"
    return "head: ssd or head: detr", "there are scores and boxes"


def _within(scores: np.ndarray) -> bool:
    """Whether all lie within 0 and 1."""
    return bool(scores.size and scores.min() >= 0 and scores.max() <= 1)


def strongest(scores: np.ndarray, boxes: np.ndarray, wanted: Sequence[int], score: float, most: int) -> Found:
    """The boxes whose score in one of the columns ``wanted`` reaches ``score``, the ``most`` best of them.

    A box that reaches it in two columns is there twice. One that is not finite, or has no area, is left out.
    """
    wanted = np.asarray(wanted, dtype=int)
    whole = np.isfinite(boxes).all(axis=1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    at, column = np.nonzero((scores[:, wanted] >= score) & whole[:, None])
    value = scores[at, wanted[column]]
    order = np.argsort(-value, kind="stable")[:most]
    return Found(boxes[at[order]], wanted[column[order]], value[order])


def suppressed(boxes: np.ndarray, groups: np.ndarray, iou: float) -> np.ndarray:
    """Non-maximum suppression within each group: the places (k,) that stay, of boxes (n, 4) given best first.

    One box is compared with those after it at a time: the memory is that of n boxes.
    """
    stays = np.ones(len(boxes), dtype=bool)
    for i in range(len(boxes) - 1):
        if stays[i]:
            over = ious(boxes[i : i + 1], boxes[i + 1 :])[0] > iou
            stays[i + 1 :] &= ~(over & (groups[i + 1 :] == groups[i]))
    return np.flatnonzero(stays)


def ious(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (n, m) of boxes (n, 4) and (m, 4), x0 y0 x1 y1."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None] - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def told(outputs: Sequence[np.ndarray]) -> str:
    """The shapes, in words."""
    return "its outputs are " + ", ".join(str(tuple(o.shape)) for o in outputs)


def _pair(outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(scores (n, C), boxes (n, 4)) of two outputs in either order; of two alike, the first holds scores."""
    if len(outputs) == 2 and all(o.ndim >= 3 and o.shape[0] == 1 for o in outputs):
        first, second = (o.reshape(o.shape[1], -1).astype(np.float64) for o in outputs)
        if first.shape[1] == 4 and second.shape[1] != 4:
            first, second = second, first
        if len(first) == len(second) and second.shape[1] == 4:
            return first, second
    raise ValueError(f"wanted are scores (1, n, classes) and boxes (1, n, 4); {told(outputs)}")


def _yolo(
    outputs: Sequence[np.ndarray], size: tuple[int, int], activation: str, columns: int | None
) -> tuple[np.ndarray, np.ndarray]:
    if len(outputs) != 1 or outputs[0].ndim != 3 or outputs[0].shape[0] != 1:
        raise ValueError(f"wanted is one output, (1, 4 + classes, n) or (1, n, 5 + classes); {told(outputs)}")
    rows = outputs[0][0].astype(np.float64)
    new = rows.shape[0] == 4 + columns if columns else rows.shape[0] < rows.shape[1]
    if new:
        rows = rows.T
    first = 4 if new else 5
    if rows.shape[1] <= first:
        raise ValueError(f"no class stands beside the box; {told(outputs)}")
    scores = _activate(rows[:, 4:], activation)
    if not new:
        scores = scores[:, :1] * scores[:, 1:]
    return scores, _corners(rows[:, :4] / np.array([*size, *size]))


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Centre and size → x0 y0 x1 y1."""
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)


def _activate(logits: np.ndarray, activation: str) -> np.ndarray:
    if activation == "sigmoid":
        return 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    if activation == "softmax":
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)
    return logits
