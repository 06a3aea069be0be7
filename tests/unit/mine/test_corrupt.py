"""The noise model: its stated rates, its bursts, its drift, and what it never does."""

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.label import SLOTS, TASKS, SceneLabel, coherent
from edgekit.dataset.score import state
from edgekit.mine import corrupt as noise
from edgekit.mine.corrupt import ABSENT, CONFUSED, RATES, Rates, corrupt, episodes

quick = settings(max_examples=30, deadline=None)
labels = st.fixed_dictionaries({slot: st.sampled_from(values) for slot, values in SLOTS.items()}).map(
    coherent
)
RED = coherent(
    {"recommended_speed_kmh": "40", "light": "red", "light_arrow": "any", "light_kind": "intersection",
     "cones": "yes", "obstacle": "barrier", "crossroad": "yes", "zebra": "yes"}
)  # fmt: skip
SILENT = Rates(1e-9, 1.0, 0.0, 0.0, 1e-9, 1.0, 0.0, 0.0)


def only(monkeypatch, **rates) -> None:
    """The middle level with these rates and no other."""
    monkeypatch.setitem(RATES, "middle", Rates(**{**vars(SILENT), **rates}))


def times(seconds: float, fps: float = 5.0) -> list[float]:
    return [i / fps for i in range(round(seconds * fps))]


@quick
@given(st.lists(labels, max_size=30), st.sampled_from(["low", "middle", "high"]), st.integers(0, 99))
def test_same_seed_same_labels_and_always_a_label(truth, level, seed):
    t = times(len(truth) / 5)
    out = corrupt(truth, t, level, seed)
    assert out == corrupt(truth, t, level, seed) and len(out) == len(truth)
    assert all(isinstance(label, SceneLabel) for label in out)


@quick
@given(labels, st.integers(0, 50))
def test_a_colour_becomes_only_what_it_is_taken_for(label, seed):
    for out in corrupt([label] * 60, times(12), "high", seed):
        for slot in CONFUSED:
            was, now = getattr(label, slot), getattr(out, slot)
            # a light that goes takes its arrow and kind along, and one that comes brings some
            if slot not in ("light_arrow", "light_kind"):
                # missed first and then confused as an absent thing is
                passing = {
                    was,
                    *CONFUSED[slot].get(was, {}),
                    *CONFUSED[slot].get(ABSENT[slot], {}),
                    ABSENT[slot],
                }
                assert now in passing | {"unknown"}
            if was == "unknown" and slot not in ("light_arrow", "light_kind"):
                assert now == "unknown"


def test_no_rates_no_errors(monkeypatch):
    only(monkeypatch)
    assert corrupt([RED] * 500, times(100), "middle", 1) == [RED] * 500


def test_levels_rise_and_are_reproducible_in_bulk():
    shares = {}
    for level in RATES:
        bad = [
            state(label, task) != state(RED, task)
            for seed in range(20) for label in corrupt([RED] * 300, times(60), level, seed)
            for task in ("light", "obstacles", "crossroad")
        ]  # fmt: skip
        shares[level] = np.mean(bad)
    assert shares["low"] * 2 < shares["middle"] and shares["middle"] * 1.5 < shares["high"] < 0.5


@pytest.mark.parametrize("per_minute, mean_s", [(6.0, 1.0), (12.0, 1.6)])
@pytest.mark.parametrize("fps", [10.0, 40.0])
def test_episodes_last_and_recur_as_stated_whatever_the_frame_rate(per_minute, mean_s, fps):
    random = np.random.default_rng(0)
    found = np.array(episodes(np.arange(0, 6000, 1 / fps), per_minute, mean_s, random))
    number = len(set(found)) - 1
    assert number == pytest.approx(per_minute * 100, rel=0.15)  # a few pass between two frames
    assert (found > 0).mean() == pytest.approx(per_minute * mean_s / 60, rel=0.15)


def test_a_burst_keeps_its_wrong_word(monkeypatch):
    only(monkeypatch, bursts_per_min=10.0, burst_s=2.0, burst_wrong=1.0)
    seen = [label.light for label in corrupt([RED] * 3000, times(600), "middle", 3)]
    runs = [(word, len(list(run))) for word, run in groupby(seen)]
    wrong = [(word, n) for word, n in runs if word != "red"]
    assert len({word for word, _ in wrong}) >= 3 and np.mean([n for _, n in wrong]) > 4


def test_single_errors_are_single(monkeypatch):
    only(monkeypatch, single=0.1)
    out = corrupt([RED] * 5000, times(1000), "middle", 0)
    share = np.mean([label.crossroad == "no" for label in out])
    assert share == pytest.approx(0.1 * 0.75, rel=0.2)  # of these errors three quarters strike the crossroad


def test_a_hidden_thing_is_absent_or_unknown(monkeypatch):
    only(monkeypatch, gaps_per_min=10.0, gap_s=2.0)
    out = corrupt([RED] * 5000, times(1000), "middle", 0)
    lights = {label.light for label in out}
    assert lights == {"red", "none", "unknown"}
    untold = sum(label.light == "unknown" for label in out) / sum(label.light != "red" for label in out)
    assert untold == pytest.approx(noise.UNTOLD, abs=0.15)
    speeds = {label.recommended_speed_kmh for label in out}
    assert speeds == {"40", "unknown"}


def test_drift_grows_over_the_drive(monkeypatch):
    only(monkeypatch, drift_missed=0.4, drift_kmh=20.0)
    out = corrupt([RED] * 2000, times(400), "middle", 0)
    missed = [label.light == "none" for label in out]
    first, last = np.mean(missed[:500]), np.mean(missed[-500:])
    assert first < 0.08 and last == pytest.approx(0.35, abs=0.06)
    off = [abs(int(label.recommended_speed_kmh) - 40) for label in out]
    assert off[0] == 0 and off[1000] == pytest.approx(10, abs=2.5) and off[-1] == pytest.approx(20, abs=2.5)
    assert sorted(off) == off  # one way, and never back


def test_tasks_err_apart_but_share_some_bursts(monkeypatch):
    only(monkeypatch, bursts_per_min=6.0, burst_s=1.0, burst_wrong=1.0)
    out = corrupt([RED] * 20_000, times(4000), "middle", 0)
    light, cross = (np.array([state(x, t) != state(RED, t) for x in out]) for t in ("light", "crossroad"))
    both, apart = (light & cross).mean(), light.mean() * cross.mean()
    assert both > 2 * apart and (light & ~cross).mean() > both


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="low, middle, high"):
        corrupt([RED], [0.0], "extreme")  # type: ignore[arg-type]


def test_every_confused_word_is_in_the_vocabulary():
    for slot, table in CONFUSED.items():
        for word, taken in table.items():
            assert {word, *taken} <= set(SLOTS[slot]) and word not in taken
    assert set(noise.STRUCK) == set(TASKS)
