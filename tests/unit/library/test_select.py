"""Prompts over the frames of a drive: hysteresis, fallback, budget."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.errors import UserError
from edgekit.library import Entry, Example, Library, Selector, compose, load_library, tokens_of

RED = {"recommended_speed_kmh": "0", "light": "red", "light_arrow": "any", "light_kind": "intersection"}
LIBRARY = Library(
    id="x", base="Look:", closing="End.",
    entries=(
        Entry(id="a", task="speed", order=1, text="always this"),
        Entry(id="night", task="light", order=2, when=("night",), text="it is dark now", priority=20),
        Entry(id="rain", task="obstacles", order=3, when=("rain",), text="it rains very much", priority=80),
        Entry(id="light", task="light", order=4, when=("light",), text="a lamp", priority=50, aid="crop",
              examples=(Example(facts="A red disc.", answer=RED),)),
        Entry(id="lost", task="light", order=5, when=("nothing",), text="look around"),
    ),
)  # fmt: skip
EXTRA = ["night", "rain", "light"]
contexts = st.lists(st.one_of(st.none(), st.sets(st.sampled_from(EXTRA))), max_size=60)


def said(prompt):
    return set(prompt.id.split(" ")[0].split("/")[1].split("+")) - {"default"}


def test_what_is_seen_is_asked_about_at_once_and_stays_a_while():
    selector = Selector(LIBRARY, hold_frames=4, release_frames=2)
    seen = [said(selector.next(["light"] if n == 1 else [])) for n in range(7)]
    assert seen == [set(), {"light"}, {"light"}, {"light"}, {"light"}, set(), set()]


def test_it_goes_only_after_so_many_frames_without():
    selector = Selector(LIBRARY, hold_frames=1, release_frames=3)
    known = [1, 0, 0, 1, 0, 0, 0, 0]
    assert [bool(said(selector.next(["rain"] * on))) for on in known] == [1, 1, 1, 1, 1, 1, 0, 0]


def test_without_hysteresis_it_is_compose():
    selector = Selector(LIBRARY, hold_frames=1, release_frames=1)
    for context in itertools.chain.from_iterable(itertools.combinations(EXTRA, n) for n in range(4)):
        assert selector.next(context) == compose(LIBRARY, context)


def test_nothing_known_is_not_nothing_there():
    selector = Selector(LIBRARY, hold_frames=1, release_frames=1)
    assert said(selector.next(None)) == {"lost"}
    assert said(selector.next([])) == set()
    assert said(selector.next(["rain"])) == {"rain"}
    assert [said(selector.next(None)) for _ in range(5)] == [{"rain"}] * 5  # unknown releases nothing
    assert said(selector.next([])) == set()
    assert said(selector.next(["nothing"])) == set()  # no caller's tag says it


def test_a_budget_drops_examples_first_then_the_least_important():
    full = Selector(LIBRARY).next(EXTRA, aids=["crop"])
    assert full.aids == ("crop",) and "Example" in full.text
    cost = tokens_of(full.text)
    selector = Selector(LIBRARY, cost - 1)
    prompt = selector.next(EXTRA, aids=["crop"])
    assert selector.dropped == ("light (examples)",) and said(prompt) == set(EXTRA)
    bare = tokens_of(prompt.text)
    selector = Selector(LIBRARY, bare - 1)
    assert said(selector.next(EXTRA, aids=["crop"])) == {"rain", "light"}
    assert selector.dropped == ("light (examples)", "night")
    tight = Selector(LIBRARY, tokens_of("Look: always this it rains very much End."))
    assert said(tight.next(EXTRA, aids=["crop"])) == {"rain"} and tight.dropped == ("night", "light")
    tight.next([])
    tight.next(EXTRA)
    assert tight.drops == {"night": 3, "light": 3}  # held in the frame between


def test_a_further_picture_costs_too():
    cost = tokens_of(Selector(LIBRARY).next(["light"], aids=["crop"]).text)
    assert Selector(LIBRARY, cost + 143, picture_tokens=144).next(["light"], aids=["crop"]).aids == ("crop",)
    selector = Selector(LIBRARY, 100, picture_tokens=144)
    prompt = selector.next(["light"], aids=["crop"])
    assert prompt.aids == () and selector.dropped == ("light",)


def test_a_budget_below_the_default_is_refused_with_numbers():
    least = tokens_of(compose(LIBRARY).text)
    Selector(LIBRARY, least)
    with pytest.raises(UserError, match=f"costs {least} tokens, and the budget is {least - 1}"):
        Selector(LIBRARY, least - 1)


def test_the_callers_tokenizer_counts():
    selector = Selector(LIBRARY, budget_tokens=60, count=len)
    assert len(selector.next(EXTRA).text) <= 60 and selector.dropped


@settings(max_examples=200, deadline=None)
@given(contexts, st.integers(1, 6), st.integers(1, 6))
def test_nothing_flickers_faster_than_hold(frames, hold, release):
    selector = Selector(LIBRARY, hold_frames=hold, release_frames=release)
    seen = [said(selector.next(context)) for context in frames]
    for entry in EXTRA:
        runs = [(on, len(list(run))) for on, run in itertools.groupby(entry in words for words in seen)]
        assert all(length >= hold for on, length in runs[:-1] if on)  # the last one may be cut by the end
        for i, context in enumerate(frames):
            assert context is None or entry not in context or entry in seen[i]


@settings(max_examples=100, deadline=None)
@given(contexts, st.integers(0, 120), st.sampled_from([0, 60]))
def test_the_budget_is_never_exceeded(frames, above, picture):
    budget = tokens_of(compose(LIBRARY).text) + above
    free = Selector(LIBRARY)
    selector = Selector(LIBRARY, budget, picture_tokens=picture)
    for context in frames:
        prompt, wanted = selector.next(context, aids=["crop"]), free.next(context, aids=["crop"])
        assert tokens_of(prompt.text) + picture * len(prompt.aids) <= budget
        whole = {name for name in selector.dropped if "(" not in name}
        assert said(prompt) | whole == said(wanted) and not said(prompt) & whole


@settings(max_examples=30, deadline=None)
@given(
    st.sets(
        st.sampled_from(["night", "rain", "light", "many_lights", "person", "zebra", "fog", "toll", "cones"])
    )
)
def test_the_shipped_libraries_fit_a_budget_of_500(words):
    for name in ("long-en", "long-zh"):
        selector = Selector(load_library(name), budget_tokens=500)
        assert tokens_of(selector.next(words).text) <= 500
