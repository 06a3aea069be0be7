"""Distances between clouds of features of real and of painted pictures; scores of label maps and boxes.

Clouds are [N, D] and [M, D], computed with in float64. None of the distances knows where features come from:
FID is ``frechet`` on Inception's pool_3, sFID the same on the first 7 channels of its mixed_6/conv (17 × 17 each:
2,023 numbers; Nash et al. 2021), and neither name is right for any other network's features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_CHUNK = 2048  # rows of a distance matrix at once


def frechet(real: np.ndarray, fake: np.ndarray) -> float:
    """‖μr − μg‖² + Tr(Σr + Σg − 2 (Σr Σg)^½) of real [N, D] and fake [M, D] (Heusel et al. 2017, eq. 6).

    Covariances divide by N − 1. With Σ = XᵀX of centred, scaled rows X, the eigenvalues of Σr Σg are the squared
    singular values of Xr Xgᵀ, so the last trace is their sum: no root of a singular matrix is taken, and
    covariances of a rank below D (N ≤ D) are as exact as others. Raises ValueError for fewer than 2 rows.
    """
    (a, mean_a), (b, mean_b) = _root(_cloud(real, "real", 2)), _root(_cloud(fake, "fake", 2))
    _same_width(a, b)
    cross = torch.linalg.svdvals(a @ b.T).sum()
    spread = a.square().sum() + b.square().sum() - 2 * cross
    return max(float((mean_a - mean_b).square().sum() + spread), 0.0)


def kernel(
    real: np.ndarray, fake: np.ndarray, subsets: int = 50, size: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """KID: the unbiased MMD² under (x·y / D + 1)³, mean and standard deviation over ``subsets`` drawn without
    replacement (Bińkowski et al. 2018, eq. 3 and Sec. 4.1). Below 0 by chance where the clouds are alike.

    size: rows of a subset; min(1000, half of the smaller cloud) where it is left out, so that small clouds'
    subsets differ. Raises ValueError for fewer than 4 rows, or for a size outside 2 .. the smaller cloud.
    """
    x, y = _cloud(real, "real", 4), _cloud(fake, "fake", 4)
    _same_width(x, y)
    smaller = min(len(x), len(y))
    size = min(1000, smaller // 2) if size is None else size
    if not 2 <= size <= smaller:
        raise ValueError(f"kernel: subsets of {size} rows, want 2 to {smaller}")
    draw = torch.Generator().manual_seed(seed)
    found = [
        _mmd2(
            x[torch.randperm(len(x), generator=draw)[:size]], y[torch.randperm(len(y), generator=draw)[:size]]
        )
        for _ in range(subsets)
    ]
    return float(np.mean(found)), float(np.std(found))


def _mmd2(x: Tensor, y: Tensor) -> float:
    """Unbiased: without the diagonals of the two inner kernels. x, y [m, D]."""
    m, d = x.shape
    inner = [(z @ z.T / d + 1) ** 3 for z in (x, y)]  # [m, m]
    alike = sum((k.sum() - k.diagonal().sum()) / (m * (m - 1)) for k in inner)
    return float(alike - 2 * ((x @ y.T / d + 1) ** 3).mean())


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, eqs. 1 and 2).

    Precision: the share of fakes inside some real row's ball, whose radius is the distance to its ``k``-th
    nearest neighbour in its own cloud. Recall: the share of reals inside a fake's ball. Raises ValueError for
    k rows or fewer.
    """
    return float(inside(real, fake, k).mean()), float(inside(fake, real, k).mean())


def inside(cloud: np.ndarray, rows: np.ndarray, k: int = 3) -> np.ndarray:
    """bool [M]: which of ``rows`` [M, D] lie in (or on) a k-nearest-neighbour ball of ``cloud`` [N, D]."""
    x, y = _cloud(cloud, "cloud", k + 1), _cloud(rows, "rows", 1)
    _same_width(x, y)
    # A row is its own nearest at distance 0: the k-th other one is the (k + 1)-th smallest.
    radii = torch.cat([_distances(part, x).kthvalue(k + 1, dim=1).values for part in x.split(_CHUNK)])  # [N]
    return torch.cat([(_distances(part, x) <= radii).any(dim=1) for part in y.split(_CHUNK)]).numpy()


def cmmd(real: np.ndarray, fake: np.ndarray, sigma: float = 10.0, scale: float = 1000.0) -> float:
    """CMMD: ``scale`` times the MMD² under exp(−‖x − y‖² / 2σ²) of L2-normalised embeddings (Jayasumana et al. 2024).

    The biased estimate, as the authors' code has it: means over the whole inner kernels, diagonal included.
    The name is right for embeddings of CLIP ViT-L/14 at 336 pixels. Raises ValueError for an empty cloud.
    """
    x, y = (
        torch.nn.functional.normalize(_cloud(z, name, 1), dim=1)
        for z, name in ((real, "real"), (fake, "fake"))
    )
    _same_width(x, y)
    return scale * (_mean_rbf(x, x, sigma) + _mean_rbf(y, y, sigma) - 2 * _mean_rbf(x, y, sigma))


def _mean_rbf(x: Tensor, y: Tensor, sigma: float) -> float:
    # Of unit rows ‖x − y‖² = 2 − 2 x·y.
    total = sum(float(torch.exp((part @ y.T - 1) / sigma**2).sum()) for part in x.split(_CHUNK))
    return total / (len(x) * len(y))


def clip_score(image_embeddings: np.ndarray, text_embeddings: np.ndarray) -> float:
    """The mean of 100 · max(cos, 0) over pairs, both [N, D].

    CLIPScore of Hessel et al. 2021 is 2.5 · max(cos, 0); the factor 100 is the one that papers on generators
    print. Raises ValueError where there are not as many texts as pictures.
    """
    x, y = _cloud(image_embeddings, "images", 1), _cloud(text_embeddings, "texts", 1)
    if x.shape != y.shape:
        raise ValueError(f"clip_score: images {tuple(x.shape)} and texts {tuple(y.shape)} are no pairs")
    return float(100 * torch.nn.functional.cosine_similarity(x, y, dim=1).clamp_min(0).mean())


def nearest(fake: np.ndarray, real: np.ndarray) -> np.ndarray:
    """float64 [M]: each fake's distance to the closest real row; near 0 is a picture learned by heart."""
    return nearest_rows(fake, real)[0]


def nearest_rows(fake: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``nearest``, and which row of ``real`` it is (int64 [M])."""
    x, y = _cloud(fake, "fake", 1), _cloud(real, "real", 1)
    _same_width(x, y)
    found = [_distances(part, y).min(dim=1) for part in x.split(_CHUNK)]
    return torch.cat([f.values for f in found]).numpy(), torch.cat([f.indices for f in found]).numpy()


def confusion(truth: np.ndarray, said: np.ndarray, classes: int, ignore: int = 255) -> np.ndarray:
    """int64 [classes, classes + 1]: known pixels by true class and by what was said, over all pictures.

    truth, said: class ids of one shape. The last column counts what is said of no class (``ignore``): such a
    pixel is missed. Raises ValueError for other shapes, and for ids that are no class.
    """
    truth, said = np.asarray(truth), np.asarray(said)
    if truth.shape != said.shape:
        raise ValueError(f"label maps of {truth.shape} and {said.shape} cannot be compared")
    known = truth != ignore
    true, told = truth[known].astype(np.int64), said[known].astype(np.int64)
    told = np.where(told == ignore, classes, told)
    for name, ids, most in (("truth", true, classes - 1), ("said", told, classes)):
        if ids.size and not 0 <= ids.min() <= ids.max() <= most:
            raise ValueError(f"{name}: ids {ids.min()}..{ids.max()}, want 0..{classes - 1} or {ignore}")
    joint = np.bincount(true * (classes + 1) + told, minlength=classes * (classes + 1))
    return joint.reshape(classes, classes + 1)


def iou_by_class(truth: np.ndarray, said: np.ndarray, classes: int, ignore: int = 255) -> np.ndarray:
    """float64 [classes]: true positives / (true + said − true positives) over all pixels together (Everingham et
    al. 2010, Sec. 4.3); NaN for a class that is neither there nor said."""
    table = confusion(truth, said, classes, ignore)
    hit = table.diagonal()
    union = table.sum(axis=1) + table[:, :classes].sum(axis=0) - hit
    return np.divide(hit, union, out=np.full(classes, math.nan), where=union > 0)


def miou(truth: np.ndarray, said: np.ndarray, classes: int, ignore: int = 255) -> float:
    """The mean of ``iou_by_class`` over the classes that are there or said; NaN where no pixel is known."""
    found = iou_by_class(truth, said, classes, ignore)
    return float(found[~np.isnan(found)].mean()) if not np.isnan(found).all() else math.nan


class Boxes(NamedTuple):
    """A picture's objects: boxes [K, 4] (x0, y0, x1, y1), classes [K], scores [K] (of true ones not looked at)."""

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray

    def of(self, name: int) -> Boxes:
        mine = self.classes == name
        return Boxes(self.boxes[mine], self.classes[mine], self.scores[mine])


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[K, L] of boxes a [K, 4] and b [L, 4]; 0 for a box without area."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    area_a, area_b = ((z[:, 2:] - z[:, :2]).prod(axis=1) for z in (a, b))
    union = area_a[:, None] + area_b[None] - both
    return np.divide(both, union, out=np.zeros(both.shape), where=union > 0)


def average_precision(
    truth: Sequence[Boxes], said: Sequence[Boxes], name: int, threshold: float = 0.5
) -> float:
    """The area under one class's precision–recall curve over all pictures; NaN where there is no true box.

    Greedy: said boxes by falling score (ties: the earlier picture first) take the free true box that they
    overlap most, at ``threshold`` or more; what finds none is wrong. All points are interpolated: precision at a
    recall is the best at that recall or a higher one (Everingham et al. 2015, Sec. 4.2; taking free boxes only
    is COCO's matching). Raises ValueError where truth and said are not of as many pictures.
    """
    if len(truth) != len(said):
        raise ValueError(f"average_precision: {len(truth)} pictures of truth, {len(said)} said")
    true, told = [t.of(name) for t in truth], [s.of(name) for s in said]
    wanted = sum(len(t.boxes) for t in true)
    if not wanted:
        return math.nan
    free = [np.ones(len(t.boxes), bool) for t in true]
    order = sorted(
        ((p, i) for p, s in enumerate(told) for i in range(len(s.boxes))),
        key=lambda at: -told[at[0]].scores[at[1]],
    )
    right = np.zeros(len(order))
    for rank, (p, i) in enumerate(order):
        overlaps = np.where(free[p], iou(told[p].boxes[i : i + 1], true[p].boxes)[0], -1.0)
        if overlaps.size and overlaps.max() >= threshold:
            free[p][overlaps.argmax()] = False
            right[rank] = 1
    hits = right.cumsum()
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best * right).sum() / wanted)


def mean_average_precision(
    truth: Sequence[Boxes], said: Sequence[Boxes], classes: Sequence[int], threshold: float = 0.5
) -> tuple[float, Mapping[int, float]]:
    """The mean of ``average_precision`` over the classes that have a true box, and each class's (NaN: has none)."""
    found = {name: average_precision(truth, said, name, threshold) for name in classes}
    there = [value for value in found.values() if not math.isnan(value)]
    return (float(np.mean(there)) if there else math.nan), found


def _cloud(rows: np.ndarray, name: str, least: int) -> Tensor:
    """float64 [N, D], all finite. Raises ValueError."""
    found = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float64))
    if found.ndim != 2 or len(found) < least or not found.shape[1]:
        raise ValueError(f"{name}: want [N, D] of {least} rows or more, got {tuple(found.shape)}")
    if not torch.isfinite(found).all():
        raise ValueError(f"{name}: holds numbers that are not finite")
    return found


def _same_width(x: Tensor, y: Tensor) -> None:
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"features of {x.shape[1]} and of {y.shape[1]} numbers cannot be compared")


def _root(x: Tensor) -> tuple[Tensor, Tensor]:
    """R [min(N, D), D] with RᵀR the covariance of x [N, D], and the mean [D]."""
    mean = x.mean(dim=0)
    return torch.linalg.qr((x - mean) / math.sqrt(len(x) - 1), mode="r").R, mean


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean [N, M]. By differences, not by products: equal rows are at 0 exactly."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
