"""From records to the Dataset's tables, and in drive mode to Drive folders."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.contract import Contract
from edgekit.core.files import write_jsonl
from edgekit.dataset import DatasetWriter, Sample
from edgekit.drives import CameraInfo, DriveInfo, Telemetry, write_telemetry
from edgekit.drives.info import write_info
from edgekit.library import Prompt
from edgekit.render.classes import CLASSES
from edgekit.render.config import RenderConfig
from edgekit.render.records import files_of
from edgekit.render.spec import Spec, camera_of

LICENCE = "CC0-1.0"  # of what our own code makes


def licence_of(cfg: RenderConfig) -> str:
    """An SPDX expression: ours, and those of the user's own models, in whose pictures they hold too."""
    if not cfg.assets:
        return LICENCE
    from edgekit.render.assets import read_manifest

    theirs = sorted({asset.licence for asset in read_manifest(cfg.assets)} - {LICENCE})
    return " AND ".join([LICENCE, *(f"({name})" if " " in name else name for name in theirs)])


def write_tables(
    out: Path, cfg: RenderConfig, records: list[dict[str, Any]], bpy: str, prompt: Prompt, licence: str
) -> dict[str, Any]:
    """train/dev/test.jsonl, truth.jsonl, info.json; returns info."""
    dataset = DatasetWriter(
        out,
        Contract(width=cfg.width, height=cfg.height),
        renderer={"name": "blender-cycles", "bpy": bpy, "samples": cfg.samples},
        classes=CLASSES,
        licence=licence,
        prompt={**prompt.record(), "text": prompt.text},
    )
    for record in records:
        dataset.add(record["split"], Sample(**record["row"]))
    write_jsonl(out / "truth.jsonl", sorted((r["truth"] for r in records), key=lambda t: t["id"]))
    return dataset.finish()


def write_drive(out: Path, spec: Spec, records: list[dict[str, Any]], licence: str) -> None:
    """drives/<scene>/: frames, ids and depth are links to the Dataset's files where the disk allows."""
    folder = out / "drives" / spec["scene"]
    for frame in spec["frames"]:
        for source, kind in zip(files_of(out, spec, frame), ("frames", "ids", "depth"), strict=False):
            _link(source, folder / kind / f"{frame['index']:06d}{source.suffix}")
    columns = ("t_s", "speed_mps", "yaw_rate_rps", "accel_mps2")
    write_telemetry(
        folder / "telemetry.csv", Telemetry(*(np.array([f[c] for f in spec["frames"]]) for c in columns))
    )
    write_jsonl(
        folder / "truth.jsonl",
        [{"frame": r["row"]["frame"], "t_s": r["row"]["t_s"], **r["truth"]} for r in records],
    )
    camera = camera_of(spec, spec["frames"][0])
    info = DriveInfo(
        id=spec["scene"],
        fps=spec["fps"],
        licence=licence,
        scene=spec["scene"],
        seed=spec["seed"],
        source="render",
        tags=tuple(spec["conditions"]["tags"]),
        camera=CameraInfo(K=camera.matrix(), width=camera.width, height=camera.height, height_m=camera.z),
    )
    write_info(folder / "drive.json", info)  # last: its presence says that the drive is whole


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without hard links
        aside = target.with_name(f".{target.name}.part")
        shutil.copyfile(source, aside)
        os.replace(aside, target)
