"""Pictures for the page: a row's own image, and small ones for the strip."""

from __future__ import annotations

import io
from collections import OrderedDict
from threading import Lock

from PIL import Image

from edgekit.dataset import Dataset, Sample
from edgekit.engine.pixels import read_image

THUMB = (160, 90)  # pixels, at most
MOST_BYTES = 32_000_000  # of small pictures kept: about 4,000
TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


class Pictures:
    """Encoded images of a Dataset's rows. Only what a row names, inside the Dataset's folder, is read."""

    def __init__(self, data: Dataset):
        self.data, self._lock = data, Lock()
        self._small: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def whole(self, row: Sample) -> tuple[bytes, str]:
        """(bytes, media type) as stored; what is neither JPEG nor PNG is encoded as JPEG.

        Raises UserError for a path that leads out, or what is no image.
        """
        path = self.data.image_path(row)
        kind = TYPES.get(path.suffix.lower())
        return (path.read_bytes(), kind) if kind else (_jpeg(Image.fromarray(read_image(path))), "image/jpeg")

    def small(self, row: Sample) -> bytes:
        """JPEG of at most THUMB pixels; kept, the longest unused thrown out first."""
        with self._lock:
            if row.id in self._small:
                self._small.move_to_end(row.id)
                return self._small[row.id]
        image = Image.fromarray(self.data.image(row))
        image.thumbnail(THUMB, Image.Resampling.BICUBIC)
        made = _jpeg(image)
        with self._lock:
            if row.id not in self._small:
                self._small[row.id] = made
                self._bytes += len(made)
            while self._bytes > MOST_BYTES:
                self._bytes -= len(self._small.popitem(last=False)[1])
        return made


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
