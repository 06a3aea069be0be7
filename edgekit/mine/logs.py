"""Where what a teacher and detectors say of a drive is kept: in the run, or in a folder that outlives it.

A run that is killed goes on from its logs. With the recipe's ``heard`` they lie beside the runs, and another run with
other rules, windows, detectors or quotas asks nothing twice: a log is found by what was asked, of whom, about which
pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.alone import alone
from edgekit.core.errors import UserError
from edgekit.core.files import sha256_file, sha256_json
from edgekit.core.run import Run, digest_tree
from edgekit.drives import Drive
from edgekit.mine.config import MineConfig

SCHEMA = "edgekit/heard/1"  # of what the logs hold: another one finds nothing that this one kept


@dataclass
class Logs:
    """answers, detected, gold: the folders of a run's logs. lasting: they outlive the run, and a drive is known by its
    content; else by its id. motion: its telemetry decides what is asked, too."""

    answers: Path
    detected: Path
    gold: Path
    lasting: bool = False
    motion: bool = False
    _names: dict[str, str] = field(default_factory=dict)

    def absolute(self) -> Logs:
        """For another process, which may stand elsewhere."""
        places = {name: getattr(self, name).absolute() for name in ("answers", "detected", "gold")}
        return replace(self, **places)

    @property
    def answers_of_gold(self) -> Path:
        """Apart from the drives', any of which may be called so."""
        return self.gold / "answers.jsonl"

    def answers_of(self, drive: Drive) -> Path:
        return self.answers / self._name(drive)

    def boxes_of(self, drive: Drive) -> Path:
        return self.detected / self._name(drive)

    def _name(self, drive: Drive) -> str:
        if not self.lasting:
            return f"{drive.id}.jsonl"
        if drive.id not in self._names:
            self._names[drive.id] = f"{drive.id}-{content_of(drive, self.motion)[:16]}.jsonl"
        return self._names[drive.id]


def content_of(drive: Drive, motion: bool) -> str:
    """sha256 of a drive's pictures; motion: of its tags, camera, times, telemetry and map, too."""
    if drive.video or drive.files:
        shown = [sha256_file(path) for path in ([drive.video] if drive.video else drive.files)]
    else:
        shown = [sha256_file(drive.root) if drive.root.is_file() else digest_tree(drive.root, foreign=True)]
    if motion:
        known = drive.telemetry
        columns = [known.speed_mps, known.yaw_rate_rps, known.accel_mps2] if known else []
        shown += [sha256_json(drive.info.model_dump(mode="json", exclude={"id", "source"}))]
        shown += [np.asarray(column, np.float64).tobytes().hex() for column in (drive.times_s, *columns)]
        shown += [sha256_json(drive.map_words())]
    return sha256_json(shown)


@contextmanager
def logs_of(config: MineConfig, run: Run, teacher: str | None = None) -> Iterator[Logs]:
    """The logs of a run, which nobody else writes meanwhile. teacher: the name of one that is not the recipe's.

    Raises UserError where another process writes them, or where ``heard`` is no folder.
    """
    if not config.heard:
        yield Logs(run.state / "answers", run.state / "detected", run.state / "gold")
        return
    by = teacher or (
        run.inputs["teacher"][0].digest if config.teacher else None
    )  # an endpoint names its model
    place, (asked, looked) = Path(config.heard), _asked_and_looked(config, by)
    gold = [asked, [given.digest for given in run.inputs.get("gold", [])]]
    folders = {"answers": asked, "detected": looked, "gold": gold}
    places = {name: place / f"{name}-{sha256_json(what)[:16]}" for name, what in folders.items()}
    with ExitStack() as held:
        try:
            place.mkdir(parents=True, exist_ok=True)
            held.enter_context(alone(place))
        except OSError as error:
            why = error.strerror or str(error)
            raise UserError(
                f"mine: heard: {place} is no folder to keep answers in", why, "name another"
            ) from None
        except UserError as error:
            raise UserError(
                f"mine: heard: another process keeps answers in {place}", error.why,
                "let it finish or stop it, or name another heard",
            ) from None  # fmt: skip
        yield Logs(**places, lasting=True, motion=config.prompts == "dynamic")


def _asked_and_looked(config: MineConfig, teacher: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What decides a teacher's answer about a picture, and what decides a detector's boxes, but for the prompt: an
    answer's key names it."""
    part = config.lasting()
    camera = part["reading"]["camera"]
    files = {name: digest for name, digest in config.digests.items() if name.startswith("expert ")}
    looked = {
        "camera": camera,
        "experts": part["experts"],
        "files": files,
        "corridor": part["fusion"]["corridor"],
        "schema": SCHEMA,
    }
    asked = {
        "teacher": teacher,
        "kind": config.kind,
        "endpoint": part["endpoint"],
        "camera": camera,
        "schema": SCHEMA,
    }
    if not config.endpoint:  # a model's numbers depend on its batch, and batches are cut by position
        asked |= {"batch": config.batch, "every": config.every, "most": config.frames_per_drive}
    if config.follows:  # what detectors found is shown in the second question
        asked |= {"dynamic": part["dynamic"], "looked": looked}
        if not config.endpoint:  # and its batches are cut of the frames that these let be asked again
            asked["library"] = config.digests["library"]
    return asked, looked
