"""Repeats, misaligned pairs and quotas: their promises as properties, and on pictures."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgekit.core.errors import UserError
from edgekit.core.label import SceneLabel, coherent
from edgekit.core.places import asset
from edgekit.dataset import TaskMark, open_dataset
from edgekit.mine.select.duplicates import (
    MOST_WITHIN,
    HashIndex,
    distance,
    near_duplicates,
    perceptual_hash,
    what_counts,
)
from edgekit.mine.select.misaligned import blank, misaligned
from edgekit.mine.select.quota import Candidate, check_quota, choose, counted, disagreement

BITS64 = st.integers(0, 2**64 - 1)


@pytest.fixture(scope="module")
def streets():
    data = open_dataset(asset("sample") / "out")
    return [data.image(row) for row in data.rows("train")[:24]]


def again(image, quality=50):
    """The picture as a worse JPEG of it, a little brighter."""
    buffer = io.BytesIO()
    Image.fromarray(np.clip(image * 1.1 + 5, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


# --- the hash and its index ---------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, MOST_WITHIN), st.lists(BITS64, min_size=1, max_size=30), st.data())
def test_the_index_finds_what_a_search_over_all_finds(within, values, data):
    index = HashIndex(within)
    for number, value in enumerate(values):
        index.add(number, value)
    # a query near one of them, at every distance around the limit
    start = data.draw(st.sampled_from(values))
    flips = data.draw(st.sets(st.integers(0, 63), max_size=within + 2))
    query = start ^ sum(1 << bit for bit in flips)
    reachable = [n for n, value in enumerate(values) if distance(query, value) <= within]
    found = index.nearest(query)
    assert (found is None) == (not reachable)
    assert found is None or found in reachable


def test_the_index_does_not_ask_everybody():
    index, rng = HashIndex(4), np.random.default_rng(0)
    values = [int(v) for v in rng.integers(0, 2**63, 20_000)]
    for number, value in enumerate(values):
        index.add(number, value)
    asked = sum(len(b.get(band ^ f, ())) for b, band in zip(index._buckets, _bands(values[7]), strict=True)
                for f in index._flips)  # fmt: skip
    assert asked < len(values) / 50
    one_in_each_band = sum(1 << 16 * band + 3 for band in range(4))
    assert index.nearest(values[7] ^ 0b1011) == index.nearest(values[7] ^ one_in_each_band) == 7
    assert index.nearest(values[7] ^ one_in_each_band ^ 1) is None


def _bands(value):
    return [value >> 16 * n & 0xFFFF for n in range(4)]


@settings(max_examples=30, deadline=None)
@given(BITS64, BITS64, BITS64)
def test_distance_is_a_metric(a, b, c):
    assert distance(a, a) == 0 and distance(a, b) == distance(b, a)
    assert distance(a, c) <= distance(a, b) + distance(b, c)


def test_a_worse_copy_repeats_and_another_street_does_not(streets):
    shown = [image for street in streets for image in (street, again(street))]
    assert near_duplicates(shown) == [n for i in range(len(streets)) for n in (None, 2 * i)]


def test_brightness_changes_no_bit_and_no_contrast_is_zero():
    blocks = np.random.default_rng(3).integers(20, 120, (8, 8, 1), dtype=np.uint8)
    picture = np.kron(blocks, np.ones((16, 16, 3), np.uint8)).astype(np.uint8)
    assert perceptual_hash(picture) == perceptual_hash(picture + np.uint8(90)) != 0
    assert distance(perceptual_hash(picture), perceptual_hash(255 - picture)) > 32
    assert perceptual_hash(np.full((40, 60, 3), 128, np.uint8)) == 0


def test_a_frame_repeats_a_kept_one_never_a_repeat():
    # each picture is near the one before it, the last far from the first: a chain must not swallow it
    rng = np.random.default_rng(1)
    first, last = (np.kron(rng.integers(0, 255, (8, 8, 3)), np.ones((16, 16, 1))) for _ in range(2))
    chain = [(first + (last - first) * t).astype(np.uint8) for t in np.linspace(0, 1, 80)]
    found = near_duplicates(chain)
    hashes = [perceptual_hash(image) for image in chain]
    assert found[-1] != 0 and found.count(None) > 1
    assert all(
        distance(hashes[i], hashes[j]) <= 4 and found[j] is None for i, j in enumerate(found) if j is not None
    )


def test_a_light_that_changed_is_kept(streets):
    red, green = (
        coherent({"light": c, "recommended_speed_kmh": s}) for c, s in (("red", "0"), ("green", "40"))
    )
    slower = SceneLabel(**red.model_dump() | {"recommended_speed_kmh": "5"})
    labels = [what_counts(label) for label in (red, red, green, green, slower)]
    assert near_duplicates([streets[0]] * 5, labels=labels) == [None, 0, None, 2, 0]
    assert near_duplicates([streets[0]] * 5) == [None, 0, 0, 0, 0]


def test_too_far_a_reach_is_refused():
    with pytest.raises(ValueError, match="0..11"):
        HashIndex(12)


# --- pairs that do not belong together ------------------------------------------------------------


def mark(*steps, source="vlm"):
    history = [{"step": name, "value": value, "confidence": sure} for name, value, sure in steps]
    return TaskMark(source=source, history=history)


RED = coherent({"light": "red", "crossroad": "yes"})
AGREED = mark(("vlm", "yes", 0.9), ("expert", "yes", 0.9))
CONTRADICTED = mark(("vlm", "red", 0.9), ("smoothed", "red", 0.9), ("expert", "green", 0.95))


def test_one_contradicted_task_is_for_review_and_two_are_out():
    assert misaligned(RED, {"light": CONTRADICTED, "crossroad": AGREED}) is None
    mended = mark(("vlm", "yes", 0.9), ("motion", "no", 0.9))
    assert misaligned(RED, {"light": CONTRADICTED, "crossroad": mended}) is None, (
        "motion corrects, and sees nothing"
    )
    other = mark(("vlm", "yes", 0.9), ("expert", "no", 0.9))
    why = misaligned(RED, {"light": CONTRADICTED, "crossroad": other})
    assert why.startswith("2 of 2 tasks") and "teacher red, expert green" in why
    many = {"light": CONTRADICTED, "crossroad": other, "a": AGREED, "b": AGREED, "c": AGREED}
    assert misaligned(RED, many) is None  # two of five


def test_time_is_no_second_voice_and_an_unsure_one_contradicts_nobody():
    flipped = mark(("vlm", "red", 0.95), ("smoothed", "none", 0.95))
    unsure = mark(("vlm", "red", 0.95), ("expert", "green", 0.6))
    abstains = mark(("vlm", "red", 0.95), ("expert", "unknown", 1.0))
    for pair in (flipped, unsure, abstains):
        assert misaligned(RED, {"light": pair, "crossroad": pair}) is None


def test_a_persons_word_is_not_contradicted():
    settled = mark(("vlm", "red", 0.9), ("expert", "green", 0.95), source="human")
    assert misaligned(RED, {"light": settled, "crossroad": settled}) is None


def test_a_dark_lens_with_a_label_is_out_and_a_street_is_not(streets):
    covered = np.full((40, 60, 3), 7, np.uint8)
    assert blank(covered) and not any(blank(street) for street in streets)
    assert (
        misaligned(RED, {"light": AGREED}, covered)
        == "the picture shows nothing, and the label tells light, crossroad"
    )
    assert misaligned(SceneLabel(), {"light": AGREED}, covered) is None
    assert misaligned(RED, {"light": AGREED}, streets[0]) is None


# --- quotas -----------------------------------------------------------------------------------------

CANDIDATES = st.lists(
    st.builds(
        lambda tags, light, far, twin: (tuple(sorted(tags)), light, far, twin),
        st.sets(st.sampled_from(["night", "rain", "clear"]), max_size=2),
        st.sampled_from(["none", "red", "green", "off"]),
        st.sampled_from([0.0, 0.25, 0.5, 1.0]),
        st.booleans(),
    ),
    max_size=40,
).map(lambda found: [
    Candidate(f"d/{n:06d}", tags, {"light": light}, far, 0 if twin and n else None)
    for n, (tags, light, far, twin) in enumerate(found)
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(CANDIDATES, st.integers(0, 45), st.booleans())
def test_a_choice_holds_no_repeat_and_is_as_long_as_it_can_be(rows, most, with_quota):
    quota = {"night + light=red": 3, "light=off": 2} if with_quota else None
    chosen = choose(rows, quota, most)
    free = [i for i, row in enumerate(rows) if row.duplicate_of is None]
    assert chosen == sorted(set(chosen)) and set(chosen) <= set(free)
    assert len(chosen) == min(most, len(free))
    assert chosen == choose(rows, quota, most)
    if with_quota and most >= 5:
        for name, slot in counted(rows, chosen, quota)["slices"].items():
            assert slot["taken"] >= min(slot["new"], quota[name])
            assert slot["short"] == max(0, quota[name] - slot["taken"])


def rows_of(*kinds):
    """(tag, light, disagreement, how many) → candidates in turn."""
    made = [(tag, light, far) for tag, light, far, count in kinds for _ in range(count)]
    return [
        Candidate(f"d/{n:06d}", (tag,), {"light": light}, far) for n, (tag, light, far) in enumerate(made)
    ]


def test_a_rare_scene_is_taken_whole_without_a_quota():
    rows = rows_of(("clear", "none", 0.9, 900), ("night", "red", 0.0, 8), ("rain", "green", 0.1, 40))
    chosen = choose(rows, most=60)
    taken = counted(rows, chosen)["slices"]
    assert taken["light=red"]["taken"] == 8
    assert (taken["rain"]["taken"], taken["clear"]["taken"]) == (26, 26)


def test_the_most_disputed_of_a_slice_come_first():
    rows = rows_of(("night", "red", 0.1, 5), ("night", "red", 0.7, 3), ("clear", "none", 1.0, 4))
    assert choose(rows, {"night": 3}) == [5, 6, 7]
    assert choose(rows, {"night": 3}, most=7) == [5, 6, 7, 8, 9, 10, 11]
    spread = choose(rows_of(("night", "red", 0.5, 1000)), {"night": 100})
    assert spread[0] < 100 and spread[-1] >= 900  # equals are not taken from a drive's beginning


def test_the_scarcest_slice_is_served_first_where_there_is_no_room_for_all():
    rows = rows_of(("clear", "none", 0.9, 20), ("night", "off", 0.0, 2))
    assert set(choose(rows, {"clear": 20, "night + light=off": 2}, most=5)) >= {20, 21}


def test_a_slice_of_unknown_words_is_told():
    for quota, why in (
        ({"light=purple": 1}, "known: green"),
        ({"lihgt=red": 1}, "'light'"),
        ({"night +": 1}, "nothing"),
    ):
        with pytest.raises(UserError) as told:
            check_quota(quota)
        assert why in told.value.why
    with pytest.raises(UserError, match="at least 1"):
        choose([], {"night": 0})
    assert counted(rows_of(("clear", "none", 0, 2)), [], {"hail": 4})["slices"]["hail"]["short"] == 4


def test_disagreement_is_the_share_of_steps_that_said_something_else():
    assert disagreement({"light": mark(("vlm", "red", 0.9), ("smoothed", "red", 0.9))}) == 0
    assert (
        disagreement({"light": mark(("vlm", "red", 0.5), ("expert", "green", 0.25), ("fused", "red", 0.25))})
        == 0.25
    )
    assert disagreement({"light": mark(("vlm", "unknown", 1.0), ("fused", "red", 1.0))}) == 0
    assert disagreement({"a": AGREED, "light": mark(("vlm", "red", 1), ("fused", "green", 1))}) == 0.5
    assert disagreement({"light": TaskMark(source="render")}) == 0
