"""A car of the tests' own: a wedge, tall behind and low in front, its right side unlike its left."""

import base64
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.errors import UserError
from edgekit.render.assets import read_manifest

LENGTH, WIDTH, HEIGHT = 4.0, 1.8, 1.4
# local frame: x right, y forward, z up; the last point alone is at the right of the nose, and higher
BODY = np.array(
    [
        [-0.9, -2, 0], [0.9, -2, 0], [0.9, 2, 0], [-0.9, 2, 0],
        [-0.9, -2, 1.4], [0.9, -2, 1.4], [-0.9, 2, 0.4], [0.9, 2, 0.7],
    ]
)  # fmt: skip
QUADS = ((0, 3, 2, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 6, 7), (3, 0, 4, 6), (1, 2, 7, 5))
TRIANGLES = np.array([t for a, b, c, d in QUADS for t in ((a, b, c), (a, c, d))], np.uint16)
AXES = {s + "xyz"[k]: n * np.eye(3)[k] for k in range(3) for s, n in (("+", 1), ("-", -1))}


def in_file_axes(forward: str = "+z", up: str = "+y", unit: float = 1.0, offset=(5, -3, 7)) -> np.ndarray:
    """(8, 3): the body with its nose along `forward`, in 1/unit metres, away from the file's origin."""
    f, u = AXES[forward], AXES[up]
    return unit * (BODY @ np.array([np.cross(f, u), f, u])) + offset


def gltf(points: np.ndarray, **more) -> tuple[dict, bytes]:
    """(JSON without buffers, binary): the body under two nodes, one turned, moved and scaled, one a matrix."""
    above = np.array([[0, 0, 2, 1], [2, 0, 0, 2], [0, 2, 0, 3], [0, 0, 0, 1]])  # x to y to z to x, times 2
    matrix = np.array(
        [[0, -3, 0, 4], [3, 0, 0, 5], [0, 0, 3, 6], [0, 0, 0, 1]]
    )  # 90 degrees about z, times 3
    with np.errstate(invalid="ignore"):  # a test may ask for points that are no numbers
        local = (np.c_[points, np.ones(len(points))] @ np.linalg.inv(above @ matrix).T)[:, :3].astype("<f4")
    binary = local.tobytes() + TRIANGLES.astype("<u2").tobytes()
    finite = np.nan_to_num(local)  # JSON has no NaN
    bounds = {"min": finite.min(axis=0).tolist(), "max": finite.max(axis=0).tolist()}
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0, 2]}],
        "nodes": [
            {"rotation": [0.5, 0.5, 0.5, 0.5], "translation": [1, 2, 3], "scale": [2, 2, 2], "children": [1]},
            {"mesh": 0, "matrix": matrix.T.ravel().tolist()},
            {"name": "an empty", "translation": [1000, 0, 0]},
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": 0}]}],
        "materials": [{"name": "car_glass", "pbrMetallicRoughness": {"baseColorFactor": [0.8, 0.1, 0.1, 1]}}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": len(local), "type": "VEC3", **bounds},
            {"bufferView": 1, "componentType": 5123, "count": TRIANGLES.size, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": local.nbytes},
            {"buffer": 0, "byteOffset": local.nbytes, "byteLength": 2 * TRIANGLES.size},
        ],
        **more,
    }
    return document, binary


def data_uri(binary: bytes) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(binary).decode()


def write_gltf(path: Path, points: np.ndarray, uri: str | None = None, **more) -> Path:
    document, binary = gltf(points, **more)
    document["buffers"] = [{"byteLength": len(binary), "uri": uri or data_uri(binary)}]
    path.write_text(json.dumps(document))
    return path


def write_glb(path: Path, points: np.ndarray, **more) -> Path:
    document, binary = gltf(points, **more)
    document["buffers"] = [{"byteLength": len(binary)}]
    text = json.dumps(document).encode()
    parts = ((b"JSON", text + b" " * (-len(text) % 4)), (b"BIN\0", binary + b"\0" * (-len(binary) % 4)))
    body = b"".join(struct.pack("<I4s", len(data), kind) + data for kind, data in parts)
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)
    return path


def write_obj(path: Path, points: np.ndarray, head: str = "", tail: str = "") -> Path:
    lines = ["v {:.6f} {:.6f} {:.6f}".format(*p) for p in points]
    lines += ["f " + " ".join(str(k + 1 if k % 2 else k - len(points)) for k in quad) for quad in QUADS]
    path.write_text("\n".join([head, *lines, tail]) + "\n")
    return path


def manifest(folder: Path, *rows: dict) -> Path:
    """rows: what differs from a plain car."""
    plain = {"class": "car", "licence": "CC0-1.0", "length_m": LENGTH, "forward": "+z"}
    path = folder / "manifest.yaml"
    path.write_text(json.dumps([plain | row for row in rows]))  # JSON is YAML
    return path


WRITERS = {"a.gltf": write_gltf, "a.glb": write_glb, "a.obj": write_obj}


def refused(folder, **row):
    """The error of a manifest with this one model."""
    with pytest.raises(UserError) as caught:
        read_manifest(manifest(folder, row))
    assert len(str(caught.value).splitlines()) == 3
    return str(caught.value)


def rewritten(path, change):
    """The glTF at `path` after change(document)."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path
