"""The Bundle on a vehicle: opened with care, answers without torch, drafts that change nothing."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import vision_utils

from edgekit.core.errors import UserError
from edgekit.core.files import sha256_file
from edgekit.core.label import SLOTS, coherent, parse_answer
from edgekit.engine.bundle_files import open_bundle
from edgekit.engine.pixels import read_image
from edgekit.engine.vision_inputs import LOW, VisionShape, patch_positions, vision_inputs, window_order

SHAPE = VisionShape(patch_size=14, merge_size=2, window_size=112, head_dim=32)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2), st.integers(1, 12), st.integers(1, 12), st.sampled_from([56, 112, 448]))
def test_windows_and_positions_are_transformers(frames, rows, columns, window):
    grid = (frames, 2 * rows, 2 * columns)
    shape = VisionShape(14, 2, window, 32)
    order, number = window_order(shape, grid)
    theirs, limits = vision_utils.get_vision_window_index(
        torch.tensor([grid]), spatial_merge_size=2, window_size=window, patch_size=14
    )
    assert (order == theirs.numpy()).all()
    starts = np.flatnonzero(np.diff(number, prepend=-1)) * 4
    assert [*starts, 4 * len(order)] == limits.tolist()
    positions = vision_utils.get_vision_position_ids(torch.tensor([grid]), 2)
    assert (patch_positions(shape, grid) == positions.numpy()).all()


def test_masks_and_the_way_back():
    host = vision_inputs(SHAPE, (1, 18, 26))  # 9×13 merged tokens in windows of 4×4: ragged on both axes
    order, back = host["window_index"], host["reverse_window_index"]
    assert (order[back] == np.arange(9 * 13)).all()
    assert (host["attention_mask"] == 0).all()
    seen = host["window_attention_mask"][0] == 0
    assert set(np.unique(host["window_attention_mask"])) == {0.0, np.float32(LOW)}
    # Windows of 4×4, and 4×1, 1×4, 1×1 merged tokens of 4 patches at the edges.
    assert sorted(set(seen.sum(1).tolist())) == [4, 16, 64]


@pytest.fixture
def copied(bundle, tmp_path) -> Path:
    shutil.copytree(bundle / "out", tmp_path / "bundle")
    return tmp_path / "bundle"


def _edit(folder: Path, **changes) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.onnx
def test_a_changed_byte_is_refused(copied):
    data = bytearray((copied / "decoder.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copied / "decoder.onnx").write_bytes(bytes(data))
    with pytest.raises(UserError, match="decoder.onnx is not the file that was exported"):
        open_bundle(copied)


@pytest.mark.onnx
def test_a_missing_file_is_refused(copied):
    (copied / "vision.onnx").unlink()
    with pytest.raises(UserError, match="vision.onnx is missing"):
        open_bundle(copied)


@pytest.mark.onnx
@pytest.mark.parametrize("changes", [{"schema": "edgekit/bundle/2"}, {"kind": "tensorrt"}])
def test_an_unknown_schema_or_kind_is_refused_and_the_known_one_named(copied, changes):
    _edit(copied, **changes)
    with pytest.raises(UserError, match="edgekit .* reads edgekit/bundle/1, kind onnx"):
        open_bundle(copied)


def _damaged(folder: Path, kind: str) -> None:
    """One way each in which a copy goes wrong though every listed digest fits."""
    path = folder / "bundle.json"
    info = json.loads(path.read_text())
    if kind == "broken JSON":
        path.write_text(path.read_text()[:-20])
    elif kind == "no object":
        path.write_text("[]")
    elif kind == "no files":
        _edit(folder, files={})
    elif kind == "no decoder":
        _edit(folder, files={k: v for k, v in info["files"].items() if k != "decoder.onnx"})
    elif kind == "no shapes":
        _edit(folder, model={k: v for k, v in info["model"].items() if k != "kv_heads"})
    else:
        contract = folder / "contract.json"
        change = {"schema_id": "edgekit/contract/9"} if kind == "contract of later" else {"width": 28 * 20}
        text = "{" if kind == "broken contract" else json.dumps(json.loads(contract.read_text()) | change)
        contract.write_text(text)
        _edit(folder, files=info["files"] | {"contract.json": sha256_file(contract)})


@pytest.mark.onnx
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("broken JSON", "bundle.json: not readable"),
        ("no object", "bundle.json: not readable"),
        ("no files", "does not list vision.onnx, embedding.onnx"),
        ("no decoder", "does not list decoder.onnx"),
        ("no shapes", "kv_heads"),
        ("broken contract", "not a contract that this edgekit reads"),
        ("contract of later", "edgekit/contract/9"),
        ("another contract", "not the contract of this Bundle"),
    ],
)
def test_a_damaged_bundle_is_refused_in_words(copied, kind, says):
    _damaged(copied, kind)
    with pytest.raises(UserError) as caught:
        open_bundle(copied)
    assert says in str(caught.value) and len(str(caught.value).splitlines()) == 3


@pytest.mark.onnx
def test_a_path_that_leads_out_is_refused(copied):
    (copied.parent / "secret").write_text("x")
    _edit(copied, files={"../secret": "0"})
    with pytest.raises(UserError, match="file name refused"):
        open_bundle(copied)


def test_a_folder_without_bundle_json_is_refused(tmp_path):
    with pytest.raises(UserError, match="not a Bundle"):
        open_bundle(tmp_path)


@pytest.fixture(scope="module")
def answerer(bundle):
    from edgekit.engine.bundle import BundleAnswerer

    return BundleAnswerer(bundle, threads=1)


@pytest.fixture(scope="module")
def golden(bundle) -> list[dict]:
    folder = bundle / "out" / "golden"
    return [
        row | {"image": read_image(folder / row["frame"])}
        for row in json.loads((folder / "golden.json").read_text())
    ]


@pytest.mark.onnx
def test_it_is_an_answerer_and_says_what_the_golden_frames_say(answerer, golden):
    from edgekit.engine.answerer import Answerer

    assert isinstance(answerer, Answerer)
    answers = answerer.answer([g["image"] for g in golden], [g["prompt"] for g in golden])
    assert [a.text for a in answers] == [g["answer"] for g in golden]
    assert all(parse_answer(a.text) == a.label for a in answers)
    assert all(set(a.confidence) == set(SLOTS) and a.passes >= 1 for a in answers)
    assert {"preprocess_ms", "vision_ms", "prefill_ms", "decode_ms", "passes"} == set(answerer.last_timing)


@pytest.mark.onnx
def test_free_answers_are_the_golden_tokens(answerer, golden):
    for one in golden:
        assert list(answerer.write(one["image"], one["prompt"], 24)) == one["free_tokens"]
    answer = answerer.free_answer(golden[0]["image"], golden[0]["prompt"], 24)
    assert answer.text == answerer.tokenizer.decode(golden[0]["free_tokens"])
    assert len(list(answerer.write(golden[0]["image"], golden[0]["prompt"], 3))) == 3


@pytest.mark.onnx
def test_a_draft_changes_the_passes_and_never_the_answer(answerer, golden):
    random = np.random.default_rng(0)
    one = golden[0]
    plain = answerer.answer([one["image"]], [one["prompt"]])[0]
    again = answerer.answer([one["image"]], [one["prompt"]], draft=plain.label)[0]
    assert again.text == plain.text and again.passes <= plain.passes
    for _ in range(6):
        draft = coherent({slot: values[random.integers(len(values))] for slot, values in SLOTS.items()})
        other = answerer.answer([one["image"]], [one["prompt"]], draft=draft)[0]
        assert other.text == plain.text
        assert other.confidence == pytest.approx(plain.confidence, abs=1e-4)


@pytest.mark.onnx
def test_rewinding_scores_as_a_fresh_reading_does(answerer, golden):
    one, random = golden[1], np.random.default_rng(1)
    reading = answerer.read(one["image"], one["prompt"])
    base = one["tokens"]
    for cut in (len(base), 9, 40, 1, 2, len(base)):
        tokens = base[: cut - 1] + random.integers(0, 2000, len(base) - cut + 1).tolist()
        tokens = tokens[: random.integers(max(cut, 2), len(base) + 1)]
        fresh = answerer.score(answerer.read(one["image"], one["prompt"]), tokens)
        again = answerer.score(reading, tokens)
        assert again.shape == fresh.shape == (len(tokens), answerer.info["model"]["vocabulary"])
        np.testing.assert_allclose(again, fresh, atol=2e-5)


@pytest.mark.onnx
def test_a_fast_decoder_is_named_where_it_is_missing(copied):
    from edgekit.engine.bundle import BundleAnswerer

    files = json.loads((copied / "bundle.json").read_text())["files"]
    _edit(copied, files={k: v for k, v in files.items() if k != "decoder-fast.onnx"})
    with pytest.raises(UserError, match="no fast decoder"):
        BundleAnswerer(copied, fast=True)


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "safetensors", "onnx", "onnx_ir", "onnxscript"):
            raise ImportError(name + " is not on a vehicle")
sys.meta_path.insert(0, Block())
from edgekit.engine.bundle import BundleAnswerer
from edgekit.engine.pixels import read_image
answerer = BundleAnswerer(sys.argv[1], threads=1)
print(answerer.answer([read_image(sys.argv[2])], [sys.argv[3]])[0].text)
assert "torch" not in sys.modules
"""


@pytest.mark.onnx
def test_a_vehicle_needs_no_torch_and_no_transformers(bundle, golden):
    frame = bundle / "out" / "golden" / golden[0]["frame"]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(bundle), str(frame), golden[0]["prompt"]],
        capture_output=True, text=True, timeout=300, cwd=Path(__file__).resolve().parents[3],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == golden[0]["answer"]
