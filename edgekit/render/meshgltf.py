"""glTF 2.0 and GLB, as far as the bounds of what is drawn need it.

Source: Khronos glTF 2.0 specification (ISO/IEC 12113:2022). What Blender's importer would place otherwise
than we do (skins, animation, compressed meshes, a second scene) is refused, not guessed.
"""

import base64
import binascii
import json
import struct
from typing import Any
from urllib.parse import unquote

import numpy as np

from edgekit.render.meshfiles import Model, ModelError, ModelFiles, check_finite, check_triangles

TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
REQUIRED = ("KHR_materials_", "KHR_texture_", "KHR_lights_", "KHR_mesh_quantization", "EXT_texture_webp")
MOVED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "EXT_mesh_gpu_instancing")
NODES = 100_000
# what a file raises that holds other things than it should
BROKEN = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, struct.error)
Json = dict[str, Any]


def read_gltf(files: ModelFiles) -> Model:
    """Raises ModelError."""
    try:
        with np.errstate(all="ignore"):  # what is not finite is told below
            return _read(files)
    except ModelError:
        raise
    except BROKEN as error:
        raise ModelError(
            f"it is not a whole glTF 2.0 file: {type(error).__name__}: {str(error)[:160]}",
            "export it again; a glTF validator names the fault",
        ) from None


def _read(files: ModelFiles) -> Model:
    data = files.found[0].read_bytes()
    text, binary = _chunks(data) if data[:4] == b"glTF" else (data, None)
    gltf = json.loads(str(text, "utf-8"), parse_constant=_no_constant)
    if gltf["asset"]["version"] != "2.0":
        raise ModelError(f"it is glTF {gltf['asset']['version']}", "export it as glTF 2.0")
    _refuse(gltf)
    buffers = [_buffer(files, b, None if k else binary) for k, b in enumerate(gltf.get("buffers", []))]
    for image in gltf.get("images", []):
        if "uri" in image and not _embedded(image["uri"]):
            files.claim(_path(image["uri"]), "")
    placed = _placed(gltf)
    meshes = gltf.get("meshes", [])
    triangles = sum(_triangles(gltf, p) for mesh, _ in placed for p in meshes[mesh]["primitives"])
    check_triangles(triangles)
    corners = {mesh: _corners(gltf, buffers, meshes[mesh]) for mesh in sorted({mesh for mesh, _ in placed})}
    points = np.concatenate([corners[mesh] @ matrix[:3, :3].T + matrix[:3, 3] for mesh, matrix in placed])
    check_finite(points)
    return Model(points, triangles, tuple(files.found))


def _no_constant(word: str) -> None:
    raise ModelError(f"its JSON holds {word}, which is no number", "export it again")


def _chunks(data: bytes) -> tuple[bytes, bytes | None]:
    """(JSON, binary part) of a GLB."""
    _, version, length = struct.unpack_from("<4sII", data)
    if version != 2 or length != len(data):
        raise ValueError(f"GLB {version} of {length} bytes in a file of {len(data)}")
    parts, at = [], 12
    while at + 8 <= len(data):
        size, kind = struct.unpack_from("<I4s", data, at)
        if at + 8 + size > len(data):
            raise ValueError(f"a chunk of {size} bytes at {at} leads beyond the end")
        parts.append((kind, data[at + 8 : at + 8 + size]))
        at += 8 + size
    if not parts or parts[0][0] != b"JSON":
        raise ValueError("the first chunk of a GLB must be JSON")
    return parts[0][1], parts[1][1] if parts[1:] and parts[1][0] == b"BIN\0" else None


def _refuse(gltf: Json) -> None:
    used = set(gltf.get("extensionsUsed", [])) | set(gltf.get("extensionsRequired", []))
    unread = [e for e in gltf.get("extensionsRequired", []) if not e.startswith(REQUIRED)]
    unread += [e for e in MOVED if e in used]
    if unread:
        raise ModelError(f"it uses {unread[0]}, which is not read here", "export it without that extension")
    for key in ("skins", "animations"):
        if gltf.get(key):
            raise ModelError(
                f"it has {len(gltf[key])} {key}: where its faces are depends on the moment",
                "export it at rest, without armature and animation",
            )


def _embedded(uri: str) -> bool:
    if uri.startswith("data:") and ";base64," not in uri:
        raise ModelError("it holds a data: URI that is not base64", "export it again")
    return uri.startswith("data:")


def _path(uri: str) -> str:
    return unquote(uri.replace("\\", "/"))  # the importer takes backslashes for slashes too


def _buffer(files: ModelFiles, buffer: Json, binary: bytes | None) -> bytes:
    uri = buffer.get("uri")
    if uri is None:
        data = binary
    elif _embedded(uri):
        try:
            data = base64.b64decode(uri.split(";base64,", 1)[1])
        except binascii.Error as error:
            raise ModelError(f"a data: URI is not base64: {error}", "export it again") from None
    else:
        data = files.claim(_path(uri), "").read_bytes()
    if data is None or len(data) < buffer["byteLength"]:
        raise ModelError(
            f"a buffer of {buffer['byteLength']} bytes has {len(data) if data else 0}",
            "copy the whole model: a .gltf needs its .bin beside it",
        )
    return data


def _placed(gltf: Json) -> list[tuple[int, np.ndarray]]:
    """(mesh, 4 x 4 matrix to the file's axes) of every node with a mesh."""
    nodes, scenes = gltf.get("nodes", []), gltf.get("scenes", [])
    roots = scenes[gltf.get("scene", 0)].get("nodes", []) if scenes else []
    found, todo, seen = [], [(root, np.eye(4)) for root in reversed(roots)], set()
    while todo:
        index, above = todo.pop()
        if index in seen or not 0 <= index < len(nodes) or len(seen) > NODES:
            raise ValueError(f"node {index} is in the tree twice, is not there, or is one of over {NODES}")
        seen.add(index)
        node = nodes[index]
        matrix = above @ _matrix(node)
        if "mesh" in node:
            found.append((node["mesh"], matrix))
        todo += [(child, matrix) for child in reversed(node.get("children", []))]
    beside = [k for k, node in enumerate(nodes) if "mesh" in node and k not in seen]
    if beside:
        raise ModelError(
            f"{len(beside)} of its nodes with a mesh are outside its default scene (node {beside[0]})",
            "export one scene, with what shall be drawn and nothing else",
        )
    return found


def _matrix(node: Json) -> np.ndarray:
    if "matrix" in node:
        return np.array(node["matrix"], float).reshape(4, 4).T  # stored by columns
    x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1)), float)
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)), float)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _triangles(gltf: Json, primitive: Json) -> int:
    """By the counts that the file states; points and lines are no surface."""
    accessor = primitive.get("indices", primitive["attributes"]["POSITION"])
    count, mode = gltf["accessors"][accessor]["count"], primitive.get("mode", 4)
    return {4: count // 3, 5: max(0, count - 2), 6: max(0, count - 2)}.get(mode, 0)


def _corners(gltf: Json, buffers: list[bytes], mesh: Json) -> np.ndarray:
    """(n, 3): what the mesh's triangles use of its positions."""
    found = [np.empty((0, 3))]
    for primitive in mesh["primitives"]:
        if not _triangles(gltf, primitive):
            continue
        points = _accessor(gltf, buffers, primitive["attributes"]["POSITION"], 3)
        check_finite(points)
        if "indices" in primitive:
            points = points[np.unique(_accessor(gltf, buffers, primitive["indices"], 1))]
        found.append(points.astype(float))
    return np.concatenate(found)


def _accessor(gltf: Json, buffers: list[bytes], index: int, width: int) -> np.ndarray:
    """(count, 3) float64, or (count,) of whole numbers where width is 1."""
    accessor = gltf["accessors"][index]
    if "sparse" in accessor or "bufferView" not in accessor:
        raise ModelError("its positions are a sparse accessor, which is not read here", "export it without")
    if accessor["type"] != {3: "VEC3", 1: "SCALAR"}[width]:
        raise ValueError(f"accessor {index} is {accessor['type']}")
    view, kind = gltf["bufferViews"][accessor["bufferView"]], np.dtype(TYPES[accessor["componentType"]])
    count, item = accessor["count"], kind.itemsize * width
    stride = (view.get("byteStride") or item) if width > 1 else item
    inner, start = accessor.get("byteOffset", 0), view.get("byteOffset", 0)
    end = inner + (count - 1) * stride + item
    if min(count, inner, start, stride) < 0 or end > view["byteLength"]:
        raise ValueError(f"accessor {index} needs {end} bytes of a view of {view['byteLength']}")
    if start + view["byteLength"] > len(buffers[view["buffer"]]):
        raise ValueError(f"buffer view {accessor['bufferView']} leads beyond its buffer")
    array = np.ndarray((count, width), kind, buffers[view["buffer"]], start + inner, (stride, kind.itemsize))
    if width == 1:
        return array[:, 0].astype(np.int64)
    top = np.iinfo(kind).max if accessor.get("normalized") and kind.kind != "f" else 1
    return np.maximum(array / np.float64(top), -1.0) if top != 1 else array.astype(float)
