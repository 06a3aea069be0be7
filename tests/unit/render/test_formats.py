"""What is written is read back with code of this file's own, and must agree with ids and truth."""

import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from edgekit.core.errors import UserError
from edgekit.render.classes import CLASSES
from edgekit.render.formats import FORMATS, check_formats, write_formats

CFG = SimpleNamespace(width=224, height=126, hfov_deg=60.0)
FOCAL = 112 / np.tan(np.radians(30))
SPLIT = {"s000001_000": "train", "s000002_000": "test", "s000003_000": "train"}
LABEL = {"light": "red", "cones": "yes"}


def corners(location, dimensions, around):
    """KITTI's box: (8, 3) camera-frame corners of h, w, l above the middle of its bottom."""
    h, w, l = dimensions  # noqa: E741
    x = np.array([1, 1, -1, -1] * 2) * l / 2
    y = np.array([0] * 4 + [-h] * 4)
    z = np.array([1, -1, -1, 1] * 2) * w / 2
    c, s = np.cos(around), np.sin(around)
    return np.stack([c * x + s * z, y, -s * x + c * z], axis=1) + location


def pixels_of(points):
    return 112 + FOCAL * points[:, 0] / points[:, 2], 63 + FOCAL * points[:, 1] / points[:, 2]


def thing(kind, instance, location, dimensions, around=0.0, **more):
    u, v = pixels_of(corners(location, dimensions, around))
    whole = [u.min(), v.min(), u.max(), v.max()]
    box = [max(0.0, whole[0]), max(0.0, whole[1]), min(224.0, whole[2]), min(126.0, whole[3])]
    area = lambda b: (b[2] - b[0]) * (b[3] - b[1])  # noqa: E731
    return {
        "class": kind, "instance": instance, "id": CLASSES[kind] * 1000 + instance, "name": f"{kind}{instance}",
        "box": [round(float(x), 2) for x in box], "truncated": round(1 - area(box) / area(whole), 3),
        "distance_m": location[2], "location": list(location), "dimensions": list(dimensions),
        "rotation_y": around, "keypoints": {}, "attributes": {}, **more,
    }  # fmt: skip


def things():
    """From far to near, so that the near ones cover the far."""
    out = [
        thing("person", 4, (1.2, 1.4, 30.0), (1.3, 0.6, 0.6)),  # wholly behind the car
        thing("car", 7, (1.0, 1.4, 18.0), (1.5, 1.8, 4.4), -1.4, attributes={"parked": False, "brake": True}),
        thing("bicycle", 2, (-6.0, 1.4, 14.0), (1.0, 0.5, 1.7), 1.57, name="b2"),
        thing("rider", 2, (-6.0, 0.9, 14.0), (1.2, 0.5, 0.8), 1.57, name="b2"),
        thing("head", 1, (4.0, -2.0, 16.0), (1.15, 0.2, 0.44), 0.1,
              attributes={"state": "red", "arrow": "any", "kind": "intersection", "governs": True}),
        thing("cone", 3, (0.2, 1.4, 7.0), (0.75, 0.42, 0.42)),
        thing("truck", 1, (-6.5, 1.4, 9.0), (3.0, 2.4, 7.5), 1.5),  # cut by the left edge
        thing("cone", 12, (2.0, 1.4, 6.0), (0.75, 0.42, 0.42)),
    ]  # fmt: skip
    for one in out:
        if one["class"] == "cone":
            h = one["dimensions"][0]
            x, y, z = one["location"]
            (u, _), (tip, foot) = pixels_of(np.array([[x, y - h + 0.05, z], [x, y - 0.02, z]]))
            one["keypoints"] = {
                "tip": [round(float(u), 2), round(float(tip), 2), 2],
                "foot": [round(float(u), 2), round(float(foot), 2), 1 if one["instance"] == 3 else 2],
            }
    return out


def painted(members):
    """(126, 224) uint16: every thing a filled rectangle, the head with a lit lamp inside."""
    ids = np.full((126, 224), CLASSES["road"] * 1000, np.uint16)
    ids[:60] = CLASSES["sky"] * 1000
    for one in members:
        u0, v0, u1, v1 = np.rint(one["box"]).astype(int)
        ids[v0:v1, u0:u1] = one["id"]
        if one["class"] == "head":
            ids[v0 + 1 : v0 + 4, u0 + 1 : u1 - 1] = CLASSES["lamp_red"] * 1000 + one["instance"]
    for one in members:
        mask = mask_of(ids, one)
        rows, columns = np.nonzero(mask)
        one["pixels"] = int(mask.sum())
        one["box_visible"] = (
            [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
            if len(rows)
            else None
        )
        u0, v0, u1, v1 = one["box"]
        one["visible_share"] = round(min(1.0, one["pixels"] / ((u1 - u0) * (v1 - v0))), 3)
    return ids


def mask_of(ids, one):
    if one["class"] != "head":
        return ids == one["id"]
    of_heads = [CLASSES[n] for n in ("head", "lamp_red", "lamp_yellow", "lamp_green", "lamp_dark")]
    return np.isin(ids // 1000, of_heads) & (ids % 1000 == one["instance"])


def build(out):
    """An out/ folder of three frames (the last shows nothing); its records, in no order."""
    records = []
    for number, (stem, split) in enumerate(SPLIT.items()):
        members = [things(), things()[2:6], []][number]
        ids = painted(members)
        rng = np.random.default_rng(number)
        for folder in ("images", "ids", "depth"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (126, 224, 3), np.uint8)).save(out / "images" / f"{stem}.jpg")
        Image.fromarray(ids).save(out / "ids" / f"{stem}.png")
        if number == 0:
            depth = rng.uniform(1, 90, ids.shape).astype(np.float16)
            depth[:60] = np.inf
            np.savez_compressed(out / "depth" / f"{stem}.npz", depth_m=depth)
        camera = {"x": 1.0, "y": 2.0, "z": 1.4, "yaw_deg": 90.0, "pitch_deg": 0.0}
        truth = {"id": stem.replace("_", "/000"), "things": members, "camera": camera, "label": LABEL}
        records.append(
            {"split": split, "row": {"images": [f"images/{stem}.jpg"], "tags": ["rain"]}, "truth": truth}
        )
    return records[::-1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("h5py")
    out = tmp_path_factory.mktemp("run") / "out"
    records = build(out)
    write_formats(FORMATS, out, records, CFG)
    ids = {stem: np.asarray(Image.open(out / "ids" / f"{stem}.png")) for stem in SPLIT}
    return out, {r["row"]["images"][0][7:-4]: r["truth"]["things"] for r in records}, ids


def shown(members):
    return [one for one in members if one["pixels"]]


def decoded(rle):
    """COCO's runs, walked one by one, down the columns."""
    height, width = rle["size"]
    flat, at, value = np.zeros(height * width, bool), 0, False
    for count in rle["counts"]:
        flat[at : at + count] = value
        at, value = at + count, not value
    assert at == height * width
    return flat.reshape(width, height).T


def test_the_synthetic_frame_is_worth_testing_on(run):
    _, truth, _ = run
    first = {one["name"]: one for one in truth["s000001_000"]}
    assert first["person4"]["pixels"] == 0 and first["person4"]["box_visible"] is None
    assert first["truck1"]["truncated"] > 0.1 and 0.3 < first["car7"]["visible_share"] < 1
    assert first["head1"]["pixels"] > 30


def test_coco_masks_boxes_and_key_points_are_those_of_the_ids(run):
    out, truth, ids = run
    seen = []
    for split in ("train", "dev", "test"):
        table = json.loads((out / "coco" / f"instances_{split}.json").read_text())
        names = {c["id"]: c for c in table["categories"]}
        assert {c["name"]: c["id"] for c in table["categories"]}.items() <= CLASSES.items()
        assert names[CLASSES["cone"]]["keypoints"] == ["tip", "foot"]
        assert names[CLASSES["cone"]]["skeleton"] == [[1, 2]]
        assert "keypoints" not in names[CLASSES["car"]]
        images = {image["id"]: image for image in table["images"]}
        assert {i["file_name"][7:-4] for i in images.values()} == {s for s, v in SPLIT.items() if v == split}
        assert all((out / i["file_name"]).is_file() and i["tags"] == ["rain"] for i in images.values())
        for row in table["annotations"]:
            stem = images[row["image_id"]]["file_name"][7:-4]
            kind = names[row["category_id"]]["name"]
            (one,) = [t for t in truth[stem] if t["class"] == kind and t["name"] == row["attributes"]["name"]]
            mask = decoded(row["segmentation"])
            assert np.array_equal(mask, mask_of(ids[stem], one))
            rows, columns = np.nonzero(mask)
            u, v, w, h = row["bbox"]
            assert [u, v, u + w, v + h] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert row["area"] == len(rows) == one["pixels"]
            u, v, w, h = row["bbox_amodal"]
            assert np.allclose([u, v, u + w, v + h], one["box"], atol=0.02)
            assert row["attributes"]["occlusion"] == pytest.approx(1 - one["visible_share"])
            assert row["attributes"]["truncation"] == one["truncated"]
            assert one["attributes"].items() <= row["attributes"].items() and row["iscrowd"] == 0
            if kind == "cone":
                points = np.reshape(row["keypoints"], (2, 3))
                assert points.tolist() == list(one["keypoints"].values()) and row["num_keypoints"] == 2
                assert all(mask[int(y), int(x)] for x, y, flag in points if flag == 2)
            else:
                assert "keypoints" not in row
            seen.append((row["id"], stem, one["id"]))
    assert len({number for number, *_ in seen}) == len(seen)
    assert {(stem, tid) for _, stem, tid in seen} == {(s, t["id"]) for s in SPLIT for t in shown(truth[s])}


def test_yolo_boxes_are_the_masks_bounds(run):
    import yaml

    out, truth, ids = run
    facts = yaml.safe_load((out / "yolo" / "data.yaml").read_text())
    for key, split in (("train", "train"), ("val", "dev"), ("test", "test")):
        folder = out / "yolo" / facts[key]
        stems = [stem for stem in SPLIT if SPLIT[stem] == split]
        assert sorted(p.stem for p in folder.iterdir()) == stems
        for stem in stems:
            assert (folder / f"{stem}.jpg").read_bytes() == (out / "images" / f"{stem}.jpg").read_bytes()
            text = (out / "yolo" / "labels" / split / f"{stem}.txt").read_text()
            found = set()
            for line in text.splitlines():
                number, *box = line.split()
                u, v, w, h = np.array(box, float) * [224, 126, 224, 126]
                found.add(
                    (facts["names"][int(number)], *np.round([u - w / 2, v - h / 2, u + w / 2, v + h / 2], 3))
                )
            wanted = set()
            for one in shown(truth[stem]):
                rows, columns = np.nonzero(mask_of(ids[stem], one))
                wanted.add((one["class"], columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
            assert found == wanted
    assert sorted(facts["names"]) == list(range(12))


def kitti(out, stem):
    folder = out / "kitti" / SPLIT[stem]
    assert (folder / "image_2" / f"{stem}.jpg").read_bytes() == (out / "images" / f"{stem}.jpg").read_bytes()
    calib = dict(line.split(": ") for line in (folder / "calib" / f"{stem}.txt").read_text().splitlines())
    rows = [line.split() for line in (folder / "label_2" / f"{stem}.txt").read_text().splitlines()]
    matrices = {k: np.array(v.split(), float).reshape(3, -1) for k, v in calib.items()}
    return matrices, [(row[0], np.array(row[1:], float)) for row in rows]


def test_kittis_boxes_in_space_project_onto_those_in_the_image(run):
    out, truth, _ = run
    for stem in SPLIT:
        matrices, rows = kitti(out, stem)
        assert len(rows) == len(shown(truth[stem])) - any(t["class"] == "rider" for t in truth[stem])
        for kind, numbers in rows:
            assert len(numbers) == 14
            (cut, hidden, alpha), box, dims = numbers[:3], numbers[3:7], numbers[7:10]
            place, around = numbers[10:13], numbers[13]
            points = np.c_[corners(place, dims, around), np.ones(8)] @ matrices["P2"].T
            u, v = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
            assert u.min() < (box[0] + box[2]) / 2 < u.max() and v.min() < (box[1] + box[3]) / 2 < v.max(), (
                kind
            )
            clipped = [max(0, u.min()), max(0, v.min()), min(224, u.max()), min(126, v.max())]
            assert np.allclose(clipped, box, atol=0.8), kind  # metres are written to two decimals
            sight = np.arctan2(place[0], place[2])
            assert np.cos(alpha - (around - sight)) > 0.999 and -np.pi <= alpha <= np.pi
            assert 0 <= cut <= 1 and hidden in (0, 1, 2)


def test_kitti_takes_rider_and_bicycle_for_one_cyclist(run):
    out, truth, _ = run
    rows = dict(kitti(out, "s000002_000")[1])
    assert set(rows) == {"Cyclist", "Head", "Cone"}
    parts = {t["class"]: t for t in truth["s000002_000"]}
    whole = rows["Cyclist"]
    assert whole[7] == pytest.approx(1.7)  # the rider's top: 0.5 m higher than its feet, and 1.2 m tall
    assert whole[3] <= parts["bicycle"]["box"][0] + 0.01 and whole[4] == pytest.approx(
        parts["rider"]["box"][1], abs=0.01
    )
    assert whole[6] == pytest.approx(parts["bicycle"]["box"][3], abs=0.01)
    occluded = {kind: row[1] for kind, row in kitti(out, "s000001_000")[1]}
    assert occluded["Truck"] == 0 and occluded["Cyclist"] > 0  # the truck stands before them


def test_kittis_lidar_axes_turn_into_the_cameras(run):
    matrices, _ = kitti(run[0], "s000003_000")
    forward, left, up = np.c_[np.eye(3), np.ones(3)] @ matrices["Tr_velo_to_cam"].T
    assert forward.tolist() == [0, 0, 1] and left.tolist() == [-1, 0, 0] and up.tolist() == [0, -1, 0]
    assert np.allclose(matrices["P2"], [[FOCAL, 0, 112, 0], [0, FOCAL, 63, 0], [0, 0, 1, 0]])


def test_hdf5_holds_the_same_arrays(run):
    import h5py

    out, truth, ids = run
    for stem in SPLIT:
        with h5py.File(out / "hdf5" / f"{stem}.hdf5") as file:
            with Image.open(out / "images" / f"{stem}.jpg") as image:
                assert np.array_equal(file["colors"][:], np.asarray(image))
            assert np.array_equal(file["class_segmaps"][:], ids[stem] // 1000)
            instances, rows = file["instance_segmaps"][:], json.loads(file["instance_attribute_maps"][()])
            assert {row["idx"] for row in rows} == set(np.unique(instances).tolist())
            for one in shown(truth[stem]):
                assert np.array_equal(instances == one["id"], mask_of(ids[stem], one))
                (row,) = [row for row in rows if row["idx"] == one["id"]]
                assert row["name"] == one["name"] and row["category_id"] == CLASSES[one["class"]]
                assert row["attributes"] == one["attributes"] and row["location"] == one["location"]
            still = ~np.isin(instances, [one["id"] for one in truth[stem]])
            assert np.array_equal(instances[still], ids[stem][still])
            assert ("depth" in file) == (stem == "s000001_000")
            if "depth" in file:
                with np.load(out / "depth" / f"{stem}.npz") as depth:
                    assert np.array_equal(file["depth"][:], depth["depth_m"].astype(np.float32))
            assert json.loads(file["label"][()]) == LABEL
            # yaw 90 degrees: it looks to the west, its right is the north
            ahead = file["cam2world_matrix"][:] @ [0, 0, -10, 1]
            assert np.allclose(ahead, [-9, 2, 1.4, 1]) and np.allclose(file["cam_K"][0], [FOCAL, 0, 112])
            assert np.allclose(file["cam2world_matrix"][:] @ [3, 1, 0, 1], [1, 5, 2.4, 1])


def test_hdf5s_pose_tilts_as_the_camera_does():
    from edgekit.render.camera import Camera
    from edgekit.render.formats.hdf5 import cam2world

    camera = Camera(224, 126, 60.0, 3.0, -4.0, 1.4, yaw_deg=33.0, pitch_deg=-7.0)
    rng = random.Random(1)
    for _ in range(20):
        u, v, depth = rng.uniform(0, 224), rng.uniform(0, 126), rng.uniform(1, 50)
        local = [(u - 112) / FOCAL * depth, -(v - 63) / FOCAL * depth, -depth, 1]
        assert camera.project(tuple((cam2world(camera) @ local)[:3])) == pytest.approx((u, v, depth))


def test_cityscapes_train_ids(run):
    out, truth, ids = run
    for stem in SPLIT:
        with Image.open(out / "cityscapes" / f"{stem}_labelTrainIds.png") as image:
            assert image.mode == "L"
            labels = np.asarray(image)
        for name, number in {
            "road": 0,
            "sky": 10,
            "car": 13,
            "truck": 14,
            "rider": 12,
            "lamp_red": 6,
            "cone": 255,
        }.items():
            of_class = ids[stem] // 1000 == CLASSES[name]
            assert (labels[of_class] == number).all()
    assert (out / "cityscapes" / "train.txt").read_text().split() == ["s000001_000", "s000003_000"]


def everything(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_bytes_again_whatever_the_order_and_what_was_there(run, tmp_path):
    out, *_ = run
    records = build(tmp_path)
    for name in FORMATS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "s000009_000.txt").write_text("of a scene that is left out")
    write_formats(FORMATS, tmp_path, records[::-1], CFG)
    first, again = everything(out), everything(tmp_path)
    assert first.keys() == again.keys() and not [name for name in again if name.endswith((".part", ".tmp"))]
    assert [name for name in first if first[name] != again[name]] == []


def test_run_lengths_of_masks_that_touch_the_corners():
    from edgekit.render.formats.coco import rle

    rng = np.random.default_rng(3)
    for shape in ((1, 1), (5, 7), (7, 5)):
        for mask in (np.zeros(shape, bool), np.ones(shape, bool), rng.random(shape) < 0.5):
            assert np.array_equal(decoded(rle(mask)), mask)
            whole = np.pad(mask, ((0, 0), (3, 2)))
            assert rle(whole) == rle(mask, 3, mask.shape[1] + 5)
            assert rle(whole[:, :-2]) == rle(mask, 3, mask.shape[1] + 3)
    assert rle(np.array([[1, 0], [1, 1]], bool)) == {"size": [2, 2], "counts": [0, 2, 1, 1]}


def test_unknown_formats_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="did you mean 'coco'"):
        write_formats(["yolo", "coc"], tmp_path, [], CFG)
    assert not list(tmp_path.iterdir())
    check_formats([])
    for name in FORMATS:
        check_formats([name] if name != "hdf5" else [])


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setattr("edgekit.render.formats.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs h5py"):
        check_formats(["hdf5"])


def test_the_table_of_formats_imports_nothing_heavy():
    import subprocess
    import sys

    code = "import sys, edgekit.render.formats as f; print([m for m in ('h5py', 'numpy', 'PIL') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
