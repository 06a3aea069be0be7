"""HDF5: out/hdf5/<stem>.hdf5, one file a frame, with the keys that BlenderProc's readers know.

colors                   uint8 (h, w, 3), RGB
depth                    float32 (h, w), planar, metres, inf for the sky; only where the depth pass was asked for
class_segmaps            uint8 (h, w), class number
instance_segmaps         uint16 (h, w), class * 1000 + instance; a head's lamps are pixels of their head
instance_attribute_maps  JSON: of each value in instance_segmaps its idx, category_id, class, and the thing's facts
cam_K                    float64 (3, 3), pixels
cam2world_matrix         float64 (4, 4), metres; the camera looks along its -z, y is up (Blender's and OpenGL's axes)
label                    JSON: the SceneLabel's slots as they are in the scene, seen or not
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.files import write_bytes
from edgekit.engine.pixels import read_image
from edgekit.render.camera import Camera
from edgekit.render.classes import INSTANCES, NAMES
from edgekit.render.formats.frame import Frame, frames_of, fresh, thing_ids

FACTS = ("box", "box_visible", "pixels", "visible_share", "truncated", "distance_m", "location", "dimensions",
         "rotation_y", "keypoints", "attributes")  # fmt: skip


def write(out: Path, records: list[dict[str, Any]], cfg: Any) -> None:
    folder = fresh(out, "hdf5")
    for frame in frames_of(out, records):
        write_bytes(folder / f"{frame.stem}.hdf5", packed(frame, cfg))


def packed(frame: Frame, cfg: Any) -> bytes:
    """The file of a frame. Built in memory, so that it is written whole; without times, so that it repeats."""
    import h5py

    ids = frame.ids()
    tids = thing_ids(ids)
    camera = Camera(cfg.width, cfg.height, cfg.hfov_deg, **frame.truth["camera"])
    arrays = {
        "colors": read_image(frame.image),
        "class_segmaps": (ids // INSTANCES).astype(np.uint8),
        "instance_segmaps": tids,
    }
    depth = frame.out / "depth" / f"{frame.stem}.npz"
    if depth.is_file():
        with np.load(depth) as file:
            arrays["depth"] = file["depth_m"].astype(np.float32)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression="gzip", compression_opts=4, track_times=False)
        more = {
            "cam_K": np.array(camera.matrix()),
            "cam2world_matrix": cam2world(camera),
            "instance_attribute_maps": json.dumps(attribute_map(frame, tids)),
            "label": json.dumps(frame.truth["label"]),
        }
        for name, value in more.items():
            file.create_dataset(name, data=value, track_times=False)
    return buffer.getvalue()


def attribute_map(frame: Frame, tids: np.ndarray) -> list[dict[str, Any]]:
    """What each value of instance_segmaps is; things have a name and facts, the rest (road, sky) only a class."""
    things = {thing["id"]: thing for thing in frame.truth["things"]}
    rows = []
    for value in np.unique(tids).tolist():
        kind, thing = value // INSTANCES, things.get(value, {})
        row = {
            "idx": value,
            "category_id": kind,
            "class": NAMES[kind],
            "name": thing.get("name", NAMES[kind]),
        }
        rows.append(row | {fact: thing[fact] for fact in FACTS if fact in thing})
    return rows


def cam2world(camera: Camera) -> np.ndarray:
    """(4, 4) pose of the camera: columns right, up, back, place."""
    yaw, pitch = np.radians([camera.yaw_deg, camera.pitch_deg])
    level, top = np.array([-np.sin(yaw), np.cos(yaw), 0.0]), np.array([0.0, 0.0, 1.0])
    look, up = level * np.cos(pitch) + top * np.sin(pitch), top * np.cos(pitch) - level * np.sin(pitch)
    pose = np.eye(4)
    pose[:3] = np.stack([[np.cos(yaw), np.sin(yaw), 0.0], up, -look, [camera.x, camera.y, camera.z]], axis=1)
    return pose
