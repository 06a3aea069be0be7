"""KITTI's object detection files: out/kitti/<split>/image_2, label_2, calib, and a README.txt on what differs."""

import math
from pathlib import Path
from typing import Any

from edgekit.core.files import write_text
from edgekit.render.camera import Camera
from edgekit.render.formats.frame import Thing, by_split, frames_of, fresh, link

TYPES = {"car": "Car", "truck": "Truck", "person": "Pedestrian"}  # else the class's name, capitalised
RIDING = {"bicycle": "Cyclist", "motorcycle": "Motorcyclist"}  # machine and rider together
# A convex outline is never filled by its thing (a bicycle by a third of it), so these are low.
OCCLUDED = ((0.6, 0), (0.3, 1))  # from this visible share on: fully, partly visible; below: 2, largely hidden
README = """Ground truth of rendered frames in the layout of KITTI's object detection benchmark.

image_2   the frames, as JPEG (KITTI has PNG): links to ../../images where the disk allows
label_2   15 columns: type, truncated, occluded, alpha, box (left, top, right, bottom), height, width, length,
          x, y, z, rotation_y. No DontCare rows. Things of which no pixel is seen are left out.
calib     P2 is the camera. P0, P1 and P3 repeat it: there is one camera. R0_rect is the identity.
          There is no lidar and no IMU: Tr_velo_to_cam only turns KITTI's lidar axes (x forward, y left, z up)
          into the camera's, at the camera's place; Tr_imu_to_velo is the identity.

Splits are folders: train, dev, test. All three have labels.
Boxes are of the whole thing, hidden parts too, clipped to the image.
Types: KITTI's Car, Truck, Pedestrian, Cyclist (bicycle and rider as one); else the class's own name: Bus,
Motorcyclist, Bicycle, Motorcycle, Rider, Head (of a traffic light), Sign, Cone, Barrier, Debris.
truncated is the share of the box outside the image. occluded (0, 1, 2) is estimated from the share of the
thing's outline that is seen. x, y, z are of the middle of its bottom, in metres in the camera's frame, which
is tilted by the camera's pitch; rotation_y is about the camera's y axis.
"""


def write(out: Path, records: list[dict[str, Any]], cfg: Any) -> None:
    folder = fresh(out, "kitti")
    for split, frames in by_split(frames_of(out, records)).items():
        for kind in ("image_2", "label_2", "calib"):
            (folder / split / kind).mkdir(parents=True)
        for frame in frames:
            camera = Camera(cfg.width, cfg.height, cfg.hfov_deg, **frame.truth["camera"])
            link(frame.image, folder / split / "image_2" / frame.image.name)
            lines = "".join(map(line, with_riders(frame.shown())))
            write_text(folder / split / "label_2" / f"{frame.stem}.txt", lines)
            write_text(folder / split / "calib" / f"{frame.stem}.txt", calibration(camera))
    write_text(folder / "README.txt", README)


def line(thing: Thing) -> str:
    x, _, z = thing["location"]
    around = thing["rotation_y"]
    alpha = (around - math.atan2(x, z) + math.pi) % (2 * math.pi) - math.pi
    hidden = next((level for share, level in OCCLUDED if thing["visible_share"] >= share), 2)
    numbers = (alpha, *thing["box"], *thing["dimensions"], *thing["location"], around)
    kind = thing.get("type") or TYPES.get(thing["class"]) or thing["class"].capitalize()
    return f"{kind} {thing['truncated']:.2f} {hidden} " + " ".join(f"{n:.2f}" for n in numbers) + "\n"


def with_riders(things: list[Thing]) -> list[Thing]:
    """A machine and who sits on it (one name) as the one thing that KITTI takes them for."""
    riders = {thing["name"]: thing for thing in things if thing["class"] == "rider"}
    ridden = {t["name"] for t in things if t["class"] in RIDING and t["name"] in riders}
    out = []
    for thing in things:
        if thing["class"] == "rider" and thing["name"] in ridden:
            continue
        together = thing["class"] in RIDING and thing["name"] in ridden
        out.append(joined(thing, riders[thing["name"]]) if together else thing)
    return out


def joined(machine: Thing, rider: Thing) -> Thing:
    """The machine's place, the box around both, as high as the higher one's top. Shares: the less seen one's."""
    a, b = machine["box"], rider["box"]
    tops = [machine["location"][1] - part["location"][1] + part["dimensions"][0] for part in (machine, rider)]
    sizes = zip(machine["dimensions"][1:], rider["dimensions"][1:], strict=True)
    return {
        **machine,
        "type": RIDING[machine["class"]],
        "box": [min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])],
        "dimensions": [max(tops), *map(max, sizes)],
        "truncated": max(machine["truncated"], rider["truncated"]),
        "visible_share": min(machine["visible_share"], rider["visible_share"]),
    }


def calibration(camera: Camera) -> str:
    """Row-major 3x4 (P, Tr) and 3x3 (R0_rect) matrices, in KITTI's number format."""
    p = [value for row in camera.matrix() for value in (*row, 0.0)]
    axes = [0.0, -1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    rows = {
        **{f"P{k}": p for k in range(4)},
        "R0_rect": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        "Tr_velo_to_cam": axes,
        "Tr_imu_to_velo": [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    }
    return "".join(f"{name}: " + " ".join(f"{v:.12e}" for v in row) + "\n" for name, row in rows.items())
