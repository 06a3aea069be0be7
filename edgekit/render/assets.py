"""The user's own CAD: a manifest of models that stand in for our vehicles, checked before the first frame."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import ConfigDict, Field, create_model

from edgekit.core.errors import UserError
from edgekit.core.files import inside, sha256_file, sha256_json
from edgekit.core.recipe import Config, build
from edgekit.render.meshfiles import Model, ModelError, ModelFiles
from edgekit.render.meshgltf import read_gltf
from edgekit.render.meshobj import read_obj

READERS = {".gltf": read_gltf, ".glb": read_gltf, ".obj": read_obj}
MANIFEST_BYTES, ENTRIES = 1_000_000, 1000
HULL_DIRECTIONS = 200
LENGTHS_AWAY = 1000  # 24 bits place the points of a 5 m car within 1 mm there
AXES = {
    "+x": (1, 0, 0), "-x": (-1, 0, 0), "+y": (0, 1, 0), "-y": (0, -1, 0), "+z": (0, 0, 1), "-z": (0, 0, -1),
}  # fmt: skip
Axis = Literal[tuple(AXES)]
# metres that a vehicle of a class may have: length, width (mirrors and handlebars too), height
BOUNDS_M: dict[str, tuple[tuple[float, float], ...]] = {
    "car": ((2.3, 6.5), (1.2, 2.5), (1.0, 2.8)),
    "truck": ((4.5, 20.0), (1.7, 3.2), (1.8, 4.5)),
    "bus": ((5.0, 20.0), (1.8, 3.2), (2.2, 4.6)),
    "bicycle": ((1.2, 2.6), (0.3, 1.0), (0.7, 1.5)),
    "motorcycle": ((1.4, 3.0), (0.4, 1.4), (0.8, 1.8)),
}


class _Frozen(Config):
    model_config = ConfigDict(frozen=True)


# One model of a manifest. Made by a call, because `class` is no name that Python's syntax takes.
AssetEntry = create_model(
    "AssetEntry",
    __base__=_Frozen,
    **{
        "path": (str, Field(min_length=1, max_length=1000)),  # relative to the manifest's folder
        "class": (Literal[tuple(BOUNDS_M)], ...),
        "licence": (str, Field(min_length=1, max_length=200, pattern=r"\S")),  # SPDX where there is one
        "length_m": (float, Field(gt=0, allow_inf_nan=False)),
        "forward": (Axis, ...),  # the axis of the file, as written in it, that the nose points along
        "up": (Axis, "+y"),  # the one that points to the sky: +y by glTF's rule
    },
)


@dataclass(frozen=True, slots=True)
class Asset:
    """A model that was read and found fit. path: absolute; name: as the manifest has it; sizes in metres
    after scaling to length_m; hull: corners in our local frame (m) whose convex hull is the model's, but for 2 %;
    files: (path below the manifest's folder, sha256) of all that it is made of."""

    path: Path
    name: str
    kind: str
    licence: str
    length_m: float
    width_m: float
    height_m: float
    forward: str
    up: str
    triangles: int
    hull: tuple[tuple[float, float, float], ...]
    files: tuple[tuple[str, str], ...]

    def spec(self) -> dict[str, Any]:
        """The entry of a scene's "assets"."""
        return {
            "path": str(self.path), "class": self.kind, "length_m": round(self.length_m, 3),
            "width_m": round(self.width_m, 3), "height_m": round(self.height_m, 3),
            "forward": self.forward, "up": self.up, "hull": [list(point) for point in self.hull],
        }  # fmt: skip


def read_manifest(path: str | Path) -> list[Asset]:
    """The assets in the order of the manifest.

    Raises UserError for a manifest that is not there or not one, and for the first model that is not fit:
    absent, outside the manifest's folder, of another format, broken, without faces, too large, not finite,
    or of sizes that no vehicle of its class has.
    """
    path = Path(path)
    found = []
    for number, row in enumerate(_rows(path), 1):
        if not isinstance(row, dict):
            raise UserError(
                f"{path}: asset {number} is not a group of keys",
                f"it is {type(row).__name__}: {str(row)[:80]!r}",
                "write `- path: …` with class, licence, length_m and forward below it",
            )
        entry = build(AssetEntry, row, f"{path}: asset {number}")
        try:
            found.append(_asset(path.parent, entry))
        except ModelError as error:
            raise UserError(f"{path}: asset {number} ({entry.path})", error.why, error.do) from None
        except OSError as error:
            raise UserError(
                f"{path}: asset {number} ({entry.path})",
                f"it cannot be read: {error}",
                "check who may read it",
            ) from None
    return found


def asset_digest(path: str | Path) -> str:
    """sha256 over what the manifest says and every file that its models are made of, wherever they lie.

    Raises UserError as ``read_manifest`` does.
    """
    rows = [
        [a.name, a.kind, a.licence, a.length_m, a.forward, a.up, sorted(a.files)] for a in read_manifest(path)
    ]
    return sha256_json(rows)


def _rows(path: Path) -> list[Any]:
    if not path.is_file():
        why = "it is a folder" if path.is_dir() else "there is no such file"
        raise UserError(
            f"no assets manifest {path}", why, "name the YAML file in assets, or leave the key out"
        )
    if path.stat().st_size > MANIFEST_BYTES:
        raise UserError(
            f"{path}: not an assets manifest",
            f"it has {path.stat().st_size / 1e6:.1f} MB; at most {MANIFEST_BYTES / 1e6:.0f} MB are read",
            "name the YAML list, not a model",
        )
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8
        raise UserError(f"{path}: not YAML", str(error).replace("\n", " ")[:200], "mend the file") from None
    if not isinstance(rows, list) or not 0 < len(rows) <= ENTRIES:
        held = f"a list of {len(rows)}" if isinstance(rows, list) else type(rows).__name__
        raise UserError(
            f"{path}: not an assets manifest",
            f"it holds {held}; it must be a list of 1 to {ENTRIES} models",
            "write `- path: …` with class, licence, length_m and forward below it",
        )
    return rows


def _asset(folder: Path, entry: Any) -> Asset:
    name, kind = entry.path, getattr(entry, "class")
    try:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(name)
        path = inside(folder, name)  # follows links
    except (ValueError, RuntimeError):  # RuntimeError: links that go round in a circle
        raise ModelError(
            "its path leads out of the manifest's folder",
            "put the model below the manifest, and write its path relative to it, without ..",
        ) from None
    if not path.is_file():
        raise ModelError("there is no such file", "check its path: it is relative to the manifest's folder")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ModelError(
            f"{path.suffix or 'a file without an ending'} is not read; {', '.join(READERS)} are",
            "export it as glTF 2.0 (.glb holds all in one file)",
        )
    if entry.forward[1] == entry.up[1]:
        raise ModelError(
            f"forward {entry.forward} and up {entry.up} lie along one axis",
            "name the file's own axes; a file whose z points to the sky says up: +z",
        )
    model = reader(ModelFiles(path))
    points = _local(model, entry, kind)
    width, _, height = np.ptp(points, axis=0).tolist()
    root = folder.resolve()
    files = tuple((file.relative_to(root).as_posix(), sha256_file(file)) for file in model.files)
    return Asset(
        path, name, kind, entry.licence.strip(), entry.length_m, width, height, entry.forward, entry.up,
        model.triangles, _hull(points), files,
    )  # fmt: skip


def _local(model: Model, entry: Any, kind: str) -> np.ndarray:
    """(n, 3) metres: x right, y forward, z up, the origin on the ground under the middle, as long as told."""
    forward, up = np.array(AXES[entry.forward]), np.array(AXES[entry.up])
    points = model.points @ np.array([np.cross(forward, up), forward, up]).T
    low, high = points.min(axis=0), points.max(axis=0)
    across, along, above = high - low
    if min(high - low) <= 1e-6 * max(high - low):
        raise ModelError(
            f"its bounds are {along:g} x {across:g} x {above:g} (length, width, height, file units): it is flat",
            "export the body as a mesh with volume, and its transforms with it",
        )
    away = float(np.abs(points).max() / max(high - low))
    if away > LENGTHS_AWAY:
        raise ModelError(
            f"it lies {away:,.0f} of its lengths from its file's origin: single precision would blur it",
            "move it to the origin and export it again",
        )
    scale = entry.length_m / along
    sizes = (entry.length_m, across * scale, above * scale)
    for what, size, (least, most) in zip(("long", "wide", "high"), sizes, BOUNDS_M[kind], strict=True):
        if not least <= size <= most:
            raise ModelError(
                "it would be {:.2f} m long, {:.2f} wide and {:.2f} high".format(*sizes)
                + f"; a {kind} is {least:g} to {most:g} m {what}",
                "check class, length_m, forward and up"
                f" (the file's extent is {along:g} forward, {across:g} across, {above:g} up)",
            )
    return (points - ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2])) * scale


def _hull(points: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    """The outermost points in HULL_DIRECTIONS evenly spread directions and along the axes, to a millimetre."""
    k = np.arange(HULL_DIRECTIONS)
    z, turn = 1 - (2 * k + 1) / HULL_DIRECTIONS, k * np.pi * (3 - 5**0.5)  # a Fibonacci sphere
    r = np.sqrt(1 - z * z)
    directions = [*np.stack([r * np.cos(turn), r * np.sin(turn), z], axis=1), *np.eye(3), *-np.eye(3)]
    cube = points / np.ptp(points, axis=0)  # else a long body's ends would get few of the directions
    outermost = points[sorted({int((cube @ direction).argmax()) for direction in directions})]
    return tuple(sorted({tuple(point) for point in np.round(outermost, 3).tolist()}))
