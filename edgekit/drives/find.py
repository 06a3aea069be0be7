"""Which files of a folder are a drive's, and what a drive is called that does not say it itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from edgekit.core.errors import UserError
from edgekit.core.run import BESIDE, FILMS, beside_film, films_in

BAGS = {".mcap"}
VIDEOS = FILMS - BAGS
IMAGES = {".jpg", ".jpeg", ".png"}
FOREIGN_FPS = 10.0  # of a folder of frames that says nothing; mine notes that it was taken
TELEMETRY = tuple(name for name in BESIDE if name.startswith("telemetry."))
MAP = "map.csv"
# What a recorder calls each of its films: no drive is told from another by it.
PLAIN = {"video", "camera", "front", "dashcam", "recording", "movie", "fcamera", "qcamera"}


def images_of(folder: Path) -> list[Path]:
    """Its images, but for hidden ones (macOS's ``._1.jpg``)."""
    return _counted_up(
        p
        for p in folder.iterdir()
        if p.suffix.lower() in IMAGES and not p.name.startswith(".") and p.is_file()
    )


def films_of(folder: Path) -> list[Path]:
    """Videos and MCAP files with a camera in them; telemetry.mcap is told apart by its name."""
    return _counted_up(films_in(folder))


def pictures_of(folder: Path) -> tuple[list[Path], list[Path]]:
    """(images, films) of a folder without drive.json. Raises UserError where it holds both."""
    frames = folder / "frames"
    files, films = images_of(frames) if frames.is_dir() else images_of(folder), films_of(folder)
    if files and films:
        raise UserError(
            f"{folder}: images and videos in one folder",
            f"{len(files)} images, first {files[0].name}, and {len(films)} videos, first {films[0].name}",
            "keep one kind, or name the videos one by one",
        )
    return files, films


def telemetry_of(folder: Path, film: Path | None = None, alone: bool = True) -> Path | None:
    """The telemetry beside a drive's frames: telemetry.*, or what is named as a film is (clip.csv, clip.parquet).

    alone: whether the folder holds no other film; else telemetry.* is nobody's. Raises UserError where there
    are two.
    """
    own = [p for p in beside_film(film) if p.name != MAP] if film else []
    found = [path for path in [folder / name for name in TELEMETRY if alone] + own if path.is_file()]
    found = list(dict.fromkeys(found))
    if len(found) > 1:
        raise UserError(
            f"{folder}: two records of one drive",
            ", ".join(path.name for path in found),
            "keep the one that is right",
        )
    return found[0] if found else None


def nobodys(film: Path) -> list[str]:
    """Notes on what stands beside several films, and is read for none of them."""
    names = [name for name in (*TELEMETRY, MAP) if (film.parent / name).is_file()]
    cure = f"give each film a folder of its own, or its telemetry the name {film.stem}.csv"
    return [f"{' and '.join(names)} beside several films: read for none; {cure}"] if names else []


def check_numbers(path: Path, files: list[Path]) -> None:
    """A gap in 000000.jpg, 000001.jpg … would shift every time after it."""
    for number, file in enumerate(files):
        if file.stem != f"{number:06d}":
            raise UserError(
                f"{path}: frame {number:06d} is missing",
                f"{file.name} stands in its place; there are {len(files)} files",
                "number the frames 000000, 000001 … without a gap",
            )


def name_of(path: Path) -> str:
    """A drive's id out of a file name: letters, digits, dot, dash, underscore."""
    return clean(path.resolve().stem)


def name_of_film(film: Path, alone: bool) -> str:
    """A film's drive is called after the film; one that stands alone in its folder under a name of ``PLAIN``
    (trip_a/video.mp4, trip_b/video.mp4) after the folder."""
    plain = alone and film.stem.lower() in PLAIN
    return clean(film.parent.resolve().name) if plain else name_of(film)


def clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "drive"


def _counted_up(found: Iterable[Path]) -> list[Path]:
    """In the order in which people count: frame2 before frame10."""
    return sorted(found, key=lambda p: (_counted(p.name), p.name))


def _counted(name: str) -> list[str | int]:
    """``frame10.jpg`` -> ["frame", 10, ".jpg"]: text and numbers in turn."""
    return [int(part) if n % 2 else part for n, part in enumerate(re.split(r"([0-9]+)", name))]
