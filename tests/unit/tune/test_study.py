"""Studies: the drawn world is what its truth says, arms are compared alike, a killed study goes on."""

import json

import numpy as np
import pytest
import yaml

from edgekit.core.errors import UserError
from edgekit.core.recipe import build
from edgekit.core.run import start
from edgekit.generators.open import open_generator
from edgekit.tune.config import TuneConfig
from edgekit.tune.run import tune
from edgekit.tune.study import ground, labels
from edgekit.tune.study.pictures import GAIN, combinations, pictures, write_world
from edgekit.tune.study.report import report, spread, verdict
from edgekit.tune.study.run import study
from edgekit.tune.study.world import CLASSES, SIZE, STYLES, THINGS, draw

NANO = {"arch": "dit", "size": 8, "patch": 4, "width": 32, "layers": 2, "heads": 2}
TRAIN = {"steps": 6, "batch": 2, "learning_rate": 1e-2, "warmup_steps": 0, "threads": 1}
SMALL = {"method": {"kind": "full"}, "train": TRAIN, "report": {"frames": 2, "samples": 2, "steps": 2}}


# --- the world ---


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("view", ("street", "above", "object", "tunnel"))
def test_a_box_holds_its_thing_and_no_thing_lies_outside(style, view):
    for seed in range(12):
        picture = draw(style, view, seed)
        inside = np.zeros((SIZE, SIZE), bool)
        for name, x0, y0, x1, y1 in picture.boxes:
            part = np.s_[int(y0) : int(y1) + 2, int(x0) : int(x1) + 2]
            inside[part] = True
            assert (picture.mask[part] == CLASSES.index(name)).any(), (seed, name)
        things = np.isin(picture.mask, [CLASSES.index(t) for t in THINGS])
        assert not (things & ~inside).any(), seed


def test_a_picture_is_its_seed_and_styles_share_the_scene():
    one, again, other = (draw("rain", "street", [1, k]) for k in (0, 0, 1))
    assert np.array_equal(one.rgb, again.rgb) and not np.array_equal(one.rgb, other.rgb)
    night, sunny = draw("night", "street", 5), draw("sunny", "street", 5)
    assert np.array_equal(night.mask, sunny.mask) and night.boxes == sunny.boxes
    assert night.rgb.mean() < 0.5 * sunny.rgb.mean()


def test_targets_are_what_they_are_called():
    assert not set(combinations("weather")) & set(combinations("source"))
    words = {word for pair in combinations("source") for word in pair}
    assert {word for pair in combinations("weather") for word in pair} <= words, "every word is known"
    plain = draw(*combinations("gain")[0], [3, sum(b"gain"), 0])
    turned = next(iter(pictures("gain", 1, 3)))
    assert np.array_equal(turned.rgb, np.clip(plain.rgb * GAIN, 0, 255).round().astype(np.uint8))
    tunnel = next(iter(pictures("tunnel", 1, 0)))
    assert tunnel.view == "street" and not (tunnel.mask == CLASSES.index("sidewalk")).any()


def test_a_caption_counts_what_is_there():
    picture = next(
        p
        for p in pictures("source", 200, 0)
        if sum(b[0] == "car" for b in p.boxes) == 2 and p.view == "street"
    )
    assert "2 cars" in picture.caption and "seen from a car" in picture.caption


def test_splits_of_a_drawn_world_share_no_picture(tmp_path):
    write_world(tmp_path / "w", "source", 12, 12)
    seen = {path.read_bytes() for path in (tmp_path / "w" / "images").iterdir()}
    assert len(seen) == 24
    rows = [json.loads(line) for line in (tmp_path / "w" / "truth.jsonl").read_text().splitlines()]
    assert len(rows) == 24 and all(row["description"] for row in rows)


# --- numbers ---


def test_an_interval_is_students():
    mean, half = spread([1.0, 2.0, 3.0])
    assert mean == 2 and half == pytest.approx(4.302653 / np.sqrt(3), rel=1e-5)
    assert spread([1.0]) == (1.0, None)


@pytest.mark.parametrize(
    "difference, half, less, said",
    [(-1, 0.5, True, "better"), (1, 0.5, True, "worse"), (1, 0.5, False, "better"),
     (0.4, 0.5, True, "no difference shown"), (-9, None, True, "no difference shown")],
)  # fmt: skip
def test_a_verdict_needs_an_interval_that_leaves_out_nothing(difference, half, less, said):
    assert verdict(difference, half, less) == said


class _Notes:
    notes: list = []


def _arms(seeds=(0, 1, 2)):
    return TuneConfig(
        base="x", method={"kind": "lora"},
        study={"kind": "arms", "question": "Q?", "targets": ["gain"], "seeds": list(seeds),
               "arms": {"a": {}, "b": {"train.steps": 5}, "c": {}}},
    ).study  # fmt: skip


def _result(arm, seed, loss):
    return {
        "base": "dit",
        "target": "gain",
        "arm": arm,
        "seed": seed,
        "measured": {"numbers": {"loss": loss}},
    }


def test_differences_are_paired_by_seed_and_reasons_shown():
    rows = [_result("a", s, 1.0 + s) for s in range(3)] + [_result("b", s, 0.9 + s) for s in range(3)]
    rows.append({"base": "dit", "target": "gain", "arm": "c", "not_applicable": "it has no wheels"})
    told = report(_arms(), rows, _Notes)
    arms = told["tables"][0]["arms"]
    gap = arms["b"]["against_control"]["loss"]
    assert gap["difference"] == pytest.approx(-0.1) and gap["half"] == pytest.approx(0, abs=1e-9)
    assert gap["verdict"] == "better", "seeds differ by 1, arms by .1: only pairing sees it"
    assert arms["c"] == {"not_applicable": "it has no wheels"} and "n/a: it has no wheels" in told["text"]


def test_two_seeds_claim_nothing():
    rows = [_result(arm, s, float(s) + (arm == "b")) for arm in "abc" for s in range(2)]
    told = report(_arms((0, 1)), rows, _Notes)
    assert told["tables"][0]["arms"]["b"]["against_control"]["loss"]["verdict"] == "no difference shown"
    assert "no claim" in told["text"]


# --- recipes ---


@pytest.mark.parametrize(
    "change, says",
    [
        ({"data": ["x"]}, "drives and data"),
        ({"base": None}, "asks for base"),
        ({"study": {"kind": "arms", "question": "?", "targets": ["gain"], "arms": {"a": {}, "b": {"train.stepz": 3}}}},
         "unknown key 'train.stepz'"),
        ({"study": {"kind": "arms", "question": "?", "targets": ["gain", "gain"], "arms": {"a": {}, "b": {}}}},
         "gain, gain"),
        ({"study": {"kind": "bases", "nano": {"dit": NANO}}}, "leave out base, nano, data"),
        ({"base": None, "method": {"kind": "full"}, "study": {"kind": "bases", "nano": {"dit": NANO},
          "steps": {"unett": 9}}}, "unett"),
        ({"study": {"kind": "arms", "question": "?", "targets": ["gain"], "arms": {"a": {}, "b": {}},
          "samplers": {"unet": "ddpm"}}}, "not in on: dit"),
    ],
)  # fmt: skip
def test_a_study_that_makes_no_sense_is_refused(change, says):
    arms = {"kind": "arms", "question": "?", "targets": ["gain"], "arms": {"a": {}, "b": {}}}
    raw = {"base": "x", "method": {"kind": "lora"}, "study": arms} | change
    with pytest.raises(UserError, match=says):
        build(TuneConfig, raw, "here")


# --- the whole, tiny ---


@pytest.fixture(autouse=True)
def small_net(monkeypatch):
    """A scene classifier that knows little: what is tested here is not how well it sees."""
    monkeypatch.setattr(ground, "NET_PICTURES", 60)
    monkeypatch.setattr(ground, "NET_STEPS", 5)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    unet = {"arch": "unet", "size": 8, "unet_widths": [16, 16, 16], "unet_layers": [1, 1]}
    config = build(
        TuneConfig,
        SMALL
        | {
            "study": {
                "kind": "bases",
                "pictures": 13,
                "held_out": 13,
                "nano": {"dit": NANO, "unet": unet},
                "steps": {"unet": 1},
            }
        },
        "bases",
    )
    run = start("tune", config, "bases", folder / "bases")
    tune(config, run)
    run.finish()
    return run.path


def _study(bases, **more):
    arms = {"lora": {}, "again": {}, "vpt": {"method": {"kind": "vpt", "depth": 2}},
            "tsm": {"method": {"kind": "tsm", "core": 2, "contexts": [1], "rank": 2}}}  # fmt: skip
    asked = {
        "kind": "arms",
        "question": "Does it run?",
        "on": ["dit"],
        "targets": ["weather"],
        "pictures": 8,
        "held_out": 16,
        "samples": 16,
        "steps": 2,
        "looks": ["boxes", "forgets", "experts"],
        "arms": arms,
    }
    return build(
        TuneConfig,
        SMALL | {"base": str(bases), "method": {"kind": "lora", "rank": 2}, "study": asked | more}, "study",
    )  # fmt: skip


def test_a_base_may_train_for_steps_of_its_own(bases):
    steps = {
        name: yaml.safe_load((bases / "training" / name / "recipe.yaml").read_text())["train"]["steps"]
        for name in ("dit", "unet")
    }
    assert steps == {"dit": SMALL["train"]["steps"], "unet": 1}


def test_bases_are_asked_with_the_worlds_factors(bases):
    names = open_generator(bases / "out" / "dit").condition.names
    assert "night, above" in names and "sunny, street" in names and "night, street" not in names


def test_a_study_compares_alike_and_goes_on_where_it_stopped(bases, tmp_path):
    config, trained = _study(bases), []

    def counted(inner, run):
        if len(trained) == 5:
            raise KeyboardInterrupt
        trained.append(run.path.name)
        tune(inner, run)

    run = start("tune", config, "s", tmp_path / "s")
    with pytest.raises(KeyboardInterrupt):
        study(config, run, counted)

    def rest(inner, run):
        trained.append(run.path.name)
        tune(inner, run)

    study(config, run, rest)
    assert len(trained) == len(set(trained)) == 12, "none is trained twice"
    told = json.loads((run.out / "study.json").read_text())
    arms = told["tables"][0]["arms"]
    assert arms["again"]["against_control"]["loss"]["difference"] == 0, "the same arm under another name"
    assert arms["again"]["mean"] == arms["lora"]["mean"]
    assert arms["vpt"]["mean"]["loss"] != arms["lora"]["mean"]["loss"]
    assert len(told["results"][-1]["measured"]["matrix"]) == 2
    text = (run.out / "report.md").read_text()
    assert "stand-in for Inception" in text and "| vpt |" in text
    assert {p.name for p in run.out.glob("*.png")} == {
        "samples_dit-weather.png", "loss_by_t_dit-weather.png", "experts_dit-weather.png"
    }  # fmt: skip
    assert {p.name for p in (run.path / "arms").iterdir()} == {
        f"dit-weather-{a}-{s}" for a in arms for s in range(3)
    }


def test_what_does_not_fit_is_not_tried(bases, tmp_path, monkeypatch):
    decoder = labels.DECODER.model_copy(update={"steps": 2, "batch": 2, "hidden": 16, "sampling_steps": 2})
    monkeypatch.setattr(labels, "DECODER", decoder)
    for name, value in (("ORACLE", 8), ("PAIRS", 4), ("HELD_OUT", 4), ("STEPS", 2)):
        monkeypatch.setattr(labels, name, value)
    arms = {"bitfit": {"method": {"kind": "bitfit"}}, "vpt": {"method": {"kind": "vpt"}}}
    config = _study(bases, on=["unet"], seeds=[0], arms=arms, looks=["others", "labels"],
                    samplers={"unet": "ddpm"})  # fmt: skip
    run = start("tune", config, "s", tmp_path / "s")
    tune(config, run)
    told = json.loads((run.out / "study.json").read_text())
    assert "no token sequence" in told["tables"][0]["arms"]["vpt"]["not_applicable"]
    assert not any("vpt" in p.name for p in (run.path / "arms").iterdir())
    assert {"others_style", "others_view", "label_miou", "segmenter_with"} <= set(
        told["tables"][0]["columns"]
    )
    sticks = told["results"][0]["measured"]["yardsticks"]
    assert set(sticks) == {"oracle", "segmenter_alone", "untuned_label_miou", "untuned_segmenter_with"}
    assert "untuned label miou" in (run.out / "report.md").read_text()


def test_other_bases_are_refused(bases, tmp_path):
    for config, says in (
        (_study(bases / "out" / "world"), "holds no bases"),
        (_study(bases, on=["dot"]), "did you mean 'dit'"),
    ):
        with pytest.raises(UserError, match=says):
            study(config, start("tune", config, "s", tmp_path / says[:4]), tune)
