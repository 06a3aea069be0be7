import json

import numpy as np
import pytest

from edgekit.core.contract import Contract, require_same
from edgekit.core.errors import UserError
from edgekit.core.label import SceneLabel
from edgekit.dataset import DatasetWriter, Sample, TaskMark, open_dataset
from edgekit.dataset.answers import AnswerLog
from edgekit.engine.answerer import Answer

CONTRACT = Contract(width=84, height=56)
LABEL = SceneLabel(
    recommended_speed_kmh="40", light="red", light_arrow="any", light_kind="intersection",
    other_left="none", other_straight="none", other_right="none",
    cones="no", obstacle="none", crossroad="yes", zebra="no",
)  # fmt: skip


def picture(seed=0, size=(56, 84)):
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)


def sample(writer, name, scene, **more):
    image = writer.image(name, picture())
    return Sample.of(
        prompt_text="What is ahead?",
        label=LABEL,
        source="render",
        id=name,
        images=[image],
        scene=scene,
        **more,
    )


def write(folder):
    writer = DatasetWriter(folder, CONTRACT, renderer="numpy")
    writer.add("train", sample(writer, "a0", "a", tags=["night"]))
    writer.add("test", sample(writer, "b0", "b"))
    writer.finish()
    return open_dataset(folder)


def test_what_is_written_is_read(tmp_path):
    data = write(tmp_path)
    (row,) = data.rows("train")
    assert row.label == LABEL and row.tasks["light"] == TaskMark(source="render")
    assert row.user_text == "What is ahead?" and row.messages[0]["content"].startswith("<image>")
    assert data.contract == CONTRACT and data.info["counts"]["train"]["labels"]["light"] == {"red": 1}
    assert data.image(row).shape == (56, 84, 3) and data.rows("dev") == []


def test_writing_twice_gives_the_same_bytes(tmp_path):
    write(tmp_path / "1"), write(tmp_path / "2")
    for path in (tmp_path / "1").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "2" / path.relative_to(tmp_path / "1")).read_bytes()


def test_images_are_stored_at_the_contract_s_size(tmp_path):
    writer = DatasetWriter(tmp_path, CONTRACT)
    writer.image("big", picture(size=(360, 640)))
    from PIL import Image

    with Image.open(tmp_path / "images/big.jpg") as image:
        assert image.size == (84, 56)


def test_a_scene_on_both_sides_of_a_split_is_refused(tmp_path):
    writer = DatasetWriter(tmp_path, CONTRACT)
    writer.add("train", sample(writer, "a0", "a"))
    with pytest.raises(UserError, match="scene a"):
        writer.add("test", sample(writer, "a1", "a"))


def test_rows_wait_on_disk_and_come_out_in_the_order_of_their_ids(tmp_path):
    writer = DatasetWriter(tmp_path, CONTRACT)
    for name in ("b1", "a2", "b0", "a1"):
        writer.add("train", sample(writer, name, name[0]))
    info = writer.finish()
    assert [row.id for row in open_dataset(tmp_path).rows("train")] == ["a1", "a2", "b0", "b1"]
    assert info["counts"]["train"]["frames"] == 4 and info["counts"]["train"]["scenes"] == 2
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_an_image_path_that_leads_out_is_refused(tmp_path):
    data = write(tmp_path / "d")
    (tmp_path / "secret.jpg").write_bytes((tmp_path / "d/images/a0.jpg").read_bytes())
    (row,) = data.rows("train")
    for path in ("../secret.jpg", str(tmp_path / "secret.jpg")):
        with pytest.raises(UserError, match="refused"):
            data.image(row.model_copy(update={"images": [path]}))


def test_an_unknown_schema_and_a_bad_row_are_told(tmp_path):
    write(tmp_path)
    info = json.loads((tmp_path / "info.json").read_text())
    (tmp_path / "train.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(UserError, match=r"train.jsonl:1"):
        open_dataset(tmp_path).rows("train")
    (tmp_path / "info.json").write_text(json.dumps(info | {"schema": "edgekit/dataset/9"}))
    with pytest.raises(UserError, match="edgekit/dataset/1"):
        open_dataset(tmp_path)


def test_a_split_that_is_not_whole_is_told(tmp_path):
    writer = DatasetWriter(tmp_path, CONTRACT)
    for i in range(4):
        writer.add("train", sample(writer, f"a{i}", "a"))
    writer.finish()
    table = tmp_path / "train.jsonl"
    whole = table.read_text()
    for part, said in (
        (whole[: len(whole) // 2 + 9], ":3: not a row"),
        (whole[: whole.index("\n") + 1], "1 rows"),
    ):
        table.write_text(part)
        with pytest.raises(UserError, match=said):
            open_dataset(tmp_path).rows("train")
    table.unlink()
    with pytest.raises(UserError, match="0 rows, and info.json says 4"):
        open_dataset(tmp_path).rows("train")
    info = json.loads((tmp_path / "info.json").read_text())
    del info["counts"]  # a Dataset of another hand may not count
    (tmp_path / "info.json").write_text(json.dumps(info))
    table.write_text(whole)
    assert len(open_dataset(tmp_path).rows("train")) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda info: "{",
        lambda info: "7",
        lambda info: json.dumps(info).encode("utf-16"),
        lambda info: json.dumps({k: v for k, v in info.items() if k != "contract"}),
        lambda info: json.dumps(info | {"contract": 3}),
        lambda info: json.dumps(info | {"contract": info["contract"] | {"width": "broad"}}),
        lambda info: json.dumps(info | {"counts": {"train": 3}}),
    ],
)
def test_a_damaged_info_json_is_told(tmp_path, change):
    write(tmp_path)
    path = tmp_path / "info.json"
    new = change(json.loads(path.read_text()))
    path.write_bytes(new if isinstance(new, bytes) else new.encode())
    with pytest.raises(UserError, match="info.json") as error:
        open_dataset(tmp_path)
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize("gone", [{"images": []}, {"messages": []}])
def test_a_row_without_images_or_messages_is_told(tmp_path, gone):
    write(tmp_path)
    row = json.loads((tmp_path / "train.jsonl").read_text())
    (tmp_path / "train.jsonl").write_text(json.dumps(row | gone) + "\n")
    with pytest.raises(UserError, match="train.jsonl:1"):
        open_dataset(tmp_path).rows("train")


def test_answers_in_any_script_outlive_a_kill(tmp_path):
    path = tmp_path / "answers.jsonl"
    log = AnswerLog(path)
    log.add(["a", "b"], [Answer("前方红灯 \ud83d", LABEL, {"light": 0.9}), Answer("没有", None)])
    data = path.read_bytes()
    for cut in range(len(data) - 40, len(data)):  # within the second answer, wherever a kill may fall
        path.write_bytes(data[:cut])
        assert AnswerLog(path).answers["a"] == log.answers["a"]


def test_contracts_that_differ_are_refused_by_field():
    with pytest.raises(UserError, match="width: 84 against 448"):
        require_same(CONTRACT, Contract(), "x")
