"""Detectors: small ONNX graphs made here."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edgekit.core.errors import UserError
from edgekit.mine.experts import ExpertConfig, open_expert
from edgekit.mine.experts import config as experts_config
from edgekit.mine.experts.config import Input
from edgekit.mine.experts.detector import GREY, picture, place

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.onnx
size = st.integers(1, 3000)
quick = settings(max_examples=100, deadline=None)


def graph(path: Path, outputs: dict[str, np.ndarray], shape=(1, 3, 64, 96), names: str | None = None) -> Path:
    """An ONNX file that gives ``outputs`` whatever it is shown: each plus nought times the picture's mean."""
    h, numpy_helper = onnx.helper, onnx.numpy_helper
    nodes = [
        h.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        h.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    constants = [numpy_helper.from_array(np.float32(0), "zero")]
    for name, value in outputs.items():
        constants.append(numpy_helper.from_array(value.astype(np.float32), f"{name}_constant"))
        nodes.append(h.make_node("Add", [f"{name}_constant", "nothing"], [name]))
    told = [h.make_tensor_value_info(n, onnx.TensorProto.FLOAT, v.shape) for n, v in outputs.items()]
    taken = [h.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)]
    model = h.make_model(
        h.make_graph(nodes, "detector", taken, told, constants),
        opset_imports=[h.make_opsetid("", 17)], ir_version=9,
    )  # fmt: skip
    if names is not None:
        onnx.helper.set_model_props(model, {"names": names})
    onnx.save(model, path)
    return path


NCHW = {"width": 96, "height": 64, "layout": "nchw", "fit": "letterbox", "high": 1.0}


def yolo(tmp_path: Path, names: str | None = "{0: 'person', 1: 'cone'}") -> Path:
    rows = np.zeros((1, 6, 30))
    rows[0, :, 0] = [48, 32, 12, 8, 0.1, 0.9]
    rows[0, :, 1] = [49, 32, 12, 8, 0.0, 0.6]  # the same cone once more
    rows[0, :, 2] = [48, 32, 12, 8, 0.8, 0.0]  # another thing at the same place
    rows[0, :, 3] = [48, 4, 12, 6, 0.0, 0.9]  # in the letterbox's grey
    return graph(tmp_path / "cones.onnx", {"out": rows}, names=names)


def test_boxes_come_back_in_the_images_own_pixels(tmp_path):
    config = ExpertConfig(
        model=str(yolo(tmp_path)), head="yolo", classes={"cone": "cone", 0: "person"}, input=NCHW
    )
    expert = open_expert(config)
    assert expert.name == "cones" and expert.sees == {"cone", "person"}
    wide = np.zeros((96, 288, 3), np.uint8)  # a third of it is 96 × 32: 16 rows of grey above and below
    cone, person = expert.detect([wide])[0]
    assert (cone.name, person.name) == ("cone", "person")
    assert cone[1:5] == pytest.approx((126, 36, 162, 60)) and cone.score == pytest.approx(0.9)
    tall = np.zeros((128, 96, 3), np.uint8)  # half of it is 48 × 64: 24 columns of grey on each side
    assert expert.detect([tall])[0][0][1:5] == pytest.approx((36, 56, 60, 72))


def test_a_detr_graph_and_names_from_the_recipe(tmp_path):
    logits, boxes = np.full((1, 5, 4), -9.0), np.full((1, 5, 4), 0.25)
    logits[..., 3] = 9
    logits[0, 2] = [-9, -9, 9, -9]
    path = graph(tmp_path / "detr.onnx", {"logits": logits, "pred_boxes": boxes}, shape=("n", 3, "h", "w"))
    config = ExpertConfig(
        model=str(path), head="detr", columns=3, names=["tree", "person", "bicycle"], name="seen",
        classes={"bicycle": "cyclist"}, input={**NCHW, "fit": "stretch"},
    )  # fmt: skip
    expert = open_expert(config)
    (box,) = expert.detect([np.zeros((100, 200, 3), np.uint8)])[0]
    assert (expert.name, box.name) == ("seen", "cyclist")
    assert box[1:5] == pytest.approx((25, 12.5, 75, 37.5))


@pytest.mark.parametrize(
    "change, why",
    [
        ({"classes": {"cones": "cone"}}, "did you mean 'cone'"),
        ({"classes": {7: "cone"}}, "its scores have 2 columns"),
        ({"columns": 80}, "not 80"),
        ({"names": ["cone"]}, "1 names are given"),
        ({"head": "ssd"}, "it looks like head: yolo: there is one output; its outputs are (1, 6, 30)"),
        ({"input": {**NCHW, "width": 128}}, "it takes image tensor(float) [1, 3, 64, 96]"),
        ({"input": {**NCHW, "layout": "nhwc"}}, "[1, 64, 96, 3]"),
        ({"model": "nowhere.onnx"}, "no such file"),
    ],
)
def test_another_detector_than_the_recipe_says_is_refused_with_what_it_has(tmp_path, change, why):
    given = {"model": str(yolo(tmp_path)), "head": "yolo", "classes": {"cone": "cone"}, "input": NCHW}
    with pytest.raises(UserError) as caught:
        open_expert(ExpertConfig(**(given | change)))
    assert why in str(caught.value)


def likeness(tmp_path, scores: np.ndarray, boxes: np.ndarray, head: str, activation: str = "auto"):
    path = graph(tmp_path / "pair.onnx", {"scores": scores[None], "places": boxes[None]})
    given = {"head": head, "activation": activation, "classes": {1: "cone"}, "input": NCHW}
    return open_expert(ExpertConfig(model=str(path), **given))


SHARES = np.random.default_rng(0).uniform(0.05, 0.95, (60, 2))
CORNERS = np.concatenate([SHARES - 0.1, SHARES + 0.1], axis=1)  # of anchors, some beyond the picture's edge
CENTRES = np.concatenate([SHARES, np.full((60, 2), 0.1)], axis=1)
CHANCES, LOGITS = np.full((60, 3), 0.02), np.full((60, 3), -4.0) + [0, 0, 9]


@pytest.mark.parametrize(
    "scores, boxes, head, activation, why",
    [
        (CHANCES, CORNERS, "detr", "auto", "it looks like head: ssd: its boxes run from -0.0"),
        (CHANCES, CORNERS, "detr", "none", "it looks like head: ssd: its boxes run from -0.0"),
        (CHANCES, CORNERS.clip(0, 1), "detr", "auto", "head: ssd: its scores are probabilities already"),
        (LOGITS, CENTRES, "ssd", "sigmoid", "it looks like head: detr: read as corners, "),
        (LOGITS, CENTRES, "ssd", "auto", "it looks like head: detr"),
        (CHANCES, 64 * CORNERS, "ssd", "auto", "as pixels do and not shares"),
        (CHANCES, CORNERS, "yolo", "auto", "it looks like head: ssd"),
    ],
)
def test_another_head_than_the_recipes_is_told_by_its_numbers(tmp_path, scores, boxes, head, activation, why):
    with pytest.raises(UserError) as caught:
        likeness(tmp_path, scores, boxes, head, activation)
    error = caught.value
    assert f"does not fit head: {head}" in error.what and why in error.why
    assert "(1, 60, 3), (1, 60, 4) (named scores, places)" in error.why and len(str(error).splitlines()) == 3


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_probabilities_are_not_squeezed_once_more(tmp_path, activation):
    with pytest.raises(UserError) as caught:
        likeness(tmp_path, CHANCES, CORNERS, "ssd", activation)
    assert f"probabilities already: activation {activation} belies them, set none" in caught.value.why


def test_a_pair_that_is_what_the_recipe_says_opens(tmp_path):
    likeness(tmp_path, CHANCES, CORNERS, "ssd")
    likeness(tmp_path, LOGITS, CORNERS, "ssd", "sigmoid")
    likeness(tmp_path, LOGITS, CENTRES, "detr")
    likeness(tmp_path, CHANCES, CENTRES, "detr", "none")


@pytest.mark.parametrize("names", [None, "no list", "{1: 'cone'}", "__import__('os').getcwd()"])
def test_names_that_the_file_does_not_tell_must_be_given(tmp_path, names):
    config = ExpertConfig(model=str(yolo(tmp_path, names)), head="yolo", classes={"cone": "cone"}, input=NCHW)
    with pytest.raises(UserError, match="tells no names"):
        open_expert(config)
    assert open_expert(config.model_copy(update={"classes": {1: "cone"}})).sees == {"cone"}


def test_a_file_that_is_no_network(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    with pytest.raises(UserError, match="cannot be opened"):
        open_expert(ExpertConfig(model=str(tmp_path / "broken.onnx"), head="ssd", classes={0: "light"}))


def test_a_word_that_the_fusion_does_not_know_is_refused():
    with pytest.raises(ValidationError, match="'light', 'cone'"):
        ExpertConfig(model="x.onnx", head="ssd", classes={0: "traffic light"})


def test_a_strangers_detector_comes_in_by_its_entry_point(monkeypatch):
    class Radar(experts_config.Detector):
        opens = "builtins:repr"
        kind: str = "radar"

    class Point:
        def load(self):
            return Radar

    monkeypatch.setattr(
        experts_config, "entry_points", lambda group: [Point()] * (group == "edgekit.experts")
    )
    assert experts_config._kinds() == {"onnx": ExpertConfig, "radar": Radar}
    assert "radar" in open_expert(Radar())


@quick
@given(
    size,
    size,
    st.integers(16, 700),
    st.integers(16, 700),
    st.sampled_from(["stretch", "letterbox"]),
    st.data(),
)
def test_a_box_goes_into_the_input_and_comes_back(width, height, w, h, fit, data):
    spec = Input(width=w, height=h, fit=fit)
    at = place((width, height), spec)
    assert at.left >= 0 and at.top >= 0 and at.left + at.width <= w and at.top + at.height <= h
    share = st.floats(0, 1)
    box = np.array([[data.draw(share) * width, data.draw(share) * height] * 2])
    inside = box * np.array([at.width / width, at.height / height] * 2) + np.array([at.left, at.top] * 2)
    assert np.allclose(at.back(inside, (width, height)), box, atol=1e-6 * max(width, height))
    outside = at.back(np.array([[-5.0, -5, w + 5, h + 5]]), (width, height))[0]
    assert outside.tolist() == [0, 0, width, height]


def test_a_letterbox_keeps_the_shape_and_fills_with_grey():
    image = np.full((10, 20, 3), 255, np.uint8)
    spec = Input(width=40, height=40, fit="letterbox", layout="nchw", low=-1, high=1)
    out = picture(image, spec, place((20, 10), spec))
    assert out.shape == (1, 3, 40, 40) and out.dtype == np.float32
    assert np.allclose(out[0, :, 10:30], 1) and np.allclose(out[0, :, :10], GREY / 255 * 2 - 1)


def test_colour_order_and_normalisation():
    image = np.full((20, 20, 3), (255, 51, 0), np.uint8)
    spec = Input(width=16, height=16, colour="bgr", high=1.0, mean=(0.5, 0.1, 0.0), std=(0.5, 0.1, 1.0))
    out = picture(image, spec, place((20, 20), spec))
    assert out[0, 3, 3] == pytest.approx([0.0, 1.0, 1.0], abs=1e-5)  # mean and std are of red, green, blue
