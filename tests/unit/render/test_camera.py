"""The pinhole against numbers worked out by hand."""

import math

import pytest

from edgekit.render.camera import Camera

EGO = Camera(448, 252, 60.0, x=1.75, y=-10.0, z=1.4)


def test_focal_length_of_sixty_degrees():
    assert EGO.focal_px == pytest.approx(224 * math.sqrt(3))


def test_straight_ahead_is_the_image_centre_at_its_distance():
    assert EGO.project((1.75, 10.0, 1.4)) == pytest.approx((224, 126, 20))


def test_right_and_up_by_hand():
    # 2 m right and 1 m up at 10 m: 387.98 * 0.2 = 77.596 px right, 38.798 px up
    assert EGO.project((3.75, 0.0, 2.4)) == pytest.approx((301.596, 87.202, 10), abs=1e-3)


def test_a_lens_of_thirty_centimetres_is_six_pixels_at_nineteen_metres():
    assert 0.30 * EGO.focal_px / 19 == pytest.approx(6.13, abs=0.01)


def test_yaw_to_the_left_moves_the_world_right_and_pitch_up_moves_it_down():
    ahead = (1.75, 10.0, 1.4)
    left = Camera(448, 252, 60.0, 1.75, -10.0, 1.4, yaw_deg=10)
    up = Camera(448, 252, 60.0, 1.75, -10.0, 1.4, pitch_deg=5)
    assert left.project(ahead)[0] == pytest.approx(224 + 387.98 * math.tan(math.radians(10)), abs=1e-2)
    assert up.project(ahead)[1] == pytest.approx(126 + 387.98 * math.tan(math.radians(5)), abs=1e-2)


def test_depth_is_planar_not_along_the_ray():
    assert EGO.project((11.75, 0.0, 1.4))[2] == pytest.approx(10)


def test_behind_the_lens_is_nothing():
    assert EGO.project((1.75, -11.0, 1.4)) is None
    assert EGO.box((1.75, -10.0, 1.0), (1, 1, 1)) is None


def test_a_box_is_clipped_to_the_image():
    assert EGO.box((1.75, 0.0, 1.4), (100, 0.1, 100)) == [0, 0, 448, 252]
