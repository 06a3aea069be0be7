"""A paragraph in plain English of what a frame shows: the caption that a text-to-image model learns from.

It claims nothing that is not to be seen: a thing is named where it has enough pixels and its contrast comes
through the air, the crossroad and its zebra where the label's truth has them visible, a surface where it fills
a share of the image. The wording varies with the frame's seed; the same frame has always the same words.
"""

import random
from collections import Counter
from typing import Any

from edgekit.render.conditions import comes_through
from edgekit.render.labels import HEAD_NIGHT_PX, HEAD_PX, LAMP_PX, OBSTACLE_PX, ZEBRA_PX

WORDS = (40, 90)  # in a description
LEAST_PX = {
    "car": 40, "truck": 40, "bus": 40, "motorcycle": 40, "bicycle": OBSTACLE_PX["cyclist"],
    "person": OBSTACLE_PX["person"], "cone": 20, "barrier": OBSTACLE_PX["barrier"],
    "debris": OBSTACLE_PX["debris"], "sign": 40, "head": LAMP_PX,
}  # fmt: skip
READABLE_PX = 200  # of a sign, to say what stands on it
SURFACE = 0.01  # share of the image from which on road, houses and trees are named
STREET_M = 25.0  # how far houses and trees stand off, for their way through the air
MARKING_PX = 60
VIEWS = {
    "windscreen": "through the windscreen of a car",
    "roof": "from the roof of a car",
    "bumper": "from the front bumper of a car",
    "cab": "from the cab of a truck",
}
WEATHERS = {
    "clear": ("clear", "in fair weather"),
    "cloudy": ("cloudy", "under a cloudy sky"),
    "rain": ("rainy", "in the rain"),
    "fog": ("foggy", "in fog"),
    "snow": ("snowy", "in falling snow"),
}
TIMES = {
    "day": ("day", "by day"),
    "low_sun": ("late afternoon", "late in the day"),
    "dusk": ("evening at dusk", "at dusk"),
    "night": ("night", "at night"),
}
ROADS = {"rain": "wet", "snow": "snowy"}
JUNCTIONS = {"x": "a crossroads", "t": "a T-junction", "toll": "a toll plaza"}
COUNTS = ("no", "one", "two", "three", "four", "five")
PADDING = (
    "The picture is level and in colour.",
    "The camera looks along the way of the vehicle that carries it.",
    "It is a wide picture, and the perspective is that of an ordinary lens.",
    "It is a single still picture.",
)


def describe(spec: dict[str, Any], frame: dict[str, Any], truth: dict[str, Any]) -> str:
    """WORDS words in one paragraph. truth: of ``truth_of`` with an ids image."""
    rng = random.Random(f"edgekit description {spec['seed']} {frame['index']}")
    seen = [thing for thing in truth["things"] if _seen(spec, thing)]
    # in the order of the text; the number is how much it matters where not all find room
    parts = [
        (0, _opening(spec, rng)),
        (5, _road(spec, truth, rng)),
        (6, _surroundings(spec, truth, rng)),
        (2, _junction(frame, truth, rng)),
        (1, _light(frame, seen, rng)),
        (3, _traffic(seen, rng)),
        (7, _parked(seen, rng)),
        (4, _people(seen)),
        (1, _works(seen, rng)),
        (8, _sign(seen)),
    ]
    kept, total = set(), 0
    for rank, part in sorted(parts, key=lambda one: one[0]):
        length = len(part.split())
        if part and total + length <= WORDS[1]:
            kept.add((rank, part))
            total += length
    text = [part for rank, part in parts if (rank, part) in kept]
    for part in rng.sample(PADDING, len(PADDING)):
        if total < WORDS[0]:
            text.append(part)
            total += len(part.split())
    return " ".join(text)


def _seen(spec: dict[str, Any], thing: dict[str, Any]) -> bool:
    if thing["class"] not in LEAST_PX or not comes_through(spec["conditions"], max(0.0, thing["distance_m"])):
        return False
    if thing["class"] != "head":
        return thing["pixels"] >= LEAST_PX[thing["class"]]
    if thing["attributes"]["state"] == "off":  # by its housing, as the label's truth has it
        return thing["pixels"] >= (HEAD_NIGHT_PX if spec["conditions"]["time"] == "night" else HEAD_PX)
    return thing["attributes"]["lens_pixels"] >= LAMP_PX


def _opening(spec: dict[str, Any], rng: random.Random) -> str:
    conditions = spec["conditions"]
    (adjective, weather), (noun, time) = WEATHERS[conditions["weather"]], TIMES[conditions["time"]]
    view = VIEWS.get(spec["mount"]["name"], "from the front of a vehicle")
    when = rng.choice((f"on a {adjective} {noun}", f"{time}, {weather}"))
    what = rng.choice(("A photograph taken", "A driver's view, taken", "A street photograph, taken"))
    return f"{what} {view} {when}."


def _road(spec: dict[str, Any], truth: dict[str, Any], rng: random.Random) -> str:
    pixels = truth["pixels"]
    if pixels.get("road", 0) < SURFACE * sum(pixels.values()):
        return ""
    state = ROADS.get(spec["conditions"]["weather"], "dry")
    lines = " with painted lane lines" if pixels.get("marking", 0) >= MARKING_PX else ""
    return rng.choice(
        (f"The asphalt of the road is {state}{lines}.", f"Ahead lies a {state} asphalt road{lines}.")
    )


def _surroundings(spec: dict[str, Any], truth: dict[str, Any], rng: random.Random) -> str:
    pixels, total = truth["pixels"], sum(truth["pixels"].values())
    named = [
        word
        for word, classes in (("houses", ("building", "window")), ("trees", ("tree",)))
        if sum(pixels.get(name, 0) for name in classes) > SURFACE * total
    ]
    if not named or not comes_through(spec["conditions"], STREET_M):
        return ""
    return rng.choice(("Along the street stand {}.", "The road is lined by {}.")).format(" and ".join(named))


def _junction(frame: dict[str, Any], truth: dict[str, Any], rng: random.Random) -> str:
    label, words = truth["label"], []
    if not truth["visible"]["crossroad"]:
        return ""
    if label["crossroad"] == "yes":
        words.append(JUNCTIONS.get(frame["facts"]["junction_kind"], "a junction"))
    if label["zebra"] == "yes" and truth["pixels"].get("zebra", 0) >= ZEBRA_PX:
        words.append("a zebra crossing")
    if not words:
        return ""
    where = rng.choice(("ahead", "in front of us"))
    return f"{_upper(' with '.join(words))} lies {where}."


def _light(frame: dict[str, Any], seen: list[dict[str, Any]], rng: random.Random) -> str:
    heads = [thing for thing in seen if thing["class"] == "head"]
    ours = [thing for thing in heads if thing["attributes"]["governs"]]
    states = sorted({thing["attributes"]["state"] for thing in ours or heads})
    if not states:
        return ""
    words = [{"off": "dark"}.get(state, state) for state in states]
    if not ours or len(states) > 1:
        what = "A traffic light in view is" if len(words) == 1 else "Traffic lights in view are"
        return f"{what} {' and '.join(words)}."
    arrow = ours[0]["attributes"]["arrow"]
    with_arrow = "" if arrow == "any" or states == ["off"] else f" with a {arrow} arrow"
    return f"The traffic light{with_arrow} {rng.choice(('ahead', 'for our lane'))} is {words[0]}."


def _traffic(seen: list[dict[str, Any]], rng: random.Random) -> str:
    names = {"bicycle": "cyclist", "motorcycle": "motorcyclist"}
    counts = Counter(
        names.get(thing["class"], thing["class"])
        for thing in seen
        if thing["attributes"].get("parked") is False
    )
    if not counts:
        return ""
    return rng.choice(("On the road: {}.", "The traffic in view: {}.")).format(_list(counts))


def _parked(seen: list[dict[str, Any]], rng: random.Random) -> str:
    counts = Counter(thing["class"] for thing in seen if thing["attributes"].get("parked"))
    if not counts:
        return ""
    return rng.choice(("Parked at the side: {}.", "By the kerb, parked: {}.")).format(_list(counts))


def _people(seen: list[dict[str, Any]]) -> str:
    people = [thing["attributes"]["on_road"] for thing in seen if thing["class"] == "person"]
    words = [
        f"{_list(Counter({'pedestrian': count}))} on the {where}"
        for where, count in (("road", sum(people)), ("pavement", len(people) - sum(people)))
        if count
    ]
    return _upper(f"{' and '.join(words)} {'is' if len(people) == 1 else 'are'} in view.") if words else ""


def _works(seen: list[dict[str, Any]], rng: random.Random) -> str:
    names = {"cone": "orange traffic cone", "barrier": "striped barrier", "debris": "cardboard box"}
    counts = Counter(names[thing["class"]] for thing in seen if thing["class"] in names)
    if not counts:
        return ""
    return rng.choice(("Set out on the road: {}.", "In the roadway: {}.")).format(_list(counts))


def _sign(seen: list[dict[str, Any]]) -> str:
    signs = [thing for thing in seen if thing["class"] == "sign" and thing["pixels"] >= READABLE_PX]
    if not signs:
        return ""
    value = max(signs, key=lambda thing: thing["pixels"])["attributes"]["value"]
    return f"A round sign limits the speed to {value}."


def _list(counts: Counter) -> str:
    """Counter(car=2, bus=1) → "two cars and one bus"; above five only that they are several."""
    words = []
    for name, count in sorted(counts.items()):
        number = COUNTS[count] if count < len(COUNTS) else "several"
        plural = {"bus": "buses", "cardboard box": "cardboard boxes"}.get(name, f"{name}s")
        words.append(f"{number} {name if count == 1 else plural}")
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
