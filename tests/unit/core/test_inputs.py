"""What a recipe reads, and what makes what is missing."""

from typing import ClassVar

import pytest

from edgekit.core.errors import UserError
from edgekit.core.inputs import given, how_to_make, missing
from edgekit.core.recipe import Config
from edgekit.core.run import find_input


class ProbeConfig(Config):
    inputs: ClassVar[tuple[str, ...]] = ("model", "data")
    model: str | None = None
    data: list[str] = []


def test_inputs_stand_by_key_and_what_is_left_out_is_none():
    assert given(ProbeConfig(data=["a", "b"])) == [("data", "a"), ("data", "b")]
    assert given(ProbeConfig(model="m", data=["a"])) == [("model", "m"), ("data", "a")]


def test_missing_is_what_is_not_there_or_not_whole_and_nothing_is_fetched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half" / "out").mkdir(parents=True)
    (tmp_path / "half" / "recipe.yaml").write_text("")
    (tmp_path / "clip.mp4").write_text("")
    config = ProbeConfig(
        model="hub:no/model",
        data=["half", "clip.mp4", "gone", "gone", "package:sample", "package:no", str(tmp_path)],
    )
    assert missing(config) == ["half", "gone", "package:no"]


def test_what_is_not_there_is_told_with_what_is_called_alike(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trips" / "monday").mkdir(parents=True)
    for item, says in [
        ("trips/munday", "trips has no 'munday'; did you mean 'monday'?"),
        ("trip/monday", "this folder has no 'trip'; did you mean 'trips'?"),
        ("trips/monday/a.mp4", "trips/monday has no 'a.mp4'; it is empty"),
    ]:
        with pytest.raises(UserError) as caught:
            find_input(item)
        assert says in caught.value.do and says in how_to_make(item)
    assert "has no" not in how_to_make("trips/monday")


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("runs/export/nano", "edgekit export nano --out runs/export/nano makes it"),
        (
            "/far/runs/quantize/nano/out/awq-gemm",
            "edgekit quantize nano --out /far/runs/quantize/nano makes it",
        ),
        ("runs/distill/mine", "edgekit distill RECIPE --out runs/distill/mine makes it (RECIPE: nano, "),
        ("runs/holiday/photos", "it is yours to bring"),
        ("runs/export", "it is yours to bring"),
        ("my/drives", "it is yours to bring"),
        ("package:no-such", "name one of these"),
    ],
)
def test_what_makes_it(item, says):
    assert says in how_to_make(item)
