"""Heads: raw outputs to boxes by hand, and suppression against a plain loop."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.mine.experts.heads import decode, ious, strongest, suppressed

quick = settings(max_examples=40, deadline=None)
side = st.floats(0.01, 0.6)
boxes_of = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), side, side), min_size=1, max_size=30).map(
    lambda rows: np.array([(x, y, x + w, y + h) for x, y, w, h in rows])
)


def test_ssd_reads_scores_and_boxes_in_either_order_and_with_an_axis_more():
    scores = np.array([[[0.1, 0.9], [0.8, 0.0]]])
    boxes = np.array([[[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]]])  # ymin xmin ymax xmax
    for outputs in ([scores, boxes], [boxes, scores], [scores, boxes[:, :, None]]):
        got, at = decode("ssd", outputs, (300, 300))
        assert np.array_equal(got, scores[0])
        assert at.tolist() == [[0.2, 0.1, 0.4, 0.3], [0.6, 0.5, 0.8, 0.7]]


def test_yolo_v8_and_v5_say_the_same_of_one_thing():
    box = [80.0, 40.0, 40.0, 20.0]  # centre and size in pixels of an input 160 wide, 80 high
    new = np.zeros((1, 6, 9))
    new[0, :, 3] = [*box, 0.0, 0.45]
    old = np.zeros((1, 9, 7))
    old[0, 3] = [*box, 0.5, 0.0, 0.9]  # objectness .5 times .9
    for outputs in ([new], [old]):
        scores, boxes = decode("yolo", outputs, (160, 80), columns=2)
        assert scores[3].tolist() == pytest.approx([0.0, 0.45]) and scores.shape == (9, 2)
        assert boxes[3].tolist() == pytest.approx([0.375, 0.375, 0.625, 0.625])


def test_detr_leaves_out_its_column_of_nothing():
    logits, boxes = np.array([[[2.0, 0.0, 0.0], [0.0, 0.0, 5.0]]]), np.array([[[0.5, 0.5, 0.2, 0.4]] * 2])
    scores, at = decode("detr", [logits, boxes], (100, 100), columns=2)
    assert scores[0, 0] == pytest.approx(np.exp(2) / (np.exp(2) + 2))
    assert scores[1].max() < 0.01
    assert at[0].tolist() == pytest.approx([0.4, 0.3, 0.6, 0.7])
    scores, _ = decode("detr", [logits, boxes], (100, 100), "sigmoid", columns=3)
    assert scores[0, 0] == pytest.approx(1 / (1 + np.exp(-2)))


@pytest.mark.parametrize(
    "head, shapes, columns, why",
    [
        ("ssd", [(1, 10, 90), (1, 10, 4)], 80, "90 classes, not 80"),
        ("ssd", [(1, 10, 90)], None, "boxes (1, n, 4)"),
        ("ssd", [(1, 10, 90), (1, 9, 4)], None, "(1, 9, 4)"),
        ("detr", [(1, 10, 92), (1, 10, 5)], None, "(1, 10, 92)"),
        ("yolo", [(1, 84, 50)], 2, "not 2"),
        ("yolo", [(1, 50, 5)], None, "no class"),
        ("yolo", [(2, 84, 50)], None, "one output"),
    ],
)
def test_other_shapes_are_refused_with_what_is_there(head, shapes, columns, why):
    with pytest.raises(ValueError) as caught:
        decode(head, [np.zeros(shape) for shape in shapes], (64, 64), columns=columns)
    assert why in str(caught.value)


def test_logits_are_not_taken_for_probabilities():
    outputs = [np.full((1, 3, 2), 4.0), np.zeros((1, 3, 4))]
    with pytest.raises(ValueError, match="no probabilities"):
        decode("ssd", outputs, (64, 64))
    assert decode("ssd", outputs, (64, 64), "sigmoid")[0].max() < 1


def test_strongest_takes_wanted_columns_in_order_and_no_broken_box():
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, np.nan, 1], [0, 0, 2, 2]], float)
    scores = np.array([[0.5, 0.9, 0.3], [0.9, 0.9, 0.9], [0.9, 0.9, 0.9], [0.2, 0.1, 0.8]])
    found = strongest(scores, boxes, [0, 2], 0.3, 10)
    assert found.columns.tolist() == [2, 0, 2] and found.scores.tolist() == [0.8, 0.5, 0.3]
    assert found.boxes[0].tolist() == [0, 0, 2, 2]
    assert len(strongest(scores, boxes, [0, 2], 0.3, 2).scores) == 2


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("head, shape", [("ssd", (1, 3, 2)), ("detr", (1, 3, 3)), ("yolo", (1, 6, 9))])
def test_scores_that_are_no_numbers_are_refused(head, shape, broken):
    scores = np.zeros(shape)
    scores[0, -1] = broken
    with pytest.raises(ValueError, match="scores are NaN or infinite"), np.errstate(invalid="ignore"):
        decode(head, [scores] if head == "yolo" else [scores, np.zeros((1, 3, 4))], (64, 64))


def test_suppression_holds_no_square_of_the_boxes():
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (3000, 1))
    boxes[:, [0, 2]] += 2 * np.arange(3000)[:, None]
    tracemalloc.start()
    try:
        stays = suppressed(boxes, np.zeros(3000), 0.5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(stays) == 3000 and peak < 3000 * 3000  # a byte a pair


@quick
@given(boxes_of, st.data(), st.floats(0.05, 0.95))
def test_suppression_is_the_plain_greedy_loop(boxes, data, iou):
    groups = np.array(data.draw(st.lists(st.sampled_from("ab"), min_size=len(boxes), max_size=len(boxes))))
    kept = []
    for i in range(len(boxes)):
        if all(groups[i] != groups[j] or ious(boxes[[i]], boxes[[j]])[0, 0] <= iou for j in kept):
            kept.append(i)
    assert suppressed(boxes, groups, iou).tolist() == kept


@quick
@given(boxes_of)
def test_ious_are_symmetric_in_0_to_1_and_1_with_itself(boxes):
    overlap = ious(boxes, boxes)
    assert np.allclose(overlap, overlap.T) and np.allclose(np.diag(overlap), 1)
    assert (overlap >= 0).all() and (overlap <= 1 + 1e-9).all()


def test_iou_by_hand():
    assert ious(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2], [5, 5, 6, 6]])).tolist() == [
        [2 / 6, 0.0]
    ]
