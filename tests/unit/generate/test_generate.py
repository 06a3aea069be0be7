"""The generate station: a Dataset of what was asked, resumable, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from edgekit.core.errors import UserError
from edgekit.core.files import read_jsonl
from edgekit.core.places import shipped
from edgekit.core.recipe import build, load_recipe
from edgekit.core.run import start
from edgekit.dataset import open_dataset
from edgekit.generate import GenerateConfig, generate
from edgekit.generators.process import linear
from tests.unit.tune.conftest import base, frames, tuned  # noqa: F401

ASK = [
    {"label": "rain night", "tags": ["rain", "night"], "count": 3, "slots": {"cones": "yes"}},
    {"label": "clear day", "tags": ["clear"], "count": 2},
]


def painted(out, **raw):
    raw = {"ask": ASK, "steps": 2, "batch": 2, "width": 56, "height": 56, "threads": 1} | raw
    config = build(GenerateConfig, raw, "test")
    run = start("generate", config, "test", out)
    generate(config, run)
    run.digest = run.finish()
    return run


@pytest.fixture(scope="module")
def lora(base, tuned, tmp_path_factory):  # noqa: F811
    out = tmp_path_factory.mktemp("generate-lora") / "lora"
    return tuned(out, base=str(base), method={"kind": "lora", "rank": 2, "table": True}).path


def test_what_was_asked_becomes_a_dataset(base, lora, tmp_path):  # noqa: F811
    run = painted(tmp_path / "run", base=str(base), adapter=str(lora))
    data = open_dataset(run.out)
    rows = data.rows("train")
    assert len(rows) == 5 and data.image(rows[0]).shape == (56, 56, 3)
    assert (
        rows[0].label.cones == "yes"
        and rows[0].label.light == "unknown"
        and rows[0].tags == ["rain", "night"]
    )
    assert {t: m.status for t, m in rows[0].tasks.items() if m.status == "kept"} == {"obstacles": "kept"}
    assert {m.source for row in rows for m in row.tasks.values()} == {"asked"}
    asked = list(read_jsonl(run.out / "asked.jsonl"))
    assert [a["asked"] for a in asked] == ["rain night"] * 3 + ["clear day"] * 2
    assert len({a["seed"] for a in asked}) == 5 and {a["id"] for a in asked} == {r.id for r in rows}
    alone = painted(tmp_path / "alone", base=str(base))
    first = open_dataset(alone.out)
    assert not np.array_equal(first.image(first.rows("train")[0]), data.image(rows[0])), "the adapter acts"


def test_a_killed_painting_goes_on_to_the_same_bytes(base, tmp_path, monkeypatch):  # noqa: F811
    import edgekit.generate.run as station

    whole = painted(tmp_path / "whole", base=str(base))
    sample, calls = station.sample, []

    def counted(generator, cond, *rest, **more):
        calls.append(len(cond["labels"]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return sample(generator, cond, *rest, **more)

    monkeypatch.setattr(station, "sample", counted)
    with pytest.raises(KeyboardInterrupt):
        painted(tmp_path / "killed", base=str(base))
    assert len(list((tmp_path / "killed" / "out" / "images").iterdir())) == 2
    again = painted(tmp_path / "killed", base=str(base))
    assert calls == [2, 2, 2, 1] and again.digest == whole.digest


@pytest.mark.parametrize(
    "change, says",
    [
        ({"ask": [{"label": "fog day"}]}, "no such class"),
        ({"ask": [{"prompt": "a street"}]}, "asked with labels"),
        ({"adapter": "base"}, "whole generator"),
        ({"base": "lora"}, "no generator"),
        ({"steps": 5000}, "1000"),
    ],
)
def test_what_cannot_be_is_told_before_the_first_picture(base, lora, tmp_path, change, says):  # noqa: F811
    named = {"base": str(base), "lora": str(lora)}
    change = {
        key: named.get(value, value) if isinstance(value, str) else value for key, value in change.items()
    }
    with pytest.raises(UserError, match=says):
        painted(tmp_path / "run", **({"base": str(base)} | change))
    assert not list((tmp_path / "run" / "out").rglob("*.jpg"))


def test_an_adapter_of_another_base_or_schedule_is_refused(base, lora, tuned, tmp_path, monkeypatch):  # noqa: F811
    from tests.unit.tune.data import NANO

    other = tuned(tmp_path / "other", nano=NANO, method={"kind": "full"}, seed=1)
    with pytest.raises(UserError, match="another base"):
        painted(tmp_path / "wrong", base=str(other.path), adapter=str(lora))
    import edgekit.generate.run as station

    load_adapter = station.load_adapter

    def loses(folder, generator):
        adapter = load_adapter(folder, generator)
        generator.process = replace(generator.process, betas=linear(500))
        return adapter

    monkeypatch.setattr(station, "load_adapter", loses)
    with pytest.raises(UserError, match="another noise schedule"):
        painted(tmp_path / "schedule", base=str(base), adapter=str(lora))


def test_splits_are_shares_and_slots_are_words_of_the_label():
    for change, says in (
        ({"splits": {"train": 0.5}}, "sum to 1"),
        ({"width": 100}, "multiples of 28"),
        ({"ask": [{"label": "a", "slots": {"cones": "blue"}}]}, "no slot and value"),
        ({"ask": [{"label": "a", "prompt": "b"}]}, "exactly one"),
    ):
        with pytest.raises(UserError, match=says):
            build(GenerateConfig, {"base": "x", "ask": ASK} | change, "r.yaml")


@pytest.mark.parametrize(
    "path", sorted((shipped("recipes") / "generate").glob("*.yaml")), ids=lambda p: p.stem
)
def test_shipped_recipes_load_and_have_a_plan(path):
    plan = load_recipe(GenerateConfig, path).plan()
    assert plan.memory_gb > 0 and plan.disk_gb > 0 and plan.minutes > 0


def test_what_was_trained_in_bf16_is_painted_in_bf16(base, tuned, tmp_path):  # noqa: F811
    """Biases in float32 on weights in bfloat16, without being told so."""
    tuning = tuned(tmp_path / "t", base=str(base), method={"kind": "bitfit"}, train={"precision": "bf16"})
    run = painted(tmp_path / "run", base=str(base), adapter=str(tuning.path))
    plain = painted(tmp_path / "plain", base=str(base), precision="bf16")
    one, other = (open_dataset(r.out) for r in (run, plain))
    assert not np.array_equal(one.image(one.rows("train")[0]), other.image(other.rows("train")[0]))
