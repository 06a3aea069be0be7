"""Augmentation that keeps the label: a small shift and zoom, light, noise; a mirror where allowed.

The class-id map moves with the image, so the dense targets stay exact. Hue is never touched: the
light's colour is the label.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from edgekit.core.label import SceneLabel
from edgekit.distill.config import Augment


def sided(label: SceneLabel) -> bool:
    """Whether the label tells left from right, so that it is wrong of the mirrored image."""
    return label.light_arrow in ("left", "right") or label.other_left != label.other_right


def augment(
    image: np.ndarray, ids: np.ndarray | None, how: Augment, rng: np.random.Generator, mirror: bool = True
) -> tuple[np.ndarray, np.ndarray | None]:
    """RGB uint8 (H, W, 3) and its ids uint16 (H, W) or None, moved together.

    mirror: False keeps left where it is, whatever ``how`` says; the same random numbers are drawn.
    """
    height, width = image.shape[:2]
    if how.mirror and rng.random() < how.mirror and mirror:
        image = image[:, ::-1]
        ids = None if ids is None else ids[:, ::-1]
    if how.shift or how.zoom:
        scale = 1 + how.zoom * rng.random()
        dx, dy = rng.uniform(-how.shift, how.shift, 2)
        # Output pixel (x, y) is read from (a·x + c, a·y + f): zoom about the centre, then shift.
        a = 1 / scale
        matrix = (a, 0, (1 - a) * width / 2 + dx, 0, a, (1 - a) * height / 2 + dy)
        image = np.asarray(
            Image.fromarray(np.ascontiguousarray(image)).transform(
                (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
            )
        )
        if ids is not None:
            ids = np.asarray(
                Image.fromarray(np.ascontiguousarray(ids)).transform(
                    (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST
                )
            )
    if how.light or how.noise:
        gain = 1 + rng.uniform(-how.light, how.light)
        bias = 60 * rng.uniform(-how.light, how.light)
        noisy = image.astype(np.float32) * gain + bias
        if how.noise:
            noisy += rng.normal(0, how.noise * rng.random(), image.shape).astype(np.float32)
        image = np.clip(noisy, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(image), ids
