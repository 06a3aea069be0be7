"""Reading a drive, its own kind or a stranger's: frames, times, speeds, truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from edgekit.core.errors import UserError
from edgekit.core.files import inside, nearby
from edgekit.drives.arrays import frame_times, holds_arrays, read_arrays
from edgekit.drives.clocks import against, check_seconds, leaps
from edgekit.drives.config import Reading
from edgekit.drives.find import (
    BAGS,
    FOREIGN_FPS,
    MAP,
    TELEMETRY,
    VIDEOS,
    check_numbers,
    clean,
    films_of,
    images_of,
    name_of,
    name_of_film,
    nobodys,
    pictures_of,
    telemetry_of,
)
from edgekit.drives.footage import Footage, Load, stills
from edgekit.drives.info import CameraInfo, DriveInfo, read_info
from edgekit.drives.places import Places, Words, reached, read_places
from edgekit.drives.plausible import check
from edgekit.drives.telemetry import Record, Telemetry, read_telemetry
from edgekit.drives.truth import FrameTruth, read_truth

Closed = tuple[Path, UserError | OSError]  # where a drive lies that does not open, and why


class Drive:
    """An opened drive. ``foreign`` = it came without a drive.json. video, files: where its frames are,
    if they are a video or stills; an MCAP drive has neither.

    footage, record: how its frames and its telemetry are opened, each at most once, when asked for. places:
    the folder in which a map.csv may stand, where one is the drive's.
    """

    def __init__(
        self,
        root: Path,
        info: DriveInfo,
        footage: Callable[[], Footage],
        record: Callable[[], Record | None],
        *,
        video: Path | None = None,
        files: list[Path] | None = None,
        places: Path | None = None,
        foreign: bool = False,
        reading: Reading | None = None,
    ):
        self._open_footage, self._open_record, self._reading = footage, record, reading or Reading()
        tags = tuple(dict.fromkeys([*info.tags, *self._reading.tags]))
        self.info = info.model_copy(update={"tags": tags})
        self.root, self.video, self.files, self.foreign = root, video, files or [], foreign
        self._places = places

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def scene(self) -> str:
        """What must stay on one side of a split: the scene, or the drive itself."""
        return self.info.scene or self.info.id

    @cached_property
    def footage(self) -> Footage:
        return self._open_footage()

    def __len__(self) -> int:
        return len(self.footage.times_s)

    @property
    def times_s(self) -> np.ndarray:
        """Presentation times in seconds, float64 (n,), strictly rising from 0 at the first frame."""
        return self.footage.times_s

    def frames(self, start: int = 0) -> Iterator[np.ndarray]:
        """Frames from ``start`` on, RGB uint8 (H, W, 3)."""
        return (load() for load in self.loads(start))

    def loads(self, start: int = 0) -> Iterator[Load]:
        """One function per frame from ``start`` on that gives it, RGB uint8 (H, W, 3); a frame that is
        not wanted is not called for, and costs no more than the next one needs."""
        return self.footage.loads(start)

    @cached_property
    def telemetry(self) -> Telemetry | None:
        """What was measured, at the frames' times; None where nothing was. Raises UserError for a record
        that cannot be read or is not plausible."""
        return self._measured[0]

    def map_words(self) -> list[Words]:
        """What a map says of the place at each frame (``("roundabout",)``), () where nothing is known.

        Raises UserError for a map.csv that cannot be read, and as ``telemetry``, whose clock it keeps.
        """
        places = self._measured[1]
        return places.at(self.times_s) if places else [()] * len(self)

    @cached_property
    def _measured(self) -> tuple[Telemetry | None, Places | None, list[str]]:
        """(telemetry, a map's words, both in the frames' clock; notes on them)"""
        record = self._open_record()
        if record is None:
            return None, *self._mapped(self._reading.offset_s or 0.0)
        notes, start_s = list(record.notes), self._reading.offset_s
        if start_s is None:
            start_s = record.start_s
        if start_s is None:
            start_s = min((float(series.t_s[0]) for series in record.series.values()), default=0.0)
            notes.append(f"{record.source}: its first row is taken to be at the first frame")
        try:
            check_seconds(self.times_s, record, self._reading.gap_s)
            notes += check(record, self._reading.plausible)
        except UserError as error:
            raise UserError(f"drive {self.id}: {error.what}", error.why, error.do) from None
        for quantity, series in record.series.items():
            notes += leaps(series.t_s - start_s, f"{quantity} of {record.source}")
        notes += against(self.times_s, record, start_s)
        at = record.at(self.times_s + start_s, self._reading)
        places, more = self._mapped(start_s)
        self._open_record = lambda: None  # a long record is large, and what is cached here is enough
        return replace(at, t_s=self.times_s), places, list(dict.fromkeys([*notes, *more]))

    def _mapped(self, start_s: float) -> tuple[Places | None, list[str]]:
        """(a map's words, notes); start_s: what its clock shows at the first frame."""
        path = self._places and self._places / MAP
        if path is None or not path.is_file():
            return None, []
        places = read_places(path)
        places = places._replace(t_s=places.t_s - start_s)
        return places, reached(places, self.times_s, MAP)

    @property
    def notes(self) -> list[str]:
        """What the reader assumed, mended or left out, in sentences; opens frames and telemetry."""
        return [*self.footage.notes, *leaps(self.times_s, "the frames"), *self._measured[2]]

    @property
    def in_time(self) -> bool:
        """Whether anything says that the frames follow one another: a drive.json, a video, telemetry, or
        ``reading.fps``. A folder of pictures alone may hold unrelated stills."""
        told = not self.foreign or not self.files or self._reading.fps is not None
        return told or self.telemetry is not None

    def speeds_mps(self) -> list[float | None]:
        """The measured speed at each frame, None where there is none."""
        if self.telemetry is None:
            return [None] * len(self)
        return [float(v) if np.isfinite(v) else None for v in self.telemetry.speed_mps]

    def truth(self) -> dict[int, FrameTruth] | None:
        """Truth by frame number, None where the drive has none."""
        path = self.root / "truth.jsonl"
        return read_truth(path) if self.root.is_dir() and path.is_file() else None


class DriveSet:
    """The drives below ``<root>/drives/<id>/``, or ``<root>/<id>/`` with a drive.json or arrays, in order
    of their ids.

    Raises UserError where there are none.
    """

    def __init__(self, root: str | Path, reading: Reading | None = None):
        self.root, self.reading = Path(root), reading
        folder = self.root / "drives" if (self.root / "drives").is_dir() else self.root
        if folder == self.root and not _holds_drives(folder):
            raise UserError(
                f"{root}: no drives in it",
                "there is no folder drives/, and neither drive.json nor arrays in the folders below",
                "name a run of render, or a folder of drives",
            )
        # A clip beside the drives' folders would be left out without a word.
        loose = images_of(folder) + films_of(folder)
        if loose:
            raise UserError(
                f"{folder}: files stand beside the drives",
                f"{len(loose)} of them, first {loose[0].name}",
                "name them as drives of their own",
            )
        self.folders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        if not self.folders:
            raise UserError(
                f"{root}: no drives in it",
                f"the folder {folder.name}/ is empty",
                "name a folder that holds drives",
            )

    def __len__(self) -> int:
        return len(self.folders)

    def __iter__(self) -> Iterator[Drive]:
        return (open_drive(folder, self.reading) for folder in self.folders)


def open_drives(
    path: str | Path, reading: Reading | None = None, closed: list[Closed] | None = None
) -> list[Drive]:
    """All drives at ``path``: a DriveSet, one drive, a video or an MCAP file, a folder of frames, of
    videos or of MCAP files; or a folder that holds nothing but a folder a drive.

    closed: takes up the drives that do not open, each with why, and the others are opened; without it the
    first of them raises as ``open_drive`` does. Raises UserError where there are none, too.
    """
    found = []
    for place in places_of(path):
        try:
            found.append(open_drive(place, reading))
        except (UserError, OSError) as error:
            if closed is None:
                raise
            closed.append((place, error))
    return found


def places_of(path: str | Path) -> list[Path]:
    """Where the drives at ``path`` lie, none of them opened: each is for ``open_drive``, which says of a
    folder that holds none why. Raises UserError for a DriveSet that is none."""
    path = Path(path)
    if not path.is_dir() or (path / "drive.json").is_file() or holds_arrays(path):
        return [path]
    if (path / "drives").is_dir() or _holds_drives(path):
        return DriveSet(path).folders
    try:
        files, films = pictures_of(path)
    except UserError:
        return [path]
    if len(films) > 1:
        return films
    below = sorted(p for p in path.iterdir() if p.is_dir() and p.name[0] != ".")
    if below and not files and not films:
        return [place for folder in below for place in places_of(folder)]
    return [path]


def open_drive(path: str | Path, reading: Reading | None = None) -> Drive:
    """One drive: a Drive directory, or a foreign video, MCAP file, folder of frames or of arrays.

    Raises UserError where there are no frames, or where what stands there is malformed.
    """
    path, reading = Path(path), reading or Reading()
    if path.is_file():
        if path.suffix.lower() not in VIDEOS | BAGS:
            raise UserError(
                f"{path}: not a drive",
                f"a video ends in {', '.join(sorted(VIDEOS))}, a recording in {', '.join(BAGS)}",
                "check the path",
            )
        return _film(path, path, reading)
    if not path.is_dir():
        raise UserError(f"{path}: no such drive", "nothing is there", f"check the path: {nearby(path)}")
    if (path / "drive.json").is_file():
        return _own(path, reading)
    if holds_arrays(path):
        return _arrays(path, reading)
    files, films = pictures_of(path)
    if files:
        info = DriveInfo(id=name_of(path), fps=reading.fps or FOREIGN_FPS, source=path.name)
        return Drive(
            path, info, lambda: stills(files, info.fps), lambda: _beside(path, reading),
            files=files, places=path, foreign=True, reading=reading,
        )  # fmt: skip
    if len(films) == 1:
        return _film(path, films[0], reading)
    raise UserError(
        f"{path}: not a drive",
        f"no drive.json, no images, {len(films)} videos",
        "name one video or one folder",
    )


def _own(path: Path, reading: Reading) -> Drive:
    """A Drive directory."""
    info = read_info(path / "drive.json")
    frames, films = path / "frames", [p for p in films_of(path) if p.suffix.lower() in VIDEOS]
    files = images_of(frames) if frames.is_dir() else []
    if files:
        check_numbers(path, files)
        return Drive(
            path, info, lambda: stills(files, info.fps), lambda: _beside(path, reading),
            files=files, places=path, reading=reading,
        )  # fmt: skip
    film = films[0] if len(films) == 1 else path / "video.mp4"
    if not film.is_file():
        raise UserError(
            f"{path}: a drive without frames",
            f"no frames/000000.jpg …, no video.mp4, and {len(films)} videos of other names",
            "copy the frames or one video in",
        )
    try:
        video = inside(path, film.name)
    except ValueError as error:
        raise UserError(f"{film}: a link that leads out", str(error), "copy the video in") from None
    return Drive(
        path, info, lambda: _at_rate(video, info.fps), lambda: _beside(path, reading, film),
        video=video, places=path, reading=reading,
    )  # fmt: skip


def _at_rate(video: Path, fps: float) -> Footage:
    """A drive's own video: frame numbers over ``fps``, but for a video whose times say otherwise."""
    from edgekit.drives.video import footage

    found = footage(video)
    even = np.arange(len(found.times_s)) / fps
    if np.abs(found.times_s - even).max() <= 0.5 / fps:
        return replace(found, times_s=even, fps=fps)
    note = f"{video.name} does not keep the {fps:g} frames per second of drive.json: its own times are taken"
    return replace(found, notes=(*found.notes, note))


def _film(root: Path, film: Path, reading: Reading) -> Drive:
    """A foreign video or MCAP file; root: the file itself, or the folder that it is alone in."""
    if film.suffix.lower() in BAGS:
        footage, record = _bags(film).read_bag(film, reading)
    else:
        from edgekit.drives import video

        footage, record = video.footage(film, reading.fps), None
    folder = film.parent
    # Parts of one ROS 2 recording are one scene.
    scene = clean(folder.resolve().name) if (folder / "metadata.yaml").is_file() else None
    alone = root.is_dir() or films_of(folder) == [film]
    if not alone:
        footage = replace(footage, notes=(*footage.notes, *nobodys(film)))
    bag = film.suffix.lower() in BAGS
    drive = Drive(
        root, _info(name_of_film(film, alone), film, footage, scene), lambda: footage,
        lambda: record or _beside(folder, reading, film, alone),
        video=None if bag else film, places=folder if alone else None, foreign=True, reading=reading,
    )  # fmt: skip
    if bag:
        _ = drive.telemetry
    return drive


def _arrays(path: Path, reading: Reading) -> Drive:
    """A folder of arrays with one video; a segment, named by a number, is of the scene it is cut from."""
    from edgekit.drives.video import footage

    films = films_of(path)
    if len(films) != 1:
        raise UserError(f"{path}: arrays and {len(films)} videos", "a drive has one", "keep one video")
    found = footage(films[0], reading.fps, frame_times(path))
    place = path.resolve()
    whole = clean(place.parent.name) if place.name.isdigit() else None
    name = f"{whole}-{place.name}" if whole else clean(place.name)
    return Drive(
        path, _info(name, films[0], found, whole), lambda: found, lambda: read_arrays(path),
        video=films[0], places=path, foreign=True, reading=reading,
    )  # fmt: skip


def _info(name: str, film: Path, footage: Footage, scene: str | None) -> DriveInfo:
    width, height = footage.size or (None, None)
    camera = CameraInfo(width=width, height=height)
    return DriveInfo(id=name, fps=footage.fps, source=film.name, camera=camera, scene=scene)


def _beside(folder: Path, reading: Reading, film: Path | None = None, alone: bool = True) -> Record | None:
    """The telemetry that stands beside a drive's frames, as ``telemetry_of`` finds it."""
    path = telemetry_of(folder, film, alone)
    if path is None:
        return None
    if path.suffix in BAGS:
        return _bags(path).read_motion(path, reading)
    try:
        return read_telemetry(path).record(path.name)
    except UserError as error:
        if path.name in TELEMETRY:
            raise
        raise UserError(error.what, error.why, f"{error.do}; or rename it if it is no telemetry") from None


def _bags(path: Path):
    """The module that reads MCAP. Raises UserError where its libraries are missing."""
    try:
        from edgekit.drives import bag
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path}: MCAP is not read here", f"{error.name} is not installed", "pip install 'edgekit[mcap]'"
        ) from None
    return bag


def _holds_drives(folder: Path) -> bool:
    return any(folder.glob("*/drive.json")) or any(holds_arrays(p) for p in folder.iterdir() if p.is_dir())
