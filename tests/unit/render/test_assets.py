"""The assets manifest: sizes from the mesh whatever its axes, and a plain word for everything that is wrong."""

import json
import os

import numpy as np
import pytest

from edgekit.core.errors import UserError
from edgekit.render import assets
from edgekit.render.assets import asset_digest, read_manifest
from tests.unit.render.wedge import (
    AXES,
    BODY,
    WRITERS,
    gltf,
    in_file_axes,
    manifest,
    refused,
    write_glb,
    write_gltf,
    write_obj,
)

# --- what is right ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("up", sorted(AXES))
@pytest.mark.parametrize("forward", sorted(AXES))
def test_sizes_in_any_axes_and_unit(tmp_path, name, forward, up):
    WRITERS[name](tmp_path / name, in_file_axes(forward, up, unit=10.0))
    row = {"path": name, "forward": forward, "up": up}
    if forward[1] == up[1]:
        assert "along one axis" in refused(tmp_path, **row)
        return
    spec = read_manifest(manifest(tmp_path, row))[0].spec()
    hull = np.array(spec.pop("hull"))
    assert len(hull) == len(BODY)  # each corner of the wedge is one of its convex hull
    assert np.abs(hull[:, None] - BODY[None]).max(axis=2).min(axis=0).max() < 0.002
    assert spec == {
        "path": str(tmp_path / name), "class": "car", "length_m": 4.0, "width_m": 1.8, "height_m": 1.4,
        "forward": forward, "up": up,
    }  # fmt: skip


def test_scaled_to_its_length(tmp_path):
    write_obj(tmp_path / "a.obj", in_file_axes(unit=1000))
    asset = read_manifest(manifest(tmp_path, {"path": "a.obj", "length_m": 5.0}))[0]
    assert (asset.length_m, round(asset.width_m, 4), round(asset.height_m, 4)) == (5.0, 2.25, 1.75)
    assert asset.triangles == 12


def test_only_the_corners_of_faces_count(tmp_path):
    far = np.vstack([in_file_axes(), [[1000, 1000, 1000]]])
    for name, write in WRITERS.items():
        write(tmp_path / name, far) if name != "a.obj" else None
    write_obj(tmp_path / "a.obj", in_file_axes(), tail="v 1000 1000 1000\nl 1 9\np 9")
    for asset in read_manifest(manifest(tmp_path, *({"path": name} for name in WRITERS))):
        assert asset.width_m == pytest.approx(1.8)


def test_quantised_and_interleaved_positions(tmp_path):
    """Positions in normalised 16-bit numbers, 8 bytes apart, as compressed exports have them."""
    points = (BODY @ np.array([AXES["-x"], AXES["+z"], AXES["+y"]])) / 4  # forward +z, up +y, inside -1..1
    packed = np.zeros((8, 4), "<i2")
    packed[:, :3] = np.rint(points * 32767)
    document, binary = gltf(in_file_axes(), extensionsRequired=["KHR_mesh_quantization"])
    indices = binary[96:]
    document["nodes"] = [{"mesh": 0}, {}, {}]
    document["accessors"][0] = {
        "bufferView": 0, "componentType": 5122, "normalized": True, "count": 8, "type": "VEC3"
    }  # fmt: skip
    document["bufferViews"] = [
        {"buffer": 0, "byteLength": 64, "byteStride": 8},
        {"buffer": 0, "byteOffset": 64, "byteLength": len(indices)},
    ]
    whole = packed.tobytes() + indices
    document["buffers"] = [{"byteLength": len(whole), "uri": "my%20buffer.bin"}]
    (tmp_path / "my buffer.bin").write_bytes(whole)
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    asset = read_manifest(manifest(tmp_path, {"path": "a.gltf"}))[0]
    assert (asset.width_m, asset.height_m) == pytest.approx((1.8, 1.4), abs=3e-4)
    assert [name for name, _ in asset.files] == ["a.gltf", "my buffer.bin"]


def test_the_hull_of_a_round_body_is_as_large_as_it(tmp_path):
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(3000, 3))
    ball *= (0.9, 0.7, 2.0) / np.linalg.norm(ball, axis=1, keepdims=True)
    faces = "\n".join(f"f {k} {k + 1} {k + 2}" for k in range(1, 2998, 3))
    (tmp_path / "a.obj").write_text(
        "\n".join("v {:.5f} {:.5f} {:.5f}".format(*p) for p in ball) + "\n" + faces
    )
    asset = read_manifest(manifest(tmp_path, {"path": "a.obj"}))[0]
    hull = np.array(asset.hull)
    assert np.ptp(hull, axis=0) == pytest.approx((asset.width_m, 4.0, asset.height_m), abs=0.001)
    ball = ball @ np.array([AXES["-x"], AXES["+z"], AXES["+y"]]).T  # to our frame
    ball -= (ball.max(axis=0) + ball.min(axis=0)) / 2
    ball *= 4.0 / np.ptp(ball[:, 1])
    for direction in rng.normal(size=(100, 3)):
        truly = (ball @ direction).max()
        reached = ((hull - (0, 0, asset.height_m / 2)) @ direction).max()
        assert 0.98 * truly < reached < truly + 0.002 * np.linalg.norm(direction)


def test_the_order_of_the_manifest_and_folders_below_it(tmp_path):
    (tmp_path / "cars").mkdir()
    write_glb(tmp_path / "cars" / "b.glb", in_file_axes())
    write_obj(tmp_path / "a.obj", in_file_axes())
    found = read_manifest(manifest(tmp_path, {"path": "cars/b.glb"}, {"path": "a.obj", "licence": " MIT "}))
    assert [asset.name for asset in found] == ["cars/b.glb", "a.obj"]
    assert found[1].licence == "MIT"
    assert found[0].files[0][0] == "cars/b.glb"


# --- the manifest ----------------------------------------------------------------------------------


def test_a_manifest_that_is_none(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_manifest(tmp_path / "manifest.yaml")
    for text, said in (
        ("a: [", "not YAML"),
        ("path: a.glb", "it holds dict"),
        ("[]", "a list of 0"),
        ("", "NoneType"),
    ):
        (tmp_path / "manifest.yaml").write_text(text)
        with pytest.raises(UserError, match=said):
            read_manifest(tmp_path / "manifest.yaml")
    (tmp_path / "manifest.yaml").write_text("- a.glb")
    with pytest.raises(UserError, match="asset 1 is not a group of keys"):
        read_manifest(tmp_path / "manifest.yaml")
    (tmp_path / "manifest.yaml").write_bytes(b"\xff\xfe- \x00")
    with pytest.raises(UserError, match="not YAML"):
        read_manifest(tmp_path / "manifest.yaml")


def test_a_manifest_is_not_read_when_it_is_too_large(tmp_path, monkeypatch):
    write_obj(tmp_path / "a.obj", in_file_axes())
    path = manifest(tmp_path, {"path": "a.obj"})
    monkeypatch.setattr(assets, "MANIFEST_BYTES", path.stat().st_size - 1)
    with pytest.raises(UserError, match="are read"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"lenght_m": 4}, "did you mean 'length_m'"),
        ({"license": "MIT"}, "did you mean 'licence'"),
        ({"class": "tram"}, "class is not valid"),
        ({"class": "cone"}, "class is not valid"),
        ({"licence": "  "}, "licence is not valid"),
        ({"licence": ""}, "licence is not valid"),
        ({"licence": None}, "licence is not valid"),
        ({"length_m": 0}, "length_m is not valid"),
        ({"length_m": "inf"}, "length_m is not valid"),
        ({"length_m": 25.0}, "a car is 2.3 to 6.5 m long"),
        ({"forward": "x"}, "forward is not valid"),
        ({"forward": "+y"}, "along one axis"),
        ({"forward": "+x"}, "a car is 1.2 to 2.5 m wide"),  # 1.8 units forward are taken for 4 m: 8.9 m wide
        ({"class": "bus", "length_m": 6.0}, "a bus is 2.2 to 4.6 m high"),
    ],
)
def test_a_line_that_is_wrong(tmp_path, row, said):
    write_obj(tmp_path / "a.obj", in_file_axes())
    assert said in refused(tmp_path, path="a.obj", **row)


def test_a_key_that_is_missing(tmp_path):
    (tmp_path / "manifest.yaml").write_text("- path: a.obj\n  class: car\n  length_m: 4\n  forward: -x\n")
    with pytest.raises(UserError, match="licence is not valid"):
        read_manifest(tmp_path / "manifest.yaml")


# --- paths -----------------------------------------------------------------------------------------


def test_a_model_outside_the_manifests_folder(tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    model = write_obj(tmp_path / "a.obj", in_file_axes())
    os.symlink(model, folder / "link.obj")
    os.symlink(tmp_path, folder / "up")
    for path in ("../a.obj", str(model), "link.obj", "up/a.obj", "x/../../a.obj"):
        assert "leads out of the manifest's folder" in refused(folder, path=path)


def test_a_model_that_is_not_there_or_no_model(tmp_path):
    assert "no such file" in refused(tmp_path, path="a.glb")
    (tmp_path / "a.glb").mkdir()
    assert "no such file" in refused(tmp_path, path="a.glb")
    (tmp_path / "a.blend").write_bytes(b"BLENDER")
    assert ".blend is not read" in refused(tmp_path, path="a.blend")
    os.symlink("round.glb", tmp_path / "round.glb")
    assert "leads out" in refused(tmp_path, path="round.glb")


@pytest.mark.parametrize(
    "uri", ["../a.bin", "/etc/hostname", "%2e%2e/a.bin", "..\\a.bin", "file:///etc/hostname", "link.bin"]
)
def test_buffers_and_textures_outside_the_models_folder(tmp_path, uri):
    folder = tmp_path / "inner"
    folder.mkdir()
    binary = gltf(in_file_axes())[1]
    (tmp_path / "a.bin").write_bytes(binary)
    os.symlink(tmp_path / "a.bin", folder / "link.bin")
    write_gltf(folder / "a.gltf", in_file_axes(), uri)
    assert "leads out of its folder" in refused(folder, path="a.gltf")
    write_gltf(folder / "a.gltf", in_file_axes(), images=[{"uri": uri}])
    assert "leads out of its folder" in refused(folder, path="a.gltf")
    name = uri.replace("%2e", ".")  # OBJ knows no such escapes
    write_obj(folder / "a.obj", in_file_axes(), f"mtllib {name}")
    assert "leads out of its folder" in refused(folder, path="a.obj")
    (folder / "a.mtl").write_text(f"newmtl a\nmap_Kd -o 0.5 -bm 2 {name}\n")
    write_obj(folder / "a.obj", in_file_axes())  # a.mtl is looked for without being named
    assert "leads out of its folder" in refused(folder, path="a.obj")


def test_a_way_round_through_another_folder_is_not_followed(tmp_path):
    """x may be a link, and x/.. elsewhere."""
    (tmp_path / "x").mkdir()
    (tmp_path / "a.bin").write_bytes(gltf(in_file_axes())[1])
    write_gltf(tmp_path / "a.gltf", in_file_axes(), "x/../a.bin")
    assert "leads out of its folder" in refused(tmp_path, path="a.gltf")


def test_materials_in_folders_below_and_names_with_blanks(tmp_path):
    (tmp_path / "my maps").mkdir()
    (tmp_path / "my maps" / "a b.png").write_bytes(b"1")
    (tmp_path / "my maps" / "car paint.mtl").write_text(
        "newmtl a\nmap_Bump -bm 0.5 -s 2 2 a b.png\nKd 1 1 1\n"
    )
    write_obj(tmp_path / "a.obj", in_file_axes(), "mtllib my maps\\car paint.mtl")
    assert "no such file" in refused(tmp_path, path="a.obj")  # a backslash at no line's end is part of a name
    write_obj(tmp_path / "a.obj", in_file_axes(), "mtllib \\\nmy maps/car paint.mtl")
    found = read_manifest(manifest(tmp_path, {"path": "a.obj"}))[0]
    assert [name for name, _ in found.files] == ["a.obj", "my maps/car paint.mtl", "my maps/a b.png"]


def test_buffers_and_textures_that_are_missing(tmp_path):
    write_gltf(tmp_path / "a.gltf", in_file_axes(), "a.bin")
    assert "'a.bin', and there is no such file" in refused(tmp_path, path="a.gltf")
    (tmp_path / "a.bin").write_bytes(gltf(in_file_axes())[1][:-1])
    assert "a buffer of 168 bytes has 167" in refused(tmp_path, path="a.gltf")
    write_gltf(tmp_path / "a.gltf", in_file_axes(), images=[{"uri": "paint.png"}])
    assert "'paint.png', and there is no such file" in refused(tmp_path, path="a.gltf")
    write_obj(tmp_path / "a.obj", in_file_axes(), "mtllib b.mtl")
    assert "'b.mtl', and there is no such file" in refused(tmp_path, path="a.obj")


# --- the digest ------------------------------------------------------------------------------------


def test_the_digest_is_of_what_is_said_and_of_every_file(tmp_path):
    def written(name, **row):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "a.bin").write_bytes(gltf(in_file_axes())[1])
        (folder / "1.png").write_bytes(b"1")
        write_gltf(folder / "a.gltf", in_file_axes(), "a.bin", images=[{"uri": "1.png"}])
        (folder / "beside.txt").write_text(name)  # no part of it
        return manifest(folder, {"path": "a.gltf", **row})

    first = written("first")
    digest = asset_digest(first)
    assert digest == asset_digest(first) == asset_digest(written("elsewhere"))
    said = [
        asset_digest(written(f"{k}", **row)) for k, row in enumerate(({"licence": "MIT"}, {"length_m": 4.1}))
    ]
    (first.parent / "1.png").write_bytes(b"2")
    painted = asset_digest(first)
    (first.parent / "a.bin").write_bytes(gltf(in_file_axes(offset=(0, 0, 0)))[1])
    assert len({digest, *said, painted, asset_digest(first)}) == 5
