import pytest

from edgekit.core.errors import UserError
from edgekit.core.label import UNKNOWN, coherent
from edgekit.dataset import Sample
from edgekit.quantize.calibration import choose, stratum


def row(number: int, light: str, tags: tuple[str, ...] = ()) -> Sample:
    label = coherent(UNKNOWN.model_dump() | {"light": light, "light_arrow": "any", "light_kind": "toll"})
    return Sample.of(
        id=f"d/{number:04d}", prompt_text="?", label=label, source="render",
        images=["images/a.jpg"], scene="s", tags=list(tags),
    )  # fmt: skip


ROWS = [row(i, "none") for i in range(90)] + [row(90 + i, "red") for i in range(8)]
ROWS += [row(98, "red", ("night",)), row(99, "green", ("rain", "night"))]


def test_the_rare_is_seen_before_the_common_comes_again():
    chosen = choose(ROWS, 4, seed=0)
    assert {stratum(r) for r in chosen} == {stratum(r) for r in ROWS}


def test_the_same_rows_for_the_same_seed_whatever_their_order():
    first = [r.id for r in choose(ROWS, 20, seed=1)]
    assert first == [r.id for r in choose(ROWS[::-1], 20, seed=1)]
    assert first != [r.id for r in choose(ROWS, 20, seed=2)]
    assert len(set(first)) == 20


def test_too_few_frames_are_refused_with_both_numbers():
    with pytest.raises(UserError, match="101 are asked for.*100 left"):
        choose(ROWS, 101, seed=0)
