"""What can be known of a mining run before it is started: its frames, and what would be refused. For ``--dry-run``."""

from __future__ import annotations

from pathlib import Path

from edgekit.core.errors import UserError
from edgekit.core.places import asset
from edgekit.core.recipe import REFUSED, refusal, refused_by
from edgekit.dataset import open_dataset
from edgekit.dataset.sample import SPLITS
from edgekit.drives import Drive
from edgekit.library import load_library, selector_of
from edgekit.mine.config import MineConfig
from edgekit.mine.frames import frame_numbers
from edgekit.mine.gold import rows_of_gold
from edgekit.mine.whole import Refused, measured, opened, require_apart

UNTOLD = 1000  # frames of an input that is not there yet


def frames_of(config: MineConfig) -> tuple[int, list[str]]:
    """(frames that would be mined, a note on every drive that would be refused or is not there yet).

    Headers, telemetry and truth are read; a frame is decoded only where a film's reader must, to count.
    """
    frames, notes, drives = 0, [], []
    refused: list[Refused] = []
    for given in config.drives:
        ships = given.startswith("package:")
        if not ships and not Path(given).exists():  # another command may make it
            notes.append(f"{given}: not counted (nothing is there); taken as {UNTOLD} frames")
            frames += UNTOLD
            continue
        try:
            found = opened(_place(given), config.reading, refused)
        except (UserError, OSError) as error:
            # No drive's own trouble: it ends a run that leaves drives out, too.
            notes.append(refusal(Refused.of(given, Path(given), error).error))
            continue
        drives += found
        frames += sum(_frames(drive, ships, config, refused) for drive in found)
    notes += refused_by([lambda: require_apart(drives)])
    told = [refusal(one.error) for one in refused]
    if config.leave_out_broken and frames:
        told = [note.replace(REFUSED, "WOULD BE LEFT OUT: ", 1) for note in told]
    return frames, notes + told


def _frames(drive: Drive, ships: bool, config: MineConfig, refused: list[Refused]) -> int:
    """How many frames of a drive would be mined; 0 where it joins ``refused``."""
    # What ships has truth of every frame, and needs no look at its film and telemetry.
    if ships and (truth := drive.truth()):
        length = len(truth)
    elif why := measured(drive):
        refused.append(why)
        return 0
    else:
        length = len(drive)
    return len(frame_numbers(length, config.every, config.frames_per_drive))


def refusals(config: MineConfig) -> list[str]:
    """Notes on what else would end the run: gold, a port's key, a prompt's budget, detectors' files."""
    checks = []
    if config.endpoint:
        checks.append(config.endpoint.key)
    if config.prompts == "dynamic":
        checks.append(lambda: selector_of(load_library(config.library), config.dynamic))
    # What ships is a Dataset; a gold that is not there yet another command may make.
    if config.gold and (config.chain or not config.gold.startswith("package:")) and _there(config.gold):
        checks.append(lambda: rows_of_gold(config, open_dataset(_place(config.gold))))
    files = [file for expert in config.experts if (file := getattr(expert, "model", ""))]
    notes = [f"{REFUSED}the detector {file} is not here" for file in files if not Path(file).is_file()]
    return refused_by(checks) + notes


def _there(given: str) -> bool:
    return given.startswith("package:") or Path(given).exists()


def _place(given: str) -> Path:
    """A run's out/, or the folder itself; unlike an input that is opened, it is not digested."""
    folder = asset(given.removeprefix("package:")) if given.startswith("package:") else Path(given)
    return folder / "out" if (folder / "manifest.json").is_file() else folder


def gold_rows(config: MineConfig) -> int:
    """Rows of gold, by its lines; 0 without gold, and where it is not there yet."""
    if not config.gold:
        return 0
    dataset = _place(config.gold)
    return sum(
        sum(1 for _ in file.open("rb")) for split in SPLITS if (file := dataset / f"{split}.jsonl").is_file()
    )
