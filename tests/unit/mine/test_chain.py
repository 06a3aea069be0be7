"""The chain behind the labels: its algebra, what it learns, what it corrects and what it must not."""

import itertools
import json
import shutil

import numpy as np
import pytest

from edgekit.core.errors import UserError
from edgekit.core.label import SceneLabel, coherent
from edgekit.drives import DriveInfo, Telemetry, write_drive
from edgekit.engine.answerer import Answer
from edgekit.library import default_prompt
from edgekit.mine import chain as module
from edgekit.mine import habits as learning
from edgekit.mine.asking import Asked
from edgekit.mine.chain import decode, learn
from edgekit.mine.corrupt import corrupt
from edgekit.mine.habits import GoldDrive, Habits
from edgekit.mine.moves import CELLS
from edgekit.mine.rows import answered, chained
from edgekit.mine.smooth import Window, smooth
from tests.unit.mine.test_joined import mined, rows_of
from tests.unit.mine.test_mine import RGB, ColourTeacher, config_of, label, write


def habits(values=("no", "yes"), seed=0) -> Habits:
    random, n = np.random.default_rng(seed), len(values)
    goes, taken = (random.random((n, n)) * (1 - np.eye(n)) for _ in range(2))
    share = random.random(n)
    return Habits(
        values, random.uniform(0.1, 0.8, n), goes / goes.sum(1, keepdims=True), share / share.sum(), 0.3, 0.9,
        (0.05, 0.8), taken / taken.sum(1, keepdims=True), np.ones((n, CELLS)),
    )  # fmt: skip


def matrices(its: Habits, leaves, enter, clear):
    """The step between all hidden states, forward and backward, column by column."""
    shape = (len(its.values), module.STAGES, 1 + len(its.values))
    units = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    on = [module._on(its, unit, leaves, enter, clear).ravel() for unit in units]
    back = [module._back(its, unit, leaves, enter, clear).ravel() for unit in units]
    return np.array(on), np.array(back)


@pytest.mark.parametrize("values", [("no", "yes"), ("none", "red", "green")])
def test_a_step_back_is_the_transpose_of_a_step_on_and_loses_no_probability(values):
    its = habits(values)
    on, back = matrices(its, 1 - np.exp(-its.ends), 0.2, 0.6)
    assert np.allclose(on, back.T)
    n = len(values)
    held = np.arange(len(on)).reshape(n, module.STAGES, n + 1)
    real = np.setdiff1d(held, held[range(n), :, range(1, n + 1)])  # nobody is misled into what is true
    assert np.allclose(on[real].sum(axis=1), 1)


def test_the_passes_are_the_sum_over_all_paths():
    its, said, moved = habits(), [0, 1, -1], np.array([[1.0, 0.5], [0.8, 1.7], [0.2, 1.1]])
    seconds, clock = np.array([0.2, 0.7]), np.array([0.3, 0.4])
    steps = [
        matrices(its, 1 - np.exp(-module.STAGES * c * its.ends), *learning.turns(0.3, 0.9, s))[0]
        for s, c in zip(seconds, clock, strict=True)
    ]
    shape = (2, module.STAGES, 3)
    says = [
        np.broadcast_to((module._says(its, w) * fit[:, None])[:, None, :], shape).ravel()
        for w, fit in zip(said, moved, strict=True)
    ]
    part = 0.3 / 1.2
    begin = np.concatenate([np.full((2, 1), 1 - part), part * its.taken], axis=1)[:, None, :]
    begin = np.broadcast_to(begin * its.share[:, None, None] / module.STAGES, shape).ravel()
    found, states = np.zeros((3, 2)), int(np.prod(shape))
    for path in itertools.product(range(states), repeat=3):
        p = begin[path[0]] * says[0][path[0]]
        for k in (1, 2):
            p *= steps[k - 1][path[k - 1], path[k]] * says[k][path[k]]
        for k in range(3):
            found[k, path[k] // (states // 2)] += p
    found /= found.sum(axis=1, keepdims=True)
    assert np.allclose(module._passes(its, said, moved, seconds, clock), found)


def sequences(seed, misled=0.1, cleared=1.0, wrong=(0.02, 0.8), seconds=4000.0, fps=5.0):
    random, n = np.random.default_rng(seed), int(seconds * fps)
    state, errs = 0, []
    for _ in range(n):
        errs.append(bool(random.random() < wrong[state]))
        chances = learning.turns(misled, cleared, np.array([1 / fps]))
        state ^= int(random.random() < chances[state][0])
    return [(errs, np.full(n - 1, 1 / fps))]


@pytest.mark.parametrize("seed, fps", [(0, 5.0), (1, 5.0), (2, 2.0)])
def test_how_a_teacher_errs_is_found_again(seed, fps):
    misled, cleared, wrong = learning._teacher(sequences(seed, fps=fps))
    assert misled == pytest.approx(0.1, rel=0.25) and cleared == pytest.approx(1.0, rel=0.25)
    assert wrong[0] == pytest.approx(0.02, abs=0.01) and wrong[1] == pytest.approx(0.8, abs=0.08)


def test_errors_that_come_singly_are_not_taken_for_spells():
    random = np.random.default_rng(0)
    errs = [bool(e) for e in random.random(8000) < 0.1]
    _, _, wrong = learning._teacher([(errs, np.full(7999, 0.2))])
    assert (
        wrong[0] == pytest.approx(0.1, abs=0.02) and wrong[1] < 0.4
    )  # spells in which little more goes wrong


def red_and_green(seed, n=200):
    """Truth whose lights stay 4 to 12 s, a crossroad with each; and 10 m/s throughout."""
    random, out = np.random.default_rng(seed), []
    while len(out) < n:
        for colour in ("none", "red", "none", "green"):
            out += [label(colour)] * int(random.integers(20, 60))
    return out[:n], [i / 5 for i in range(n)], [10.0] * n


def gold(seeds, noise="middle"):
    drives = []
    for seed in seeds:
        truth, times, speeds = red_and_green(seed)
        drives.append(GoldDrive(times, speeds, truth, corrupt(truth, times, noise, seed)))
    return drives


def wrong_lights(truth, labels):
    return sum(a.light != b.light for a, b in zip(truth, labels, strict=True) if b.light != "unknown")


def test_it_removes_more_than_a_majority_and_more_than_one_taught_in_no_order():
    taught = learn(gold(range(100, 110)))
    shuffled = []
    for drive in gold(range(100, 110)):
        order = np.random.default_rng(0).permutation(len(drive.truth))
        shuffled.append(
            drive._replace(truth=[drive.truth[i] for i in order], said=[drive.said[i] for i in order])
        )
    confused = learn(shuffled)
    left = {"raw": 0, "majority": 0, "chain": 0, "control": 0}
    for drive in gold(range(8)):
        voted = smooth(drive.said, drive.times_s, drive.speeds_mps, Window(distance_m=20.0))
        for name, its in (("chain", taught), ("control", confused)):
            after, _ = decode(its, drive.said, voted, drive.times_s, drive.speeds_mps, 0.95)
            left[name] += wrong_lights(drive.truth, after)
        left["majority"] += wrong_lights(drive.truth, voted)
        left["raw"] += wrong_lights(drive.truth, drive.said)
    assert left["chain"] < 0.8 * left["majority"] < 0.8 * left["raw"]
    assert left["chain"] < 0.8 * left["control"]


def test_a_long_event_stays_and_a_flash_longer_than_half_the_window_goes():
    taught = learn(gold(range(100, 110)))
    event = [label("none")] * 40 + [label("red")] * 40 + [label("none")] * 40
    flash = [label("none")] * 40 + [label("green")] * 2 + [label("none")] * 40
    for drive, kept in ((event, True), (flash, False)):
        times, speeds = [i / 5 for i in range(len(drive))], [10.0] * len(drive)
        voted = smooth(drive, times, speeds, Window(distance_m=4.0))
        assert {x.light for x in voted} != {"none"}  # the majority lets the flash through
        after, told = decode(taught, drive, voted, times, speeds, 0.95)
        assert ({x.light for x in after} != {"none"}) == kept
        if kept:
            assert [x.light for x in after] == [x.light for x in event]
        assert all(p > 0.95 for row in told for p in row.values())


def test_where_it_is_not_sure_the_majority_stands():
    taught = learn(gold(range(100, 104)))
    said = [label("none")] * 10 + [label("red")] * 5 + [label("none")] * 10
    voted = [label("green")] * 25
    times, speeds = [i / 5 for i in range(25)], [10.0] * 25
    after, told = decode(taught, said, voted, times, speeds, sure=1 - 1e-12)
    assert after == voted and not any(told)


def test_a_light_that_it_brings_back_has_an_arrow():
    taught = learn(gold(range(100, 110)))
    red = coherent({**label("red").model_dump(), "light_arrow": "left"})
    said = [red] * 20 + [label("none")] * 3 + [red] * 20
    times, speeds = [i / 5 for i in range(43)], [2.0] * 43
    after, _ = decode(taught, said, said, times, speeds, 0.95)
    assert [(x.light, x.light_arrow) for x in after] == [("red", "left")] * 43


def test_no_value_is_given_that_the_teacher_never_said():
    """Gold in which there is never a light, and a teacher who is seldom wrong about that."""
    dark = GoldDrive(*([i / 5 for i in range(1000)], [10.0] * 1000), [label("none")] * 1000,
                     [label("red" if i % 50 == 0 else "none") for i in range(1000)])  # fmt: skip
    said = [label("red")] * 4
    after, _ = decode(learn([dark]), said, said, [0.0, 0.2, 0.4, 0.6], [10.0] * 4, sure=0.5)
    assert after == said


@pytest.mark.parametrize("said", [[], [label("red")], [SceneLabel()] * 5])
def test_nothing_to_hear_changes_nothing(said):
    taught = learn(gold(range(100, 104)))
    times = [i / 5 for i in range(len(said))]
    after, _ = decode(taught, said, said, times, [None] * len(said), sure=0.5)
    assert after == said


@pytest.mark.parametrize(
    "drives", [[], [GoldDrive([0.0, 0.2], [None] * 2, [SceneLabel()] * 2, [SceneLabel()] * 2)]]
)
def test_gold_that_tells_little_teaches_nothing(drives):
    taught = learn(drives)
    assert taught.slots == {} and json.dumps(taught.report())
    said = [label("red")] * 3
    assert decode(taught, said, said, [0.0, 0.2, 0.4], [1.0] * 3, 0.9) == (said, [{}, {}, {}])


def test_a_slot_of_which_gold_tells_nothing_is_left_alone():
    blind = [
        drive._replace(truth=[x.model_copy(update={"crossroad": "unknown"}) for x in drive.truth])
        for drive in gold(range(100, 104))
    ]
    assert set(learn(blind).slots) == set(module.CHAINED) - {"crossroad"}


@pytest.mark.parametrize("values", [("no", "yes"), ("none", "red", "green")])
def test_what_a_teacher_can_say_adds_up(values):
    its, n = habits(values), len(values)
    says = np.stack([module._says(its, word) for word in range(n)])
    real = ~np.eye(n, n + 1, 1, dtype=bool)  # nobody is misled into what is true
    assert np.allclose(says.sum(axis=0)[real], 1)


@pytest.mark.parametrize("noise", [None, "middle"])
def test_a_person_whom_gold_never_showed_is_not_erased(noise):
    """15 drives of 40 s without anybody; then somebody for 4 s, said in every frame."""
    drives = gold(range(100, 115)) if noise else [d._replace(said=d.truth) for d in gold(range(100, 115))]
    person = label("none").model_copy(update={"obstacle": "person"})
    said = [label("none")] * 60 + [person] * 20 + [label("none")] * 60
    after, _ = decode(learn(drives), said, said, [i / 5 for i in range(140)], [10.0] * 140, 0.9)
    assert after == said


@pytest.mark.parametrize("slot, hazard, none", [("obstacle", "person", "none"), ("cones", "yes", "no")])
def test_a_hazard_is_taken_away_only_with_less_doubt_than_all_else_takes(slot, hazard, none):
    taught = learn(gold(range(100, 110)))
    clear = label("none")
    there = clear.model_copy(update={slot: hazard})
    said = [clear] * 40 + [there] * 5 + [clear] * 40
    times, driven = [i / 5 for i in range(85)], [10.0] * 85
    words = [getattr(x, slot) for x in said]
    values = taught.slots[slot].values
    after = taught.posterior(slot, words, times, driven)
    doubt = 1 - after[42, values.index(none)]
    assert 0 < doubt < 0.05
    for doubts, goes in ((2, False), (4, False), (6, True), (9, True)):
        found, _ = decode(taught, said, said, times, driven, 1 - doubts * doubt)
        assert (getattr(found[42], slot) == none) == goes, doubts
    missed, doubt = (
        20,
        1 - taught.posterior(slot, [hazard] * 20 + [none] + [hazard] * 20, times[:41], driven[:41]),
    )
    doubt = doubt[missed, values.index(hazard)]
    heard = [there] * missed + [clear] + [there] * missed
    found, _ = decode(taught, heard, heard, times[:41], driven[:41], 1 - 2 * doubt)
    assert getattr(found[missed], slot) == hazard, "to put one back takes no more than all else does"


def test_frames_far_apart_hear_nothing_of_one_another():
    taught = learn(gold(range(100, 110)))
    said = [label("none")] * 10 + [label("green")] + [label("none")] * 10
    near, far = ([i * step for i in range(21)] for step in (0.2, 3.0))
    assert decode(taught, said, said, near, [10.0] * 21, 0.9)[0] == [label("none")] * 21
    assert decode(taught, said, said, far, [10.0] * 21, 0.9) == (said, [{}] * 21)


def test_stays_pass_with_the_road_too():
    taught = learn(gold(range(100, 110)))
    said = ["none"] * 40 + ["green"] * 4 + ["none"] * 40
    times = [i / 5 for i in range(84)]
    slow, fast = (taught.posterior("light", said, times, [v] * 84)[41] for v in (0.0, 30.0))
    green = taught.slots["light"].values.index("green")
    assert (
        fast[green] > 1.5 * slow[green]
    )  # what is passed at 30 m/s may have been there for less than a second


def test_a_long_drive_is_heard_in_pieces_and_tells_much_the_same(monkeypatch):
    taught = learn(gold(range(100, 110)))
    truth, times, speeds = obedient(3, n := 1500)
    times = [*times[:900], *(t + 30 for t in times[900:])]  # a pause
    said = corrupt(truth, times, "middle", 5)
    whole = decode(taught, said, said, times, speeds, 0.9)
    monkeypatch.setattr(module, "PIECE_S", 50.0)
    parts = module.pieces(times)
    assert [i for _, kept in parts for i in kept] == list(range(n)) and len(parts) == 7
    assert all(times[heard[-1]] - times[heard[0]] <= 170 for heard, _ in parts)
    after, told = decode(taught, said, said, times, speeds, 0.9)
    assert after != said
    # A value within a thousandth of ``sure`` may fall to the other side.
    assert np.mean([a == b for a, b in zip(after, whole[0], strict=True)]) > 0.99
    both = [(row[k], other[k]) for row, other in zip(told, whole[1], strict=True) for k in row.keys() & other]
    assert max(abs(a - b) for a, b in both) < 0.01


def obedient(seed, n=600, moving=True):
    """Lights in turn; the car stands at the red ones, or does as it likes."""
    truth, times, _ = red_and_green(seed, n)
    speeds = [0.0 if x.light == "red" else 10.0 for x in truth]
    if not moving:
        np.random.default_rng(seed).shuffle(speeds)
    return truth, times, speeds


def test_the_cars_own_motion_has_a_say_where_it_told_something_in_gold():
    """Against gold in which it told nothing, and a drive whose speed nobody measured."""
    left = {}
    for name, moving in (("motion", True), ("control", False)):
        drives = []
        for seed in range(100, 108):
            truth, times, speeds = obedient(seed, moving=moving)
            drives.append(GoldDrive(times, speeds, truth, corrupt(truth, times, "high", seed)))
        taught = learn(drives)
        for known in (True, False):
            wrong = 0
            for seed in range(6):
                truth, times, speeds = obedient(seed)
                said = corrupt(truth, times, "high", seed)
                heard = speeds if known else [None] * len(times)
                wrong += wrong_lights(truth, decode(taught, said, said, times, heard, 0.9)[0])
            left[name, known] = wrong
    # Standing speaks of red alone, which is a third of what can be wrong.
    assert left["motion", True] < 0.9 * min(left["motion", False], left["control", True])


def test_a_car_that_stands_for_minutes_is_no_red_light():
    """Gold in which a car stands at red alone; then it is parked, or in a jam at green, and the teacher is right."""
    drives = []
    for seed in range(100, 108):
        truth, times, speeds = obedient(seed)
        drives.append(GoldDrive(times, speeds, truth, corrupt(truth, times, "middle", seed)))
    taught = learn(drives)
    assert taught.report()["slots"]["light"]["standing"]["red"] > 2
    for colour in ("none", "green"):
        for seconds in (20, 120):
            n = 5 * seconds
            said = [label("none")] * 50 + [label("red")] * 50 + [label("none")] * 50 + [label(colour)] * n
            driven = [10.0] * 50 + [0.0] * 50 + [10.0] * 50 + [0.0] * n
            after, _ = decode(taught, said, said, [i / 5 for i in range(len(said))], driven, 0.9)
            assert wrong_lights(said, after) <= 1, (colour, seconds)


def test_a_speed_that_was_filled_in_says_nothing(tmp_path, monkeypatch):
    """Rows of telemetry 4 s apart: how far the car went is known between them, and not why."""
    heard, t = [], np.arange(0, 12, 4.0)
    known = Telemetry(t, np.full(3, 10.0), np.zeros(3), np.zeros(3))
    frames = [np.full((56, 112, 3), RGB["none"], np.uint8)] * 41
    write_drive(tmp_path / "set" / "drives" / "d", DriveInfo(id="d", fps=5, scene="s"), frames, known)
    decoded = module.decode

    def listening(*args):
        heard.append((args[4], args[6]))
        return decoded(*args)

    monkeypatch.setattr("edgekit.mine.story.decode", listening)
    taught = gold_dataset(tmp_path, 400)
    config = config_of(tmp_path / "set", gold=str(taught), chain={}, reading={"gap_s": 10.0})
    mined(tmp_path, config, "run", ColourTeacher())
    ((filled, measured),) = heard
    assert None not in filled and measured.count(None) >= 25 and measured[0] == measured[20] == 10.0


def test_what_windows_left_unknown_stays_unknown():
    taught = learn(gold(range(100, 110)))
    said = [label("none")] * 40
    voted = [label("none")] * 20 + [SceneLabel()] + [label("none")] * 19
    after, told = decode(taught, said, voted, [i / 5 for i in range(40)], [10.0] * 40, 0.5)
    assert after == voted and not told[20]


def test_a_light_brought_back_where_it_was_said_keeps_its_arrow():
    left, right = (
        coherent({**label("red").model_dump(), "light_arrow": arrow}) for arrow in ("left", "right")
    )
    said = [left, right] * 20
    voted = [label("red")] * 18 + [label("none")] * 3 + [label("red")] * 19
    after, _ = decode(learn(gold(range(100, 110))), said, voted, [i / 5 for i in range(40)], [2.0] * 40, 0.9)
    assert [x.light_arrow for x in after[18:21]] == ["left", "right", "left"]


@pytest.mark.parametrize(
    "told, confidence", [({"cones": 0.95, "obstacle": 0.97}, 0.95), ({"cones": 0.95}, 0.3), ({}, 0.3)]
)
def test_a_change_is_as_sure_as_the_chain_and_no_surer(told, confidence):
    seen = label("none").model_copy(update={"cones": "yes"})
    marks = answered(Asked(Answer("", seen, {"cones": 0.3}), default_prompt()))
    chained(marks, seen, label("none"), told)
    mark = marks["obstacles"]
    assert mark.confidence == confidence and (mark.source == "smoothed") == bool(told)
    assert len(mark.history) == 1 + bool(told)
    chained(marks, label("none"), seen, {"cones": 0.99, "obstacle": 0.99})
    assert (mark.source, mark.status) == ("vlm", "kept")


def gold_dataset(tmp_path, frames, drive="g", every_s=0.2, shown=lambda n: "none"):
    from edgekit.core.contract import Contract
    from edgekit.dataset import DatasetWriter, Sample

    out = tmp_path / "gold"
    writer = DatasetWriter(out, Contract(width=112, height=56))
    for n in range(frames):
        name = f"{drive}{n}"
        image = np.full((56, 112, 3), RGB[shown(n)], np.uint8)
        writer.add("test", Sample.of(
            id=name, prompt_text="?", source="human", scene="gold", drive=drive, frame=n, t_s=n * every_s,
            speed_mps=10.0, label=label("none"), images=[writer.image(name, image)],
        ))  # fmt: skip
    writer.finish()
    return out


def test_mining_with_a_chain_says_what_it_did(tmp_path):
    """A teacher who sees a green light for a second where there is none, in gold as in the drive."""
    flash = {"drives": tmp_path / "set", "shown": ["none"] * 40 + ["green"] * 5 + ["none"] * 40}
    write(flash["drives"], "d", flash["shown"], ["none"] * 85, speed=10.0, scene="s")
    taught = gold_dataset(
        tmp_path, 2000, shown=lambda n: "green" if n % 30 in (10, 11, 12, 13, 14) else "none"
    )
    short = {"distance_m": 5}
    plain = mined(tmp_path, config_of(flash["drives"], smoothing=short), "plain", ColourTeacher())
    assert rows_of(plain)["d/000042"].label.light == "green"
    run = mined(
        tmp_path,
        config_of(flash["drives"], smoothing=short, gold=str(taught), chain={}),
        "run",
        ColourTeacher(),
    )
    row = rows_of(run)["d/000042"]
    assert row.label.light == "none"
    mark = row.tasks["light"]
    assert [s["step"] for s in mark.history] == ["vlm", "smoothed", "chained", "motion"][: len(mark.history)]
    step = mark.history[2]
    assert step["value"] == "none" and mark.status == "changed" and 0.95 < step["probability"] <= 1
    report = json.loads((run.out / "mining.json").read_text())
    assert report["steps"] == ["raw", "smoothed", "chained", "motion"]
    assert report["tasks"]["light"]["changed"]["chained"] >= 5
    assert json.loads((run.out / "chain.json").read_text())["slots"]["light"]["misled_a_minute"] > 1


def test_gold_without_time_is_refused(tmp_path):
    write(tmp_path / "set", "d", ["none"] * 10, scene="s")
    for frames, every in ((400, 3.0), (100, 0.2)):  # stills; 20 s
        config = config_of(
            tmp_path / "set", gold=str(gold_dataset(tmp_path, frames, every_s=every)), chain={}
        )
        teacher = ColourTeacher()
        with pytest.raises(UserError, match="chain: gold holds") as told:
            mined(tmp_path, config, f"run{frames}", teacher)
        assert "60 s" in told.value.why and not teacher.batches  # refused before anything is asked
        shutil.rmtree(tmp_path / "gold")


def test_a_chain_hears_later_frames(tmp_path):
    write(tmp_path / "set", "d", ["none"] * 10, scene="s")
    with pytest.raises(UserError, match="later frames"):
        config_of(tmp_path / "set", gold="x", chain={}, smoothing={"causal": True})


def test_a_chain_without_gold_and_gold_for_nobody_are_refused(tmp_path):
    write(tmp_path / "set", "d", ["none"] * 10, scene="s")
    with pytest.raises(UserError, match="chain learns from gold"):
        config_of(tmp_path / "set", chain={})
    with pytest.raises(UserError, match="gold is for experts and for chain"):
        config_of(tmp_path / "set", gold="x")
