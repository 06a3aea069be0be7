# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""From Blender's multilayer EXR to the files of a frame, each written aside and renamed."""

import os

import numpy as np
import OpenEXR
from PIL import Image


def read_exr(path):
    """{'rgb': (h, w, 3) linear float32, 'ids': (h, w) uint16, 'depth': (h, w) float32 metres}, what was asked"""
    with OpenEXR.File(path, separate_channels=True) as file:
        # Blender 5 writes one part a pass; File.channels() would answer for the first part only
        channels = {name: channel.pixels for part in file.parts for name, channel in part.channels.items()}
    by_end = {".".join(name.split(".")[-2:]): pixels for name, pixels in channels.items()}
    out = {"rgb": np.stack([by_end[f"Combined.{c}"] for c in "RGB"], axis=-1).astype(np.float32)}
    for index in (pixels for name, pixels in by_end.items() if "Index" in name):
        if not np.array_equal(index, np.rint(index)):
            raise ValueError("object ids are not whole numbers")
        out["ids"] = index.astype(np.uint16)
    depth = [pixels for name, pixels in by_end.items() if name.startswith("Depth")]
    if depth:
        out["depth"] = depth[0].astype(np.float32)
    return out


def to_screen(rgb):
    """Linear light to 8-bit sRGB (the 'Standard' view)."""
    rgb = np.clip(rgb, 0, 1)
    screen = np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)
    return np.rint(screen * 255).astype(np.uint8)


def streaks(rgb, frame_seed):
    """Rain, in linear light."""
    rng, (height, width) = np.random.default_rng(frame_seed), rgb.shape[:2]
    veil = np.zeros((height, width), np.float32)
    for _ in range(width * height // 700):
        x, y, length = (
            rng.integers(width),
            rng.integers(height),
            rng.integers(height // 36 + 2, height // 14 + 3),
        )
        rows = np.arange(y, min(height, y + length))
        veil[rows, np.clip(x + (rows - y) // 7, 0, width - 1)] += rng.uniform(0.02, 0.10)
    level = float(rgb.mean())  # streaks are as bright as the light around them
    return rgb + np.minimum(veil, 0.15)[..., None] * (0.25 + level)


def write(path, save):
    """Write through a file of this process's own, then rename: a reader sees all of it or none."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    aside = f"{path}.{os.getpid()}.tmp"
    with open(aside, "wb") as file:
        save(file)
    os.replace(aside, path)


def write_frame(root, stem, parts, screen, quality=95):
    write(
        f"{root}/images/{stem}.jpg",
        lambda f: Image.fromarray(screen).save(f, "JPEG", quality=quality, subsampling=0),
    )
    if "ids" in parts:
        write(f"{root}/ids/{stem}.png", lambda f: Image.fromarray(parts["ids"]).save(f, "PNG"))
    if "depth" in parts:
        # a sky of 1e10 m does not fit float16
        depth = np.where(parts["depth"] > 60000, np.inf, parts["depth"]).astype(np.float16)
        write(f"{root}/depth/{stem}.npz", lambda f: np.savez_compressed(f, depth_m=depth))
