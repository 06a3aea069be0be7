"""Reading a drive, its own kind or a stranger's: frames, times, speeds, truth."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from edgekit.core.errors import UserError
from edgekit.core.files import inside
from edgekit.drives.info import CameraInfo, DriveInfo, read_info
from edgekit.drives.telemetry import Telemetry, read_telemetry
from edgekit.drives.truth import FrameTruth, read_truth
from edgekit.engine.pixels import read_image

VIDEOS = {".mp4", ".mkv", ".mov", ".avi", ".webm"}
IMAGES = {".jpg", ".jpeg", ".png"}
FOREIGN_FPS = 10.0  # of a folder of frames that says nothing; mine notes that it was taken


class Drive:
    """An opened drive. ``frames()`` decodes on demand; ``foreign`` = it came without a drive.json."""

    def __init__(self, root: Path, info: DriveInfo, video: Path | None, files: list[Path], foreign: bool):
        self.root, self.info, self.video, self.files, self.foreign = root, info, video, files, foreign

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def scene(self) -> str:
        """What must stay on one side of a split: the scene, or the drive itself."""
        return self.info.scene or self.info.id

    @cached_property
    def _count(self) -> int:
        if self.video:
            from edgekit.drives.video import probe

            return probe(self.video)[0]
        return len(self.files)

    def __len__(self) -> int:
        return self._count

    @property
    def times_s(self) -> np.ndarray:
        """Frame times in seconds, (n,): the frame number over the frames per second."""
        return np.arange(len(self)) / self.info.fps

    def frames(self, start: int = 0) -> Iterator[np.ndarray]:
        """Frames from ``start`` on, RGB uint8 (H, W, 3)."""
        if self.video:
            from edgekit.drives.video import decode

            yield from decode(self.video, start)
        else:
            for path in self.files[start:]:
                yield read_image(path)

    @cached_property
    def telemetry(self) -> Telemetry | None:
        """What was measured, at the frames' times; None where nothing was."""
        folder = self.root if self.root.is_dir() else self.root.parent
        path = folder / "telemetry.csv"
        if not path.is_file() or (self.foreign and self.root.is_file() and _videos(folder) != [self.root]):
            return None
        return read_telemetry(path).at(self.times_s)

    @property
    def in_time(self) -> bool:
        """Whether anything says that the frames follow one another: a drive.json, a video, telemetry.

        A folder of pictures alone may hold unrelated stills.
        """
        return not self.foreign or self.video is not None or self.telemetry is not None

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
    """The drives below ``<root>/drives/<id>/``, or ``<root>/<id>/drive.json``, in order of their ids.

    Raises UserError where there are none.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        folder = self.root / "drives" if (self.root / "drives").is_dir() else self.root
        if folder == self.root and not _holds_drives(folder):
            raise UserError(
                f"{root}: no drives in it",
                "there is no folder drives/, and no drive.json in the folders below",
                "name a run of render, or a folder of drives",
            )
        # A clip beside the drives' folders would be left out without a word.
        loose = _images(folder) + _videos(folder)
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
        return (open_drive(folder) for folder in self.folders)


def open_drives(path: str | Path) -> list[Drive]:
    """All drives at ``path``: a DriveSet, one drive, a video, a folder of frames or of videos.

    Raises UserError where there are none, as ``open_drive`` does.
    """
    path = Path(path)
    if not path.is_dir() or (path / "drive.json").is_file():
        return [open_drive(path)]
    if (path / "drives").is_dir() or _holds_drives(path):
        return list(DriveSet(path))
    _, videos = _foreign_files(path)
    return [open_drive(video) for video in videos] if len(videos) > 1 else [open_drive(path)]


def open_drive(path: str | Path) -> Drive:
    """One drive: a Drive directory, or a foreign video file or folder of frames.

    Raises UserError where there are no frames, or where what stands there is malformed.
    """
    path = Path(path)
    if path.is_file():
        if path.suffix.lower() not in VIDEOS:
            raise UserError(
                f"{path}: not a drive", f"a video ends in {', '.join(sorted(VIDEOS))}", "check the path"
            )
        return _foreign_video(path, path)
    if not path.is_dir():
        raise UserError(f"{path}: no such drive", "nothing is there", "check the path")
    frames = path / "frames"
    own = path / "drive.json"
    if own.is_file():
        info = read_info(own)
        files = _images(frames) if frames.is_dir() else []
        video = path / "video.mp4"
        if files:
            _check_numbers(path, files)
            return Drive(path, info, None, files, False)
        if video.is_file():
            try:
                return Drive(path, info, inside(path, "video.mp4"), [], False)
            except ValueError as error:
                raise UserError(f"{video}: a link that leads out", str(error), "copy the video in") from None
        raise UserError(f"{path}: a drive without frames", "no frames/*.jpg and no video.mp4", "copy them in")
    files, videos = _foreign_files(path)
    if files:
        info = DriveInfo(id=_name(path), fps=FOREIGN_FPS, source=path.name)
        return Drive(path, info, None, files, True)
    if len(videos) == 1:
        return _foreign_video(path, videos[0])
    raise UserError(
        f"{path}: not a drive",
        f"no drive.json, no images, {len(videos)} videos",
        "name one video or one folder",
    )


def _foreign_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """(images, videos) of a folder without drive.json. Raises UserError where it holds both."""
    frames = folder / "frames"
    files, videos = _images(frames) if frames.is_dir() else _images(folder), _videos(folder)
    if files and videos:
        raise UserError(
            f"{folder}: images and videos in one folder",
            f"{len(files)} images, first {files[0].name}, and {len(videos)} videos, first {videos[0].name}",
            "keep one kind, or name the videos one by one",
        )
    return files, videos


def _foreign_video(root: Path, video: Path) -> Drive:
    from edgekit.drives.video import probe

    _, fps, width, height = probe(video)
    info = DriveInfo(
        id=_name(video), fps=fps, source=video.name, camera=CameraInfo(width=width, height=height)
    )
    return Drive(root, info, video, [], True)


def _check_numbers(path: Path, files: list[Path]) -> None:
    """A gap in 000000.jpg, 000001.jpg … would shift every time after it."""
    for number, file in enumerate(files):
        if file.stem != f"{number:06d}":
            raise UserError(
                f"{path}: frame {number:06d} is missing",
                f"{file.name} stands in its place; there are {len(files)} files",
                "number the frames 000000, 000001 … without a gap",
            )


def _holds_drives(folder: Path) -> bool:
    return any(folder.glob("*/drive.json"))


def _images(folder: Path) -> list[Path]:
    return _of_kind(folder, IMAGES)


def _videos(folder: Path) -> list[Path]:
    return _of_kind(folder, VIDEOS)


def _of_kind(folder: Path, endings: set[str]) -> list[Path]:
    """In the order in which people count: frame2 before frame10."""
    found = [p for p in folder.iterdir() if p.suffix.lower() in endings and p.is_file()]
    return sorted(found, key=lambda p: (_counted(p.name), p.name))


def _counted(name: str) -> list[str | int]:
    """``frame10.jpg`` -> ["frame", 10, ".jpg"]: text and numbers in turn."""
    return [int(part) if n % 2 else part for n, part in enumerate(re.split(r"([0-9]+)", name))]


def _name(path: Path) -> str:
    """A drive's id out of a file name: letters, digits, dot, dash, underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().stem).strip("-._") or "drive"
