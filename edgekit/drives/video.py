"""Reading a video through PyAV: its presentation times without decoding, and its frames one by one."""

from __future__ import annotations

import io
from array import array
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from edgekit.core.errors import UserError
from edgekit.drives.footage import MAX_FPS, MAX_FRAMES, Footage, Load
from edgekit.engine.pixels import MAX_PIXELS

MOST_BOXES = 10_000  # of an MP4 that are looked at for its index: a fragmented one has some for each second


class Scan(NamedTuple):
    """What a video holds. times_s: float64 (n,), from 0 at the first frame that decodes.

    lost: about how many frames the header tells of that do not decode. timed: whether the stream
    carries presentation times; without them ``times_s`` is the frame number over ``fps``.
    closed: whether the header tells a length, which a recorder that was killed never writes.
    """

    times_s: np.ndarray
    fps: float
    width: int
    height: int
    lost: int = 0
    timed: bool = True
    closed: bool = True


def footage(path: Path, fps: float | None = None, taken_s: np.ndarray | None = None) -> Footage:
    """A video's frames at their true presentation times. Raises UserError as ``scan`` does.

    fps: of a stream without times (raw H.265), instead of what its reader guesses. taken_s: when each
    frame was taken, told beside the video, instead of its own times; a longer list ends with frames
    that the video lacks, a shorter one is refused.
    """
    found, notes = scan(path, fps), []
    times, count = found.times_s, len(found.times_s)
    if found.lost:
        notes.append(
            f"{path.name} is cut short or damaged: {count} frames decode and are kept, "
            f"about {found.lost} are lost"
        )
    if not found.closed:
        notes.append(f"{path.name} tells no length, as if its recorder was stopped: frames may be missing")
    if taken_s is not None:
        if len(taken_s) < count:
            raise UserError(
                f"{path}: more frames than times",
                f"{count} frames, and {len(taken_s)} times beside it",
                "mend the times, or take them away",
            )
        if len(taken_s) > count:
            notes.append(
                f"{path.name} has {count} frames for {len(taken_s)} times: the first {count} are taken"
            )
        times = taken_s[:count] - taken_s[0]
    elif not found.timed:
        why = "as set" if fps else "as its reader guesses (set reading.fps)"
        notes.append(f"{path.name} carries no presentation times: {found.fps:g} frames per second, {why}")
    patient = bool(found.lost) or not found.timed
    size, damaged = (found.width, found.height), set()
    opened = partial(loads, path, patient=patient, damaged=damaged)
    return Footage(times, found.fps, opened, size, tuple(notes), damaged)


def scan(path: str | Path, fps: float | None = None) -> Scan:
    """Counts the frames and reads their times. Raises UserError for what cannot be opened or holds none.

    The file is read through once without decoding: the number in its header also counts what an edit
    list cuts off, which no decoder shows. Only a file with a packet cut short, or without times, is
    decoded to see what it still holds.
    """
    with _open(path) as container:
        stream = container.streams.video[0]
        tick, told = stream.time_base, float(stream.average_rate or stream.guessed_rate or 0)
        width, height = stream.codec_context.width, stream.codec_context.height
        pts, packets, shown, torn = array("q"), 0, 0, False
        try:
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                packets += 1
                torn |= packet.is_corrupt
                if packet.is_discard:
                    continue
                shown += 1
                if packet.pts is not None:
                    pts.append(packet.pts)
                if shown > MAX_FRAMES:
                    break
        except (av.error.FFmpegError, OSError) as error:
            if not packets:
                raise UserError(f"{path}: the video does not read", str(error), "check the file") from None
            torn = True
        if shown > MAX_FRAMES or width * height > MAX_PIXELS:
            raise UserError(
                f"{path}: the video is too large",
                f"{shown} frames of {width}×{height}; at most {MAX_FRAMES} frames of {MAX_PIXELS} pixels",
                "cut it in parts, or scale it down",
            )
        timed, length = bool(pts) and len(pts) == shown, _length_s(container, stream)
        missing = max(stream.frames - packets, 0)
        if timed and length and not stream.frames:
            missing = _missing(length - float(min(pts) * tick), _seconds(pts, tick))  # it counts from 0
        closed = bool(stream.frames or length) or not timed
    count = shown
    if shown and (torn or not timed):
        pts, count = _decodes(path)
        timed = timed and len(pts) == count
    times = _seconds(pts, tick) if timed else None
    rate = _rate(told, times) if timed and not fps else fps or told
    if not count or not 0 < rate <= MAX_FPS:
        why = f"{shown} frames at {rate:g} per second, {count} of them decode"
        raise UserError(f"{path}: no frames", why, "check the file")
    times = np.arange(count) / rate if times is None else times
    return Scan(times, rate, width, height, max(shown + missing - len(times), 0), timed, closed)


def _seconds(pts: array, tick: Fraction) -> np.ndarray:
    """From 0 at the first frame, in order of presentation; a repeated time once, as when decoding."""
    ticks = np.unique(np.array(pts))
    return (ticks - ticks[:1]) * tick.numerator / tick.denominator


def _rate(told: float, times_s: np.ndarray) -> float:
    """Frames per second as the header tells, or one over the usual step where the two are more than a
    twentieth apart: of a variable rate, Matroska tells the shortest step, MP4 the mean over any leap."""
    if len(times_s) < 2:
        return told
    usual = 1 / float(np.median(np.diff(times_s)))
    return told if abs(told - usual) <= 0.05 * usual else usual


def _length_s(container, stream) -> float | None:
    """How long the header says the stream runs, None where it does not."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    try:  # Matroska's own tag, 00:01:02.500000000
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except (KeyError, ValueError):
        alone = len(container.streams) == 1  # else another stream may be the longer one
        return container.duration / av.time_base if alone and container.duration else None


def _missing(length_s: float, times_s: np.ndarray) -> int:
    """How many frames fit between the last one and the end that the header tells of.

    The last one may be shown as long as any other; headers round to a thousandth of a second.
    """
    if len(times_s) < 2:
        return 0
    steps = np.diff(times_s)
    return max(int((length_s - times_s[-1] - min(steps.max(), 1.0)) / steps.mean() + 0.2), 0)


def _decodes(path: str | Path) -> tuple[array, int]:
    """(presentation times in ticks, number) of the frames that decode."""
    pts, count = array("q"), 0
    for frame in _frames(path, patient=True):
        count += 1
        if frame.pts is not None:
            pts.append(frame.pts)
    return pts, count


def loads(
    path: str | Path, start: int = 0, patient: bool = False, damaged: set[int] | None = None
) -> Iterator[Load]:
    """One ``Load`` per frame from number ``start`` on; frames lean on one another, so that all before
    one are decoded, and only the turn into RGB is put off.

    patient: frames that do not decode are left out, as ``scan`` counts them; else they raise UserError.
    damaged: takes the numbers of frames that decode in part.
    """
    for number, frame in enumerate(_frames(path, patient)):
        if frame.is_corrupt and damaged is not None:
            damaged.add(number)
        if number >= start:
            yield partial(_rgb, frame)


def decode(path: str | Path, start: int = 0, patient: bool = False) -> Iterator[np.ndarray]:
    """Frames from number ``start`` on, RGB uint8 (H, W, 3), turned upright as the container says."""
    return (load() for load in loads(path, start, patient))


def _frames(path: str | Path, patient: bool) -> Iterator[av.VideoFrame]:
    last, bad, count = None, None, 0
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"
        packets = container.demux(stream)
        while True:
            packet = None
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except (av.error.FFmpegError, OSError) as error:
                if not patient:
                    raise UserError(
                        f"{path}: the video does not decode", f"frame {count}: {error}", "check the file"
                    ) from None
                if packet is None:  # the container itself ends here
                    return
                bad = packet.pts if packet.pts is not None else -(1 << 62)
                continue
            for frame in frames:
                if count >= MAX_FRAMES or frame.width * frame.height > MAX_PIXELS:
                    raise UserError(
                        f"{path}: the video grew too large while decoding",
                        f"frame {count} is {frame.width}×{frame.height}",
                        "cut it in parts, or scale it down",
                    )
                if frame.pts is not None:
                    if last is not None and frame.pts <= last:
                        continue
                # What leans on a lost frame is a smear until the next key frame.
                if bad is not None and frame.key_frame and (frame.pts is None or frame.pts >= bad):
                    bad = None
                late = bad is not None and (frame.pts is None or frame.pts >= bad)
                if patient and (frame.is_corrupt or late):
                    continue
                last = frame.pts if frame.pts is not None else last
                count += 1
                yield frame


def _rgb(frame: av.VideoFrame) -> np.ndarray:
    image = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(image, frame.rotation // 90))


def _open(path: str | Path):
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise _unreadable(Path(path), error) from None
    if not container.streams.video or container.streams.video[0].codec_context is None:
        container.close()
        raise UserError(f"{path}: no video in it", "the container has no video stream", "check the file")
    return container


def _unreadable(path: Path, error: av.error.FFmpegError | OSError) -> UserError:
    """Why a video does not open, without the library's own numbers."""
    size = path.stat().st_size if path.is_file() else 0
    if _lacks_index(path):
        return UserError(
            f"{path}: the film's index is missing (MP4's moov)",
            f"{size / 1e6:.1f} MB of it are there, but the index is written last: the recording was probably cut off",
            "recover it with a tool such as untrunc, or leave it out; what is recorded as mkv or fragmented MP4 "
            "survives being cut off",
        )
    return UserError(
        f"{path}: not a readable video", f"{error.strerror or error}; it has {size} bytes", "check the file"
    )


def _lacks_index(path: Path) -> bool:
    """Whether a file begins as MP4 or MOV does, and none of its boxes (length, kind, content) is a whole
    index."""
    kinds: list[bytes] = []
    try:
        with open(path, "rb") as file:
            end = file.seek(0, io.SEEK_END)
            at = 0
            while at < end and len(kinds) < MOST_BOXES:
                file.seek(at)
                head = file.read(16)
                length = int.from_bytes(head[:4], "big")
                if length == 1:  # too long for 32 bits
                    length = int.from_bytes(head[8:16], "big")
                kinds.append(head[4:8] if at + length <= end else b"")
                if length < 8:  # 0: up to the end of the file; else it is damaged
                    break
                at += length
    except OSError:
        return False
    return kinds[:1] in ([b"ftyp"], [b"mdat"], [b"wide"]) and b"moov" not in kinds and len(kinds) < MOST_BOXES
