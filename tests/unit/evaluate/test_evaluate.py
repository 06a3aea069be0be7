"""The evaluation station on drawn images, with models that see, that are blind, and that lie."""

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.contract import Contract
from edgekit.core.errors import GateError, UserError
from edgekit.core.label import coherent, to_answer
from edgekit.core.recipe import build
from edgekit.core.run import start
from edgekit.dataset import DatasetWriter, Sample, TaskMark
from edgekit.engine.answerer import Answer
from edgekit.evaluate import EvaluateConfig, evaluate
from edgekit.evaluate import run as evaluate_run
from edgekit.evaluate.compare import compare
from edgekit.evaluate.config import Gate
from edgekit.evaluate.controls import derangement
from edgekit.evaluate.gate import missed
from edgekit.evaluate.table import HEAD, table
from edgekit.evaluate.timing import size_mb

CONTRACT = Contract(width=56, height=56)
LIGHTS = {"none": 60, "red": 120, "green": 180, "yellow": 220, "off": 250}  # the red channel tells


def label(kind: int):
    """Five lights, obstacles and crossroads on and off, three speeds."""
    light = list(LIGHTS)[kind % 5]
    return coherent(
        {"light": light, "light_arrow": "any", "light_kind": "intersection",
         "other_left": "none", "other_straight": "none", "other_right": "none",
         "cones": "yes" if kind % 2 else "no", "obstacle": "none", "zebra": "no",
         "crossroad": "yes" if kind % 3 else "no", "recommended_speed_kmh": str(20 * (kind % 3))}
    )  # fmt: skip


def picture(kind: int) -> np.ndarray:
    image = np.zeros((56, 56, 3), np.uint8)
    image[...] = (LIGHTS[list(LIGHTS)[kind % 5]], 80 + 60 * (kind % 2), 60 + 60 * (kind % 3))
    return image


class Sees:
    """Reads the drawn image. blind: answers by rote; dies: after so many calls; mute: never parses."""

    contract = CONTRACT

    def __init__(self, name="sees", blind=False, dies=None, mute=False):
        self.name, self.blind, self.dies, self.mute, self.calls, self.asked = name, blind, dies, mute, 0, 0

    def answer(self, images, prompts):
        if self.calls == self.dies:
            raise KeyboardInterrupt
        self.calls += 1
        self.asked += len(images)
        return [self.one(image) for image in images]

    def one(self, image):
        if self.mute:
            return Answer("hm", None)
        r, g, b = (int(v) for v in image.reshape(-1, 3).mean(axis=0))
        near = [min(range(30), key=lambda k: np.abs(picture(k)[0, 0].astype(int) - (r, g, b)).sum())]
        seen = label(7 if self.blind else near[0])
        return Answer(to_answer(seen), seen, {"light": 0.12345}, passes=2)


@pytest.fixture
def dataset(tmp_path):
    root = tmp_path / "data"
    writer = DatasetWriter(root, CONTRACT)
    for split, seed in (("train", 100), ("test", 0)):
        for n in range(60):
            scene, kind = f"{split}{n // 5}", (n * 7 + n // 5) % 30
            marks = {t: TaskMark(source="render") for t in ("speed", "light", "obstacles", "crossroad")}
            if n == 3:
                marks["light"] = TaskMark(source="render", status="dropped")
            writer.add(
                split,
                Sample.of(
                    id=f"{scene}/{n:03d}", prompt_text="What is ahead?", label=label(kind), source="render",
                    images=[writer.image(f"{split}-{n + seed:03d}", picture(kind))], scene=scene, tasks=marks,
                    tags=["night"] if n % 2 else ["rain", "night"],
                ),
            )  # fmt: skip
    writer.finish()
    return root


def go(tmp_path, dataset, model, name="run", **more):
    raw = {
        "model": str(dataset),
        "dataset": str(dataset),
        "kind": "torch",
        "report_frames": 4,
        "resamples": 200,
    }
    run = start("evaluate", build(EvaluateConfig, raw | more, "test"), "test", tmp_path / name)
    evaluate(run.config, run, model)
    return run


def test_a_model_that_sees_is_right_and_its_controls_fail(tmp_path, dataset):
    run = go(
        tmp_path, dataset, Sees(), gate={"f1": 0.99, "average": 0.99, "speed_r2": 0.99, "control_margin": 0.1}
    )
    metrics = json.loads((run.out / "metrics.json").read_text())
    assert metrics["overall"]["average"] == 1 and metrics["overall"]["speed/smape"] == 0
    assert metrics["intervals"]["average"] == [1, 1]
    assert metrics["frames"] == 60 and metrics["scenes"] == 12
    assert metrics["excluded"]["light"] == {"dropped": 1, "truth_unknown": 0}
    assert metrics["overall"]["light/frames"] == 59
    assert {true: set(said) for true, said in metrics["lights"].items()} == {k: {k} for k in sorted(LIGHTS)}
    assert sum(said[true] for true, said in metrics["lights"].items()) == 59
    assert set(metrics["slices"]) == {"night", "rain"} and metrics["slices"]["rain"]["frames"] == 30
    blank, shuffled = metrics["controls"]["blank"], metrics["controls"]["shuffled"]
    for task in ("speed", "light", "obstacles", "crossroad"):
        assert blank[f"{task}/balanced"] == pytest.approx(blank[f"{task}/chance"])  # one answer for all
        assert abs(shuffled[f"{task}/balanced"] - shuffled[f"{task}/chance"]) < 0.1
    assert blank["light/chance"] == 0.2 and blank["speed/chance"] == pytest.approx(1 / 3, abs=1e-5)
    cost = json.loads((run.out / "timing.json").read_text())
    assert cost["answers_per_s"] > 0 and cost["latency_ms_p95"] >= cost["latency_ms_p50"] > 0
    assert cost["peak_memory_mb"] > 10 and cost["disk_mb"] > 0 and cost["decoder_passes_mean"] == 2


def test_a_light_that_is_never_named_is_told(tmp_path, dataset, capsys):
    go(tmp_path, dataset, Sees(blind=True))  # says "green" to everything
    lights = json.loads((tmp_path / "run" / "out" / "metrics.json").read_text())["lights"]
    assert set(lights["red"]) == {label(7).light} and lights["green"] == {"green": 12}
    told = capsys.readouterr().err
    assert "green 12/12" in told and "red 0/" in told


def test_the_report_is_one_file_with_images_and_no_script(tmp_path, dataset):
    run = go(tmp_path, dataset, Sees("a <b> & c"))
    page = (run.out / "report.html").read_text()
    assert page.count("<img ") == 4 and page.count('src="data:image/jpeg;base64,') == 4
    assert "a &lt;b&gt; &amp; c" in page and "<script" not in page and "http" not in page
    assert "1.000" in page and "rain" in page


def test_a_blind_model_misses_its_gates_after_the_report(tmp_path, dataset):
    with pytest.raises(GateError) as error:
        go(tmp_path, dataset, Sees("blind", blind=True), gate={"f1": 0.9, "average": 0.9, "speed_r2": 0.6})
    assert "average" in error.value.why and "speed/r2" in error.value.why and error.value.exit_code == 3
    assert (tmp_path / "run" / "out" / "report.html").is_file()


def test_a_model_that_reads_the_answer_elsewhere_is_caught_by_the_controls(tmp_path, dataset):
    class Cheats(Sees):
        """Answers by the order of the questions: right whatever image it is shown."""

        def answer(self, images, prompts):
            self.calls += 1
            return [Answer("", label(int(p))) for p in prompts]

    rows = [json.loads(line) for line in (dataset / "test.jsonl").read_text().splitlines()]
    for row in rows:
        kind = next(k for k in range(30) if label(k).model_dump() == row["label"])
        row["messages"][0]["content"] = f"<image>{kind}"
    (dataset / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(GateError) as error:
        go(tmp_path, dataset, Cheats(), gate={"average": 0.9, "control_margin": 0.05})
    assert "blank light" in error.value.why and "shuffled speed" in error.value.why


def test_sight_is_the_contrast_between_true_and_other_images(tmp_path, dataset):
    go(tmp_path, dataset, Sees(), "sees", gate={"sight": 0.4, "control_margin": 0.1})
    with pytest.raises(
        GateError
    ) as error:  # one prompt for all: its controls are at chance, and show nothing
        go(tmp_path, dataset, Sees(blind=True), "blind", gate={"sight": 0.05, "control_margin": 0.1})
    for kind in ("blank", "shuffled"):
        for task in ("speed", "light", "obstacles", "crossroad"):
            assert f"{kind} {task}: true images are 0.000 better < 0.05" in error.value.why
    assert "above chance" not in error.value.why


@pytest.mark.parametrize("key", ["sight", "control_margin"])
def test_a_gate_that_asks_for_controls_needs_them(tmp_path, dataset, key):
    with pytest.raises(UserError, match="set shuffles"):
        go(tmp_path, dataset, Sees(), shuffles=0, gate={key: 0.1})
    no_controls = {"overall": {}, "controls": None}
    assert missed(Gate(**{key: 0.1}), no_controls) == [
        f"{k}: no control could be made" for k in ("blank", "shuffled")
    ]


def test_answers_that_do_not_parse_are_counted(tmp_path, dataset):
    run = go(tmp_path, dataset, Sees(mute=True))
    metrics = json.loads((run.out / "metrics.json").read_text())
    assert metrics["unparsed"] == 60 and metrics["overall"]["average"] == 0
    assert metrics["overall"]["speed/smape"] == 2 and metrics["overall"]["light/coverage"] == 0


def test_killed_and_started_again_gives_the_same_digest(tmp_path, dataset):
    whole = go(tmp_path, dataset, Sees(), "whole")
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, dataset, Sees(dies=4), "broken")
    model = Sees()
    again = go(tmp_path, dataset, model, "broken")
    assert model.asked == (60 - 32) + 25 + 1  # the rest, the latencies and their warm-up, one grey image
    assert again.finish() == whole.finish()


def test_resumed_after_its_costs_it_keeps_them(tmp_path, dataset, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(evaluate_run, "median_of_train", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        go(tmp_path, dataset, Sees())
    before = (tmp_path / "run" / "out" / "timing.json").read_text()
    model = Sees()
    run = go(tmp_path, dataset, model)
    assert (run.out / "timing.json").read_text() == before and json.loads(before)["answers_per_s"] > 0
    assert model.asked == 1  # the grey image alone
    assert f"{json.loads(before)['answers_per_s']}" in (run.out / "report.html").read_text()


def test_the_digest_hangs_on_the_models_content_not_on_its_place(tmp_path, dataset):
    runs = [go(tmp_path, dataset, Sees(name), name) for name in ("here", "there")]
    assert runs[0].finish() == runs[1].finish()
    for run, name in zip(runs, ("here", "there"), strict=True):
        assert json.loads((run.out / "metrics.json").read_text())["model"] == run.inputs["model"][0].digest
        assert json.loads((run.out / "timing.json").read_text())["model"] == name
        assert f"<h1>{name}</h1>" in (run.out / "report.html").read_text()


@pytest.mark.parametrize(("own", "told"), [(None, 8), (1, 1), (3, 3), (100, 8)])
def test_the_batch_that_was_really_used_is_told(tmp_path, dataset, own, told):
    model = Sees()
    if own:
        model.batch = own
    run = go(tmp_path, dataset, model, shuffles=0, frames=9)
    assert json.loads((run.out / "timing.json").read_text())["batch"] == told


def test_the_recipes_batch_reaches_the_model(tmp_path, dataset, monkeypatch):
    given = {}
    monkeypatch.setattr(evaluate_run, "open_answerer", lambda *_, **more: given.update(more) or Sees())
    go(tmp_path, dataset, None, batch=5)
    assert given == {"batch": 5}


def test_a_plan_knows_a_7b_from_a_nano():
    def plan(model, **more):
        return EvaluateConfig(model=model, dataset="d", **more).plan()

    nano, large = plan("package:nano-teacher"), plan("models/Qwen2.5-VL-7B-Instruct")
    assert nano.memory_gb < 2 and 33 < large.memory_gb < 40 and "8.29 B" in large.notes[0]
    assert large.minutes > 100 * nano.minutes and plan("models/Qwen2.5-VL-7B-Instruct", frames=1).minutes < 10
    assert "sizes unknown" in plan("runs/quantize/gone").notes[0]


def test_another_contract_or_an_empty_split_is_refused(tmp_path, dataset):
    other = Sees()
    other.contract = Contract(width=84, height=56)
    with pytest.raises(UserError, match="contracts differ"):
        go(tmp_path, dataset, other)
    with pytest.raises(UserError, match="no rows in split 'dev'"):
        go(tmp_path, dataset, Sees(), "dev", split="dev")


def test_compare_is_paired_and_refuses_other_frames(tmp_path, dataset):
    runs = {m.name: go(tmp_path, dataset, m, m.name) for m in (Sees("sees"), Sees("blind", blind=True))}
    first, second = (runs[n].out / "predictions.jsonl" for n in ("blind", "sees"))
    out = compare(first, second, resamples=200)["average"]
    assert out["second"] == 1 and out["difference"] == pytest.approx(1 - out["first"], abs=1e-6)
    low, high = out["interval"]
    assert 0 < low < out["difference"] < high
    same = compare(second, second, resamples=200)["average"]
    assert same["difference"] == 0 and same["interval"] == [0, 0]
    second.write_text("\n".join(second.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(UserError, match="1 only in the first"):
        compare(first, second)


def test_the_table_has_the_papers_columns(tmp_path, dataset):
    run = go(tmp_path, dataset, Sees())
    text = table([("nano", run.path)], note="1 seed, no claim")
    lines = text.splitlines()
    assert lines[0] == "1 seed, no claim"
    cells = [c.strip() for c in lines[4].strip("|").split("|")]
    assert len(cells) == len(HEAD) and cells[:4] == ["nano", "0.000", "1.000", "1.000"]
    assert len({len(line) for line in lines[2:]}) == 1
    with pytest.raises(UserError, match="not an evaluation"):
        table([("x", tmp_path)])


def test_fewer_frames_are_spread_over_the_split(tmp_path, dataset):
    run = go(tmp_path, dataset, Sees(), frames=6, shuffles=0)
    rows = [json.loads(line) for line in (run.out / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 6 and len({row["scene"] for row in rows}) == 6
    assert json.loads((run.out / "metrics.json").read_text())["controls"] is None


PEAK = """
import numpy as np
from edgekit.evaluate.timing import peak_memory_mb, reset_peak
reset_peak()
before = peak_memory_mb()
block = np.ones(60_000_000, np.uint8)
with_block = peak_memory_mb()
del block
reset_peak()
print(before, with_block, peak_memory_mb())
"""


def test_peak_memory_sees_an_allocation_and_forgets_it():
    """In a process of its own: in one that has run a thousand tests others free and take memory."""
    told = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout
    before, with_block, after = map(float, told.split())
    assert with_block >= before + 0.9 * 60e6 / 2**20
    assert after < before + 30


def test_the_size_is_of_the_files_that_run(tmp_path):
    (tmp_path / "x").write_bytes(b"0" * 1_500_000)
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "x").write_bytes(b"0" * 1_000_000)  # another model: it does not run
    assert size_mb(tmp_path) == 1.5


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40), st.integers(0, 99))
def test_derangement_crosses_scenes_or_says_it_cannot(scenes, seed):
    order = derangement(scenes, np.random.default_rng(seed))
    if 2 * max(Counter(scenes).values()) > len(scenes):
        assert order is None
    else:
        assert sorted(order) == list(range(len(scenes)))
        assert all(scenes[i] != scenes[j] for i, j in enumerate(order))
