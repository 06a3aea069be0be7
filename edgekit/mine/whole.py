"""Which drives can be read, from the first mined frame to the last: told of all at once, before anything is asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgekit.core.errors import UserError
from edgekit.core.progress import bar
from edgekit.drives import Drive, open_drives
from edgekit.drives.config import Reading
from edgekit.mine.frames import frame_numbers, pictures

NAMED = 20  # drives that an error names; the others are counted
REMEDIES = 3  # what it says to do, of several kinds of trouble


class Refused(NamedTuple):
    """A drive that cannot be read. drive: its id, or where it lies below what was given, if it does not open."""

    drive: str
    root: Path
    error: UserError

    @classmethod
    def of(cls, drive: str, root: Path, error: UserError | OSError) -> Refused:
        if not isinstance(error, UserError):
            error = UserError(f"{root}: cannot be read", str(error), "mend that drive, or leave it out")
        return cls(drive, root, error)

    def record(self) -> dict[str, Any]:
        """For mining.json: the same words wherever the drives lie."""
        why = f"{self.error.what}: {self.error.why}"
        for place in (self.root.parent.resolve(), self.root.parent):  # a link's check names where it leads
            why = re.sub(rf"(?<![\w./-]){re.escape(str(place))}/", "", why)
        return {"drive": self.drive, "why": why}


def opened(path: Path, reading: Reading | None, refused: list[Refused]) -> list[Drive]:
    """The drives at ``path``; those that do not open join ``refused``."""
    closed: list[tuple[Path, UserError | OSError]] = []
    found = open_drives(path, reading, closed)
    for place, error in closed:
        name = place.name if place == path else place.relative_to(path).as_posix()
        refused.append(Refused.of(name, place, error))
    return found


def measured(drive: Drive) -> Refused | None:
    """Counts its frames, reads its truth and its telemetry; why it is refused, if it is. No frame is decoded."""
    try:
        _ = len(drive), drive.truth(), drive.telemetry
    except (UserError, OSError) as error:
        return Refused.of(drive.id, drive.root, error)
    return None


def whole(
    drives: Sequence[Drive], every: int, most: int | None, refused: list[Refused]
) -> list[tuple[Drive, range]]:
    """The drives whose truth, telemetry and mined frames can all be read, each with the frames' numbers; the others
    join ``refused``. To decode all frames once more costs little beside asking; to fail late costs what was asked.
    """
    sound, stay = [], []
    for drive in drives:
        if why := measured(drive):
            refused.append(why)
        else:
            sound.append((drive, frame_numbers(len(drive), every, most)))
    with bar("checking the frames", sum(len(numbers) for _, numbers in sound), "frame") as shown:
        for drive, numbers in sound:
            try:
                for _ in pictures(drive, numbers):
                    shown.update()
            except (UserError, OSError) as error:
                refused.append(Refused.of(drive.id, drive.root, error))
            else:
                stay.append((drive, numbers))
    return stay


def require_whole(refused: Sequence[Refused], of: int, left_out: bool = False) -> None:
    """Raises UserError, which tells of all that are refused, ``of`` so many drives. left_out: none is left to mine."""
    errors = [one.error for one in refused]
    cure = [] if left_out else ["leave_out_broken=true leaves out what is broken"]
    if len(errors) == 1:
        (error,) = errors
        raise UserError(error.what, error.why, "; or ".join([error.do, *cure]))
    if errors:
        named = [f"{error.what} ({error.why})" for error in errors[:NAMED]]
        more = [f"and {len(errors) - NAMED} more"] if len(errors) > NAMED else []
        remedies = list(dict.fromkeys(error.do for error in errors))[:REMEDIES]
        raise UserError(
            f"mine: {len(errors)} of {of} drives cannot be read",
            "; ".join([*named, *more]),
            "; or ".join([*remedies, *cure]),
        )


def require_apart(drives: Sequence[Drive]) -> None:
    """Raises UserError where two drives have one id."""
    places: dict[str, Path] = {}
    for drive in drives:
        here = drive.video or drive.root
        there = places.setdefault(drive.id, here)
        if there is not here:
            why = f"twice: {drive.id}, {there} and {here}"
            raise UserError("mine: two drives have one id", why, _apart(drive))


def _apart(drive: Drive) -> str:
    """How a drive gets another id than one that has the same: where its own comes from."""
    if not drive.foreign:
        return "give each drive.json an id of its own, or name the drive once"
    kind = "film" if drive.root.is_file() or drive.video else "folder"
    return (
        f"rename one {kind}: a drive without drive.json is called after it; or name it once, if they are one"
    )
