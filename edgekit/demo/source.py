"""Frames as a camera would give them: one after the other, some of them broken, never an exception."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.core.errors import UserError
from edgekit.drives import Drive, open_drives
from edgekit.drives.footage import Load
from edgekit.engine.pixels import MAX_PIXELS


@dataclass(frozen=True)
class Shot:
    """A frame that is not yet decoded.

    t_s: its capture on the drive's clock. ``load()`` gives RGB uint8 (H, W, 3), or None where the
    frame does not decode: it is skipped and logged, and the drive goes on.
    """

    frame: int
    t_s: float
    speed_mps: float | None
    load: Callable[[], np.ndarray | None]


def choose_drive(path: Path, drive_id: str | None) -> tuple[Drive, int]:
    """The drive to go through, and how many there were to choose from. Raises UserError."""
    drives = open_drives(path)
    if not drives:
        raise UserError(
            f"{path}: no drives in it", "the folder drives/ is empty", "name a run that holds drives"
        )
    if drive_id is None:
        chosen = drives[0]
    else:
        chosen = next((d for d in drives if d.id == drive_id), None)
        if chosen is None:
            raise UserError(
                f"demo: no drive {drive_id!r} in {path}",
                f"there are {len(drives)}: {', '.join(d.id for d in drives[:8])}",
                "set drive_id to one of them, or leave it out",
            )
    if len(chosen) == 0:
        raise UserError(
            f"demo: the drive {chosen.id} is empty", "it has 0 frames", "name a drive with frames"
        )
    return chosen, len(drives)


class Source:
    """The shots of one drive at ``fps`` (default: its own), at most ``max_frames``.

    loop: after the last frame the first comes again, without end; numbers and times go on rising, so a
    shot's frame in the drive is ``frame % count``.
    """

    def __init__(
        self, drive: Drive, fps: float | None = None, max_frames: int | None = None, loop: bool = False
    ):
        self.drive, self.loop = drive, loop
        self.fps = fps or drive.info.fps
        self.count = min(len(drive), max_frames or len(drive))
        self._speeds = drive.speeds_mps()

    @property
    def has_speed(self) -> bool:
        return any(speed is not None for speed in self._speeds)

    def __iter__(self) -> Iterator[Shot]:
        for lap in itertools.count() if self.loop else (0,):
            yield from self._lap(lap * self.count)

    def _lap(self, before: int = 0) -> Iterator[Shot]:
        loads = _video_loads(self.drive.video) if self.drive.video else map(_or_none, self.drive.loads())
        for frame, load in zip(range(self.count), loads, strict=False):
            # A container may claim fewer frames than it holds: the last measured speed stays.
            speed = self._speeds[min(frame, len(self._speeds) - 1)]
            yield Shot(before + frame, round((before + frame) / self.fps, 6), speed, load)

    def first(self) -> np.ndarray:
        """The first frame that decodes, RGB uint8 (H, W, 3). Raises UserError where none does."""
        for shot in self._lap():
            if (image := shot.load()) is not None:
                return image
        raise UserError(
            f"demo: no frame of {self.drive.id} decodes",
            f"{self.count} frames, all unreadable",
            "check the drive",
        )


def _or_none(decode: Load) -> Callable[[], np.ndarray | None]:
    def load() -> np.ndarray | None:
        try:
            return decode()
        except (UserError, ValueError, SyntaxError):  # Pillow raises the latter two on broken headers
            return None

    return load


def _video_loads(path: Path) -> Iterator[Callable[[], np.ndarray | None]]:
    """One ``load`` per frame; a packet that does not decode counts as one broken frame.

    Decoding is sequential (frames lean on one another); only the conversion to RGB is put off, so
    that a frame that is dropped does not cost it.
    """
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                yield lambda: None
                continue
            for frame in frames:
                yield lambda frame=frame: _rgb(frame)


def _rgb(frame) -> np.ndarray | None:
    if frame.width * frame.height > MAX_PIXELS:
        return None
    image = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(image, frame.rotation // 90))
