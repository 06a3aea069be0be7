"""What reading a user's CAD has in common, whatever its format: limits, its folder, its errors."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgekit.core.files import inside

MEGABYTES = 200  # a model with all that it names: looked up before anything is read
TRIANGLES = 2_000_000  # what is drawn, each instance counted
FARTHEST = 1e12  # of a coordinate, in the file's unit


class ModelError(ValueError):
    """A model that is not taken. why: the cause, with numbers; do: the next step."""

    def __init__(self, why: str, do: str):
        super().__init__(why, do)
        self.why, self.do = why, do


class Model(NamedTuple):
    """points: (n, 3) float64, the corners of its faces in the file's own axes and unit;
    files: all that it is made of, itself first."""

    points: np.ndarray
    triangles: int
    files: tuple[Path, ...]


class ModelFiles:
    """A model's file and those that it names: all in the model's folder, together not above the limit."""

    def __init__(self, path: Path):
        self.folder, self.found, self._bytes = path.parent, [], 0
        self.claim(path.name, "")

    def claim(self, name: str, base: str) -> Path:
        """The file ``name``, as the file in folder ``base`` (below ours) calls it. Raises ModelError."""
        why = f"it names {name[:120]!r}, which leads out of its folder"
        do = "put what a model needs into its folder, and name it by a relative path without .."
        if name.startswith("/") or ":" in name or ".." in name.split("/") or "\0" in name:
            raise ModelError(why, do)
        try:
            path = inside(self.folder, f"{base}/{name}" if base else name)  # links are followed
        except (ValueError, RuntimeError):  # RuntimeError: links that go round in a circle
            raise ModelError(why, do) from None
        if not path.is_file():
            raise ModelError(
                f"it names {name[:120]!r}, and there is no such file",
                "put it there, or export the model again with all that belongs to it",
            )
        if path not in self.found:
            self._bytes += path.stat().st_size
            self.found.append(path)
        if self._bytes > MEGABYTES * 1_000_000:
            raise ModelError(
                f"it has {self._bytes / 1e6:.0f} MB with {path.name}; at most {MEGABYTES} MB are read",
                "make it coarser, or its textures smaller: a car in traffic covers few pixels",
            )
        return path


def check_triangles(count: int) -> None:
    """Raises ModelError for no surface at all, or for too much of it."""
    if count == 0:
        raise ModelError("it has no faces: nothing of it could be drawn", "export it as a surface mesh")
    if count > TRIANGLES:
        raise ModelError(
            f"it has {count:,} triangles; at most {TRIANGLES:,} are taken",
            "decimate it: a car in traffic covers few pixels",
        )


def check_finite(points: np.ndarray) -> None:
    """Raises ModelError where a coordinate is NaN, or too large for single precision to be anything."""
    wrong = int((~(np.abs(points) < FARTHEST)).any(axis=1).sum())  # not <: NaN is not less than anything
    if wrong:
        raise ModelError(
            f"{wrong} of its {len(points)} vertices are not finite (NaN), or beyond {FARTHEST:g}",
            "mend the mesh and export it again",
        )
