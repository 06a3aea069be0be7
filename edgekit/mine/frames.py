"""The frames of a drive that are mined: which, and their pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from edgekit.core.errors import UserError
from edgekit.drives import Drive


def frame_numbers(length: int, every: int, most: int | None) -> range:
    """The frames of a drive that are mined: each ``every``-th, at most ``most``."""
    return range(0, length, every)[:most]


def pictures(drive: Drive, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    """The frames ``numbers`` (rising), RGB uint8 (H, W, 3).

    Raises UserError, with the drive and the frame, where one does not decode or the drive ends early.
    """
    source, at = drive.loads(numbers[0] if numbers else 0), numbers[0] if numbers else 0
    for number in numbers:
        try:
            load = next(islice(source, number - at, None), None)
            image = load() if load else None
            why = f"the drive was counted to hold {len(drive)} frames, and it ends before"
        except (UserError, ValueError, SyntaxError) as error:  # Pillow raises the latter on broken headers
            image, why = None, f"{error.what}: {error.why}" if isinstance(error, UserError) else str(error)
        if image is None:
            raise UserError(
                f"drive {drive.id}: frame {number} cannot be read", why, "mend that drive, or leave it out"
            )
        at = number + 1
        yield image
