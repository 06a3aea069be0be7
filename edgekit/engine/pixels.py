"""Images to ``pixel_values`` in numpy: Qwen2-VL's preprocessing without torch or transformers.

Source of the layout: transformers' Qwen2VLImageProcessor (patchify order), checked against it in
tests/unit/engine within 1e-6.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from edgekit.core.contract import Contract
from edgekit.core.errors import UserError

# A frame larger than this is refused before it is decoded: a camera is not a satellite.
MAX_PIXELS = 64_000_000


def read_image(path) -> np.ndarray:
    """A file as RGB uint8 (H, W, 3). Raises UserError for what is no image, or too large a one."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(
                    f"{path}: the image is too large",
                    f"{image.width}×{image.height} is over {MAX_PIXELS} pixels",
                    "scale it down first",
                )
            return np.asarray(image.convert("RGB"))
    except (OSError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable image", str(error), "check the file") from None


def resize(image: np.ndarray, contract: Contract) -> np.ndarray:
    """RGB uint8 (H, W, 3) → (contract.height, contract.width, 3); the identity at that size."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"want RGB uint8 (H, W, 3), got {image.dtype} {image.shape}")
    size = (contract.width, contract.height)
    if (image.shape[1], image.shape[0]) == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def patchify(images: np.ndarray, contract: Contract) -> np.ndarray:
    """uint8 (B, H, W, 3) at the contract's size → float32 (B·patches, 3·t·p·p).

    Patches run in merge-block order: a block's merge_size² patches stand together.
    """
    batch = images.shape[0]
    _, grid_h, grid_w = contract.grid
    patch, merge, time = contract.patch_size, contract.merge_size, contract.temporal_patch_size
    scaled = images.astype(np.float32) / np.float32(255)
    scaled = (scaled - np.float32(contract.mean)) / np.float32(contract.std)
    x = scaled.transpose(0, 3, 1, 2)  # (B, 3, H, W)
    x = x.reshape(batch, 3, grid_h // merge, merge, patch, grid_w // merge, merge, patch)
    x = x.transpose(0, 2, 5, 3, 6, 1, 4, 7)  # (B, bh, bw, mh, mw, 3, p, p)
    x = np.repeat(x[:, :, :, :, :, :, None], time, axis=6)  # a still image fills both time slices
    return np.ascontiguousarray(x).reshape(batch * grid_h * grid_w, 3 * time * patch * patch)


def pixel_values(images: list[np.ndarray], contract: Contract) -> tuple[np.ndarray, np.ndarray]:
    """(pixel_values float32 (ΣP, 1176), image_grid_thw int64 (B, 3)) of RGB images of any size."""
    stacked = np.stack([resize(image, contract) for image in images])
    grids = np.tile(np.array(contract.grid, dtype=np.int64), (len(images), 1))
    return patchify(stacked, contract), grids
