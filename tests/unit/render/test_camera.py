"""The pinhole against numbers worked out by hand."""

import math

import numpy as np
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
    assert not EGO.inside((1.75, -11.0, 1.4))


def test_the_rim_is_inside_and_a_margin_narrows_it():
    edge = 10 * 224 / EGO.focal_px  # the half width of what is seen at 10 m
    assert EGO.inside((1.75 + 0.999 * edge, 0.0, 1.4)) and not EGO.inside((1.75 + 1.001 * edge, 0.0, 1.4))
    assert not EGO.inside((1.75 + 0.999 * edge, 0.0, 1.4), margin_px=1.0)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (33, 0), (0, -7), (-120, 4)])
def test_view_is_a_rotation_and_agrees_with_project(yaw, pitch):
    camera = Camera(448, 252, 60.0, 3.0, 4.0, 1.4, yaw_deg=yaw, pitch_deg=pitch)
    assert camera.rotation @ camera.rotation.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(camera.rotation) == pytest.approx(1)  # right, down, forward are right-handed
    forward = camera.rotation[2]
    assert forward == pytest.approx(
        (
            -math.sin(math.radians(yaw)) * math.cos(math.radians(pitch)),
            math.cos(math.radians(yaw)) * math.cos(math.radians(pitch)),
            math.sin(math.radians(pitch)),
        )
    )
    for point in ((8.0, 30.0, 2.0), (-9.0, -3.0, 0.0), (20.0, -40.0, 5.0)):
        seen = camera.view(np.array([point]))
        projected = camera.project(point)
        assert (projected is None) == (seen[0, 2] < 0.1)
        if projected:
            assert (*camera.pixels(seen)[0], seen[0, 2]) == pytest.approx(projected)
