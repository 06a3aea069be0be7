import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.label import SLOTS, coherent
from edgekit.demo import hud, marks
from edgekit.demo.advice import Shown, advise
from tests.unit.demo.fakes import CLEAR, RED, frame

labels = st.fixed_dictionaries({slot: st.sampled_from(values) for slot, values in SLOTS.items()}).map(
    coherent
)


@settings(max_examples=25, deadline=None)
@given(labels, st.sampled_from(["fresh", "late"]), st.sampled_from([(84, 140), (60, 200), (300, 168)]))
def test_any_label_draws_at_any_shape(label, state, shape):
    size = hud.size_of(shape[1], shape[0], 448)
    image = hud.draw(
        np.zeros((*shape, 3), np.uint8), Shown(state, advise(label, 30), label, 80, 70), 30, size
    )
    assert image.size == size and image.mode == "RGB"


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(2, 3840))
def test_sizes_are_even(width, height, want):
    assert all(side % 2 == 0 and side >= 2 for side in hud.size_of(width, height, want))


def test_what_is_shown_is_seen():
    def draw(shown):
        return np.asarray(hud.draw(frame(False), shown, 10, (448, 268)), dtype=int)

    nothing = draw(Shown("none"))
    red = draw(Shown("fresh", advise(RED), RED, 80, 70))
    clear = draw(Shown("fresh", advise(CLEAR), CLEAR, 80, 70))
    late = draw(Shown("late", advise(RED), RED, 80, 70))
    corner = np.s_[:140, :130]  # where the light and the sign are
    assert np.abs(red[corner] - nothing[corner]).mean() > 5
    assert np.abs(red[corner] - clear[corner]).mean() > 5
    lamp = red[corner][..., 0] - red[corner][..., 1]
    assert lamp.max() > 120  # red, and not only grey
    assert np.abs(late[corner] - red[corner]).mean() > 1  # faded
    badge = np.s_[:70, 250:]
    assert np.abs(late[badge] - red[badge]).mean() > 1


def test_without_its_font_the_hud_still_writes(monkeypatch):
    marks.font.cache_clear()
    monkeypatch.setattr(marks, "_FONTS", {True: "no-such.ttf", False: "no-such.ttf"})
    face = marks.font(20)
    marks.font.cache_clear()
    assert face.getlength("40 km/h") > 20


@pytest.mark.parametrize("arrow", ["any", "left", "straight", "right", "unknown"])
def test_the_lit_lamp_is_the_one_that_is_named(arrow):
    for state, (row, _) in marks.LAMPS.items():
        image = np.asarray(marks.light(state, arrow, 100).convert("RGB"), dtype=int)
        spread = (image.max(-1) - image.min(-1)).sum(1)  # colour, per row of pixels
        assert abs(int(spread.argmax()) - (19.5 + 30.5 * row)) < 16
