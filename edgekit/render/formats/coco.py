"""COCO: out/coco/instances_<split>.json; file names are relative to out/, which is the image root.

Boxes and masks are of what is seen (``bbox``, ``segmentation``, ``area``); ``bbox_amodal`` is the whole thing,
clipped to the image. A mask is an uncompressed RLE, which pycocotools reads. A category's id is its class
number, so pixels of ids/ and annotations speak of one class by one number. ``attributes`` holds the state
(a head's colour, a vehicle's lights), occlusion (share of the outline that is not seen, an estimate),
truncation (share of the box outside the image) and distance_m (planar).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.files import write_text
from edgekit.render.classes import CLASSES
from edgekit.render.formats.frame import THINGS, Frame, Thing, by_split, frames_of, fresh, thing_ids


def write(out: Path, records: list[dict[str, Any]], cfg: Any) -> None:
    """One instances_<split>.json a split; ids of images and annotations are unique over all splits."""
    folder, frames = fresh(out, "coco"), frames_of(out, records)
    points = keypoint_names(frames)
    categories = [category(name, points.get(name, ())) for name in THINGS]
    numbers, last = {frame.stem: number for number, frame in enumerate(frames, 1)}, 0
    for split, members in by_split(frames).items():
        images, annotations = [], []
        for frame in members:
            number, tids = numbers[frame.stem], thing_ids(frame.ids())
            images.append({
                "id": number,
                "file_name": f"images/{frame.image.name}",
                "width": cfg.width,
                "height": cfg.height,
                "frame": frame.truth["id"],
                "tags": list(frame.row.get("tags", ())),
            })  # fmt: skip
            for thing in frame.shown():
                last += 1
                annotations.append(annotation(last, number, thing, tids, points.get(thing["class"], ())))
        table = {
            "info": {"description": f"edgekit render, split {split}", "version": "1"},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": categories,
        }
        write_text(folder / f"instances_{split}.json", json.dumps(table, separators=(",", ":")) + "\n")


def keypoint_names(frames: list[Frame]) -> dict[str, tuple[str, ...]]:
    """Names of the key points by class, in the order of the truth, over all splits."""
    names: dict[str, dict[str, None]] = {}
    for frame in frames:
        for thing in frame.truth["things"]:
            names.setdefault(thing["class"], {}).update(dict.fromkeys(thing.get("keypoints") or ()))
    return {kind: tuple(found) for kind, found in names.items()}


def category(name: str, points: tuple[str, ...]) -> dict[str, Any]:
    """The skeleton is a chain; four points close to a ring (the corners of a vehicle)."""
    row: dict[str, Any] = {"id": CLASSES[name], "name": name, "supercategory": "thing"}
    if points:
        chain = [[k, k + 1] for k in range(1, len(points))]
        row |= {"keypoints": list(points), "skeleton": chain + ([[4, 1]] if len(points) == 4 else [])}
    return row


def annotation(
    number: int, image: int, thing: Thing, tids: np.ndarray, points: tuple[str, ...]
) -> dict[str, Any]:
    u0, v0, u1, v1 = thing["box_visible"]
    columns = tids[:, u0:u1] == thing["id"]  # all of its pixels: the others would only take time
    row = {
        "id": number,
        "image_id": image,
        "category_id": CLASSES[thing["class"]],
        "bbox": [u0, v0, u1 - u0, v1 - v0],
        "bbox_amodal": corner_size(thing["box"]),
        "area": int(columns.sum()),
        "segmentation": rle(columns, u0, tids.shape[1]),
        "iscrowd": 0,
        "attributes": {
            **thing.get("attributes", {}),
            "name": thing["name"],
            "occlusion": round(1 - min(1.0, thing["visible_share"]), 3),
            "truncation": thing["truncated"],
            "distance_m": thing["distance_m"],
        },
    }
    if points:
        # COCO wants 0, 0 for what is not labelled
        found = [thing["keypoints"].get(point, (0, 0, 0)) for point in points]
        flat = [[u, v, flag] if flag else [0, 0, 0] for u, v, flag in found]
        row["keypoints"] = [value for point in flat for value in point]
        row["num_keypoints"] = sum(flag > 0 for *_, flag in flat)
    return row


def corner_size(box: list[float]) -> list[float]:
    u0, v0, u1, v1 = box
    return [u0, v0, round(u1 - u0, 2), round(v1 - v0, 2)]


def rle(mask: np.ndarray, left: int = 0, width: int | None = None) -> dict[str, list[int]]:
    """bool (h, w) → COCO's uncompressed run lengths: down the columns, the first run is of zeros.

    The mask may be of some columns only: those from ``left`` on of a picture ``width`` wide.
    """
    height, wide = mask.shape[0], mask.shape[1] if width is None else width
    flat = mask.ravel(order="F").astype(np.int8)
    turns = np.flatnonzero(np.diff(flat, prepend=0, append=0)) + left * height
    counts = np.diff(turns, prepend=0, append=height * wide)
    return {"size": [height, wide], "counts": counts[: len(counts) - (counts[-1] == 0)].tolist()}
