"""Makes the shipped assets from finished runs; `make assets` renders and trains those runs first.

Each asset is a Run directory: recipe, ``out/`` and a manifest that names the runs that it was cut from
and what the first of them was made from. What is not named stays as it is; the others are replaced
when all of them are whole.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from edgekit import __version__
from edgekit.core.contract import require_same
from edgekit.core.errors import EdgekitError, UserError
from edgekit.core.files import read_json, write_json
from edgekit.core.progress import track
from edgekit.core.run import SCHEMA, Input, digest_tree, open_input
from edgekit.dataset import DatasetWriter, Sample, open_dataset
from edgekit.drives import open_drives, pack_drive

HERE = Path(__file__).resolve().parent
LIMIT_MB = 16.0  # all assets together, so that a clone and a wheel stay small
QUALITY = 68  # of the sample's JPEGs, colour at full resolution: half the size of what render writes
CRF = 26  # of the drives' video: what a recorder keeps, and the lamps keep their colour


def main(argv: list[str] | None = None) -> int:
    tool = argparse.ArgumentParser(prog="python -m edgekit.assets.make", description=__doc__)
    tool.add_argument("--teacher", help="a run of distill")
    tool.add_argument("--frames", help="a run of render, in poses: the sample's train frames")
    tool.add_argument("--test-frames", help="another, of other scenes: its test frames")
    tool.add_argument("--drives", help="a run of render, in drives")
    tool.add_argument("--train", type=int, default=48, help="train frames of the sample")
    tool.add_argument("--test", type=int, default=144, help="test frames of the sample")
    tool.add_argument("--count", type=int, default=10, help="drives")
    args = tool.parse_args(argv)
    try:
        if bool(args.frames) != bool(args.test_frames):
            tool.error("--frames and --test-frames make the sample together")
        asked = (args.teacher, args.frames, args.test_frames, args.drives)
        source = {path: _complete(path) for path in asked if path}
        with tempfile.TemporaryDirectory(dir=HERE.parent, prefix=".assets-") as scratch:
            fresh = Path(scratch) / "new"
            fresh.mkdir()
            if args.teacher:
                teacher(source[args.teacher], fresh / "nano-teacher")
            if args.frames:
                parts = [(args.frames, "train", args.train), (args.test_frames, "test", args.test)]
                sample([(source[path], split, count) for path, split, count in parts], fresh / "sample")
            if args.drives:
                drives(source[args.drives], args.count, fresh / "drives")
            size = _swap(fresh, Path(scratch))
        print(f"assets: {size:.1f} MB in {HERE}", file=sys.stderr)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _complete(path: str) -> Input:
    source = open_input(path)
    if source.manifest is None:
        raise UserError(f"assets: {path} is not a complete run", "it has no manifest", "finish it first")
    return source


def _swap(fresh: Path, scratch: Path) -> float:
    """The new assets in the place of the old; returns the size of all in MB. Raises UserError before."""
    names = [folder.name for folder in fresh.iterdir()]
    kept = [p for p in HERE.iterdir() if p.name not in names]
    files = [p for top in (fresh, *kept) for p in (top, *top.rglob("*")) if p.is_file()]
    size = sum(p.stat().st_size for p in files) / 1e6
    if size > LIMIT_MB:
        raise UserError(
            "assets: too large to ship",
            f"{size:.1f} MB, the limit is {LIMIT_MB:.0f}",
            "ask for fewer frames",
        )
    for name in names:
        if (HERE / name).exists():
            (HERE / name).rename(scratch / name)
        (fresh / name).rename(HERE / name)
    return size


def teacher(source: Input, folder: Path) -> None:
    """The Checkpoint alone: without the untrained one beside it."""
    out = _out(folder)
    for path in sorted(source.out.iterdir()):
        if path.is_file() and path.name != "timing.json":
            shutil.copyfile(path, out / path.name)
    _close(folder, source)


def sample(wanted: list[tuple[Input, str, int]], folder: Path) -> None:
    """A few frames of every scene, evenly: images and rows, without the class ids."""
    opened = [(open_dataset(source.out), split, count) for source, split, count in wanted]
    first = opened[0][0]
    for data, _, _ in opened[1:]:
        require_same(data.contract, first.contract, f"{data.root} beside {first.root}")
    facts = {k: first.info[k] for k in ("renderer", "licence", "prompt") if k in first.info}
    writer = DatasetWriter(_out(folder), first.contract, **facts)
    for data, split, count in opened:
        for row in spread(data.rows(split), count):
            target = writer.out / row.images[0]
            target.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(data.image_path(row)) as image:
                image.save(target, "JPEG", quality=QUALITY, subsampling=0)
            writer.add(split, row)
    writer.finish()
    _close(folder, *(source for source, _, _ in wanted))


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


def drives(source: Input, count: int, folder: Path) -> None:
    found = open_drives(source.out)[:count]
    if not found:
        raise UserError(
            f"assets: {source.path} holds no drives",
            f"the first {count} are asked for",
            "name a run of drives",
        )
    out = _out(folder)
    for drive in track(found, "packing", unit="drive"):
        pack_drive(drive.root, out / "drives" / drive.info.id, crf=CRF)
    _close(folder, source)


def _out(folder: Path) -> Path:
    (folder / "out").mkdir(parents=True)
    return folder / "out"


def _close(folder: Path, *sources: Input) -> None:
    """The recipe of the (first) run that it was cut from, and a manifest that names all of them."""
    shutil.copyfile(sources[0].path / "recipe.yaml", folder / "recipe.yaml")
    whole = read_json(sources[0].path / "manifest.json")
    write_json(
        folder / "manifest.json",
        {
            "schema": SCHEMA,
            "verb": whole["verb"],
            "edgekit": __version__,
            "digest": digest_tree(folder / "out"),
            "inputs": {**whole["inputs"], "cut_from": [source.record() for source in sources]},
            "notes": ["cut by edgekit.assets.make", *whole["notes"]],
            "made_with": whole["made_with"],
        },
    )


if __name__ == "__main__":
    sys.exit(main())
