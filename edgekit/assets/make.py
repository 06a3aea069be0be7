"""Makes the shipped assets from finished runs; `make assets` renders and trains those runs first.

Each asset is a Run directory: recipe, ``out/`` and a manifest that names the run that it was cut from.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np

from edgekit import __version__
from edgekit.core.errors import EdgekitError, UserError
from edgekit.core.files import read_json, write_json
from edgekit.core.progress import track
from edgekit.core.run import SCHEMA, Input, digest_tree, open_input
from edgekit.dataset import DatasetWriter, Sample, open_dataset
from edgekit.drives import open_drives, pack_drive

HERE = Path(__file__).resolve().parent
LIMIT_MB = 16.0  # all assets together, so that a clone and a wheel stay small
CRF = 24  # of the drives' video: what a recorder keeps, and the lamps keep their colour


def main(argv: list[str] | None = None) -> int:
    tool = argparse.ArgumentParser(prog="python -m edgekit.assets.make", description=__doc__)
    tool.add_argument("--teacher", required=True, help="a run of distill")
    tool.add_argument("--frames", required=True, help="a run of render, in poses")
    tool.add_argument("--drives", required=True, help="a run of render, in drives")
    tool.add_argument("--train", type=int, default=54, help="train frames of the sample")
    tool.add_argument("--test", type=int, default=52, help="test frames of the sample")
    tool.add_argument("--count", type=int, default=10, help="drives")
    args = tool.parse_args(argv)
    try:
        teacher(open_input(args.teacher))
        sample(open_input(args.frames), {"train": args.train, "test": args.test})
        drives(open_input(args.drives), args.count)
        size = sum(p.stat().st_size for p in HERE.rglob("*") if p.is_file()) / 1e6
        if size > LIMIT_MB:
            raise UserError(
                "assets: too large to ship",
                f"{size:.1f} MB, the limit is {LIMIT_MB:.0f}",
                "ask for fewer frames",
            )
        print(f"assets: {size:.1f} MB in {HERE}", file=sys.stderr)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def teacher(source: Input) -> None:
    """The Checkpoint alone: without the untrained one beside it."""
    out = _fresh("nano-teacher")
    for path in sorted(source.out.iterdir()):
        if path.is_file() and path.name != "timing.json":
            shutil.copyfile(path, out / path.name)
    _close("nano-teacher", source)


def sample(source: Input, wanted: dict[str, int]) -> None:
    """A few frames of every scene, evenly: images and rows, without the class ids."""
    data = open_dataset(source.out)
    facts = {k: data.info[k] for k in ("renderer", "licence", "prompt") if k in data.info}
    writer = DatasetWriter(_fresh("sample"), data.contract, **facts)
    for split, count in wanted.items():
        for row in spread(data.rows(split), count):
            target = writer.out / row.images[0]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(data.image_path(row), target)  # the stored bytes: no second JPEG
            writer.add(split, row)
    writer.finish()
    _close("sample", source)


def spread(rows: list[Sample], count: int) -> list[Sample]:
    """``count`` rows, taken scene after scene: first one of each, then a second, until it is enough."""
    by_scene: dict[str, list[Sample]] = {}
    for row in rows:
        by_scene.setdefault(row.scene, []).append(row)
    random = np.random.default_rng(0)
    for scene in by_scene.values():
        random.shuffle(scene)
    out: list[Sample] = []
    for turn in range(max(map(len, by_scene.values()), default=0)):
        scenes = [s for s in by_scene.values() if len(s) > turn]
        random.shuffle(scenes)
        out += [scene[turn] for scene in scenes]
    return sorted(out[:count], key=lambda row: row.id)


def drives(source: Input, count: int) -> None:
    out = _fresh("drives")
    for drive in track(list(open_drives(source.out))[:count], "packing", unit="drive"):
        pack_drive(drive.root, out / "drives" / drive.info.id, crf=CRF)
    _close("drives", source)


def _fresh(name: str) -> Path:
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "out").mkdir(parents=True)
    return folder / "out"


def _close(name: str, source: Input) -> None:
    """The recipe of the run that it was cut from, and a manifest that names that run."""
    folder = HERE / name
    if source.manifest is None:
        raise UserError(
            f"assets: {source.path} is not a complete run", "it has no manifest", "finish it first"
        )
    shutil.copyfile(source.path / "recipe.yaml", folder / "recipe.yaml")
    whole = read_json(source.path / "manifest.json")
    write_json(
        folder / "manifest.json",
        {
            "schema": SCHEMA,
            "verb": whole["verb"],
            "edgekit": __version__,
            "digest": digest_tree(folder / "out"),
            "inputs": {"cut_from": [source.record()]},
            "notes": ["cut by edgekit.assets.make", *whole["notes"]],
            "made_with": whole["made_with"],
        },
    )


if __name__ == "__main__":
    sys.exit(main())
