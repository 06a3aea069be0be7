"""What is known of an image before it is asked about: words, which choose entries, and values, which fill them.

Words come from the drive's tags, from an earlier answer (the probe question), from detections, from telemetry
and from a map. Nothing here is sure: an entry that a word brings in says "look for it", never "it is there".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from edgekit.core.label import SceneLabel
from edgekit.engine.chat import clean

SLOW_MPS, FAST_MPS = 3.0, 14.0  # below 11 km/h, above 50 km/h
BRAKING_MPS2 = -2.0  # as one brakes for something; easing off stays above -1
TURNING_RPS = 0.12  # a bend of 80 m at 35 km/h; lane changes stay below
MANY_CARS, MANY_LIGHTS = 3, 2  # detections in one image
VALUE_CHARS = 80  # of a value that comes from outside

# What ``when`` may say, and where it is known from. The one place that holds these words.
_CONDITIONS = {  # tags of the drive (those of render among them)
    "clear": "a clear day",
    "cloudy": "an overcast day",
    "night": "it is night",
    "dusk": "dusk or dawn",
    "low_sun": "the sun stands low, ahead",
    "rain": "it rains, or the road is wet",
    "fog": "fog or mist",
    "snow": "it snows, or snow lies",
    "glare": "light scatters in the lens",
    "dirt": "drops or dirt on the lens",
}
_PLACES = {  # a map, a place that is known, or tags
    "near_crossroad": "a crossroad close ahead",
    "roundabout": "a roundabout",
    "toll": "a toll plaza",
    "tunnel": "a tunnel, or its mouth",
    "school_zone": "a school zone",
    "motorway": "a motorway or expressway",
    "roadworks": "road works",
    "queue": "slow traffic in a queue",
}
TAGS = (*_CONDITIONS, *_PLACES)  # what may be said of a whole drive
WORDS: dict[str, str] = {
    **_CONDITIONS,
    # an earlier answer, or detections
    "light": "a traffic light",
    "many_lights": "several signal heads, or heads of other lanes",
    "arrow": "an arrow light",
    "yellow": "a yellow lamp",
    "light_off": "a signal head without a lit lamp",
    "crossing_light": "a light at a pedestrian crossing",
    "cones": "traffic cones",
    "obstacle": "something in the ego path",
    "barrier": "a barrier",
    "stopped_vehicle": "a vehicle that stands in the ego path",
    "person": "a person on foot",
    "cyclist": "a cyclist",
    "debris": "debris on the road",
    "zebra": "a zebra crossing",
    "cars": "several vehicles",
    # telemetry
    "slow": "the car drives below 3 m/s, or stands",
    "fast": "the car drives above 14 m/s",
    "braking": "the car brakes harder than 2 m/s2",
    "turning": "the car turns",
    **_PLACES,
    # no source at all: what the Selector says where nothing is known
    "nothing": "nothing is known of this image",
}

# Holes of an entry's text, and what fills them. An entry whose hole nothing fills is not said.
HOLES: dict[str, str] = {
    "speed_kmh": "the car's own speed in km/h, to the nearest 5",
    "light": "the state of the governing light as it was judged a moment ago",
    "seen": "what detectors report, in words with numbers",
    "place": "what a map says of this place",
}

# Names that detectors and maps use for what a word of ours means.
ALIASES = {
    "traffic_light": "light", "traffic_signals": "light", "cone": "cones", "traffic_cone": "cones",
    "pedestrian": "person", "people": "person", "bicycle": "cyclist", "crosswalk": "zebra", "crossing": "zebra",
    "junction": "near_crossroad", "crossroad": "near_crossroad", "intersection": "near_crossroad",
    "toll_booth": "toll", "toll_plaza": "toll", "school": "school_zone", "highway": "motorway",
    "expressway": "motorway", "construction": "roadworks", "mini_roundabout": "roundabout", "traffic_jam": "queue",
}  # fmt: skip
VEHICLES = {"car", "truck", "bus", "van"}

NAMES = {
    "en": {
        "light": "traffic light", "cones": "traffic cone", "person": "person", "cyclist": "cyclist",
        "barrier": "barrier", "debris": "debris", "zebra": "zebra crossing", "car": "car", "truck": "truck",
        "bus": "bus", "van": "van", "stopped_vehicle": "standing vehicle",
    },
    "zh": {
        "light": "交通信号灯", "cones": "交通锥", "person": "行人", "cyclist": "骑行者", "barrier": "护栏",
        "debris": "散落物", "zebra": "人行横道", "car": "小汽车", "truck": "货车", "bus": "公交车",
        "van": "厢式车", "stopped_vehicle": "静止车辆",
    },
}  # fmt: skip


def context_of(
    tags: Iterable[str] = (),
    last: SceneLabel | None = None,
    speed_mps: float | None = None,
    *,
    detections: Iterable[str] = (),
    map_words: Iterable[str] = (),
    accel_mps2: float | None = None,
    yaw_rate_rps: float | None = None,
) -> frozenset[str]:
    """The words that are known of an image. A measurement that is None or NaN says nothing.

    tags: the drive's; last: an earlier answer about the image; detections: a name for each box; map_words: what
    a map says of the place. A name that is no word of ours is passed on, and chooses nothing.
    """
    boxes = Counter(plain_word(name) for name in detections)
    words = set(tags) | _answered(last) | {plain_word(name) for name in map_words} | set(boxes)
    if boxes["light"] >= MANY_LIGHTS:
        words.add("many_lights")
    if boxes["barrier"] or boxes["debris"]:
        words.add("obstacle")
    if sum(boxes[name] for name in VEHICLES) >= MANY_CARS:
        words.add("cars")
    if _told(speed_mps):
        words |= {"slow"} if speed_mps < SLOW_MPS else {"fast"} if speed_mps > FAST_MPS else set()
    if _told(accel_mps2) and accel_mps2 < BRAKING_MPS2:
        words.add("braking")
    if _told(yaw_rate_rps) and abs(yaw_rate_rps) > TURNING_RPS:
        words.add("turning")
    if {"slow", "cars"} <= words:
        words.add("queue")
    return frozenset(words)


def values_of(
    speed_mps: float | None = None,
    last: SceneLabel | None = None,
    detections: Iterable[str] = (),
    map_words: Iterable[str] = (),
    language: str = "en",
) -> dict[str, str]:
    """What fills the holes of entries; a hole that nothing is known for is absent.

    The speed is told to the nearest 5 km/h: a prompt that changes with every frame is cached by nobody.
    """
    found: dict[str, str] = {}
    if _told(speed_mps):
        found["speed_kmh"] = str(round(speed_mps * 3.6 / 5) * 5)
    if last is not None and last.light not in ("none", "unknown"):
        found["light"] = last.light
    names = NAMES[language]
    boxes = Counter(plain_word(name) for name in detections)
    seen = [f"{n} × {names[word]}" for word, n in sorted(boxes.items()) if word in names]
    places = sorted({str(word).replace("_", " ") for word in map_words})
    join = "、" if language == "zh" else ", "
    if seen:
        found["seen"] = join.join(seen)
    if places:
        found["place"] = join.join(places)
    return found


def tame(value: str) -> str:
    """A value from outside as one short line: no control words, no line ends, no braces, 80 characters."""
    printed = "".join(c if c.isprintable() and c not in "{}<>|" else " " for c in clean(str(value)))
    return " ".join(printed.split())[:VALUE_CHARS].strip()


def _answered(last: SceneLabel | None) -> set[str]:
    if last is None:
        return set()
    words = set()
    if last.light not in ("none", "unknown"):
        words.add("light")
        words |= {"light_off"} if last.light == "off" else {"yellow"} if last.light == "yellow" else set()
        words |= {"arrow"} if last.light_arrow in ("left", "straight", "right") else set()
        words |= {"toll": {"toll"}, "crossing": {"crossing_light"}}.get(last.light_kind, set())
    if any(
        getattr(last, f"other_{side}") not in ("none", "unknown") for side in ("left", "straight", "right")
    ):
        words.add("many_lights")
    if last.cones == "yes":
        words.add("cones")
    if last.obstacle not in ("none", "unknown"):
        words |= {"obstacle", last.obstacle} & WORDS.keys()
    if last.crossroad == "yes":
        words.add("near_crossroad")
    if last.zebra == "yes":
        words.add("zebra")
    return words


def plain_word(name: str) -> str:
    name = str(name).strip().lower().replace(" ", "_").replace("-", "_")
    return ALIASES.get(name, name)


def _told(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
