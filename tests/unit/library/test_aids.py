"""Visual aids: what is cut out, what is drawn, what is left alone."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.box import Box
from edgekit.library import ego_lane, fit_pictures, paste, possible_aids, with_aids
from edgekit.library.aids import CYAN, MAGENTA, crop

K = [[500.0, 0, 320.0], [0, 500.0, 180.0], [0, 0, 1]]
LAMP = Box("traffic light", 100, 40, 112, 72)
CONE = Box("cone", 300, 200, 320, 230)


def frame(seed=0):
    """Noise in grey values below 200: neither magenta nor cyan is in it."""
    return np.random.default_rng(seed).integers(0, 200, (360, 640, 3), dtype=np.uint8)


def is_colour(image, colour):
    return (image == np.array(colour, np.uint8)).all(axis=-1)


def test_what_can_be_shown_follows_from_what_is_known():
    assert possible_aids() == frozenset()
    assert possible_aids([LAMP]) == {"crop"} and possible_aids([CONE]) == {"mark"}
    assert possible_aids([Box("car", 0, 0, 50, 50)]) == frozenset()
    assert possible_aids([Box("light", 0, 0, 2, 50), Box("cone", 0, 0, math.nan, 9)]) == frozenset()
    assert possible_aids([LAMP, CONE], ego_lane(K, 1.5)) == {"crop", "mark", "lane"}


def test_the_crop_is_the_light_at_full_resolution():
    image = frame()
    image[40:72, 100:112] = (250, 10, 10)
    first, second = with_aids(image, ["crop"], [CONE, LAMP])
    assert np.array_equal(first, image) and first is not image
    # 12 × 32 with its own size around on each side: 36 wide, at least half of 96, so 48; 96 high. Three times that.
    assert second.shape == (288, 144, 3)
    assert np.allclose(second[144, 72], (250, 10, 10), atol=3)


def test_a_large_light_is_not_enlarged_and_keeps_its_pixels():
    image = frame()
    cut = crop(image, Box("light", 200, 50, 300, 250))
    assert np.array_equal(cut, image[0:360, 100:400])


def test_the_largest_surest_light_is_cut_out():
    image = frame()
    image[200:240, 500:520] = 255
    far, near = Box("light", 10, 10, 16, 20), Box("light", 500, 200, 520, 240)
    assert with_aids(image, ["crop"], [far, near])[1].max() == 255
    unsure = near._replace(score=0.01)
    assert with_aids(image, ["crop"], [far, unsure])[1].max() < 255


def test_a_mark_is_drawn_around_the_thing_not_on_it():
    image = frame()
    (marked,) = with_aids(image, ["mark"], [CONE, LAMP])
    drawn = is_colour(marked, MAGENTA)
    assert drawn.any() and np.array_equal(marked[~drawn], image[~drawn])
    assert not drawn[198:232, 298:322].any()  # the cone, and a little around it
    ys, xs = np.nonzero(drawn)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (197, 232, 297, 322)
    assert np.array_equal(image, frame())  # the caller's own stays


def test_lane_lines_lie_where_a_flat_road_has_them():
    left, right = ego_lane(K, 1.5, near_m=5, far_m=50)
    assert left.shape == right.shape == (16, 2)
    # 1.75 m to the side at 5 m: 500 * 1.75 / 5 = 175 px; 1.5 m below the lens: 500 * 1.5 / 5 = 150 px.
    assert left[0] == pytest.approx([320 - 175, 180 + 150]) and right[0] == pytest.approx([320 + 175, 330])
    assert left[-1] == pytest.approx([320 - 17.5, 180 + 15])
    assert (np.diff(left[:, 1]) < 0).all() and (left[:, 1] > 180).all()  # never above the horizon
    assert np.allclose(left[:, 0] + right[:, 0], 640)


def test_a_turn_to_the_left_bends_the_lane_to_the_left():
    straight, turned = ego_lane(K, 1.5), ego_lane(K, 1.5, yaw_rate_rps=0.2, speed_mps=10.0)
    assert (turned[..., 0] < straight[..., 0]).all() and np.allclose(turned[..., 1], straight[..., 1])
    # 40 m ahead on a bend of 50 m: 0.5 * 40² / 50 = 16 m to the left, 500 * 16 / 40 = 200 px.
    assert turned[0, -1, 0] == pytest.approx(straight[0, -1, 0] - 200)
    assert np.allclose(ego_lane(K, 1.5, yaw_rate_rps=0.2, speed_mps=0.2), straight)
    with pytest.raises(ValueError, match="near_m"):
        ego_lane(K, 1.5, near_m=50, far_m=5)


def test_the_overlay_is_two_thin_lines():
    image = frame()
    (drawn,) = with_aids(image, ["lane"], lane=ego_lane(K, 1.5))
    cyan = is_colour(drawn, CYAN)
    assert 100 < cyan.sum() < 0.01 * cyan.size and np.array_equal(drawn[~cyan], image[~cyan])
    assert not cyan[:180].any()
    (same,) = with_aids(image, ["lane"], lane=np.full((2, 16, 2), np.nan))
    assert np.array_equal(same, image)


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ValueError, match="crop"):
        with_aids(frame(), ["crop"], [CONE])
    with pytest.raises(ValueError, match="zoom"):
        with_aids(frame(), ["zoom"], [CONE])
    with pytest.raises(ValueError, match="uint8"):
        with_aids(frame().astype(float), [])


def test_pictures_fit_what_the_model_takes():
    image = frame()
    pictures = with_aids(image, ["crop"], [LAMP])
    assert fit_pictures(pictures[:1]) is pictures[0]
    assert len(fit_pictures(pictures, most=2)) == 2
    pasted = fit_pictures(pictures)
    assert pasted.shape == image.shape and pasted.dtype == np.uint8
    changed = (pasted != image).any(axis=-1)
    ys, xs = np.nonzero(changed)
    assert ys.min() >= 360 * 2 // 3 - 3 and xs.min() >= 640 * 2 // 3 - 3  # the lower right corner alone
    assert is_colour(pasted, MAGENTA)[-1, -1]
    both = paste([image, pictures[1], pictures[1]])
    assert is_colour(both, MAGENTA)[-1, 0] and is_colour(both, MAGENTA)[-1, -1]
    with pytest.raises(ValueError, match="two insets"):
        paste([image] * 4)


side = st.floats(-50, 700)


@settings(max_examples=80, deadline=None)
@given(side, side, st.floats(4.01, 400), st.floats(4.01, 400))  # x + 4 - x may come out below 4
def test_any_box_gives_a_crop_and_a_mark(x, y, w, h):
    image = frame()
    for name, aid in (("light", "crop"), ("cone", "mark")):
        pictures = with_aids(image, [aid], [Box(name, x, y, x + w, y + h)])
        assert all(p.dtype == np.uint8 and p.ndim == 3 and min(p.shape[:2]) >= 1 for p in pictures)
        assert pictures[0].shape == image.shape and len(pictures) == 1 + (aid == "crop")
        assert max(pictures[-1].shape[:2]) >= 224


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 60), st.integers(2, 60), st.integers(1, 900), st.integers(1, 900))
def test_any_pictures_can_be_pasted(fh, fw, h, w):
    pasted = paste([np.zeros((fh, fw, 3), np.uint8), np.ones((h, w, 3), np.uint8)])
    assert pasted.shape == (fh, fw, 3)
