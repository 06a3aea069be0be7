"""Does the search for prompts find what is there to be found, keep out what only fits its split, and stop?

    python benchmarks/prompts.py [--cases fix trap both long null] [--seeds 20] [--search greedy writer gepa]
                                 [--out prompts.json]

The model is a script with known weaknesses, behind the protocol that every model answers by. Its pictures
hold their truth as coloured blocks, which it reads; then it errs as its weaknesses say, unless the prompt holds a
phrase that cures one. On top it errs at random, anew for every prompt, as models do; that nothing cures.

fix:   misses lights at night unless told what a head looks like in the dark, and takes the colour of another lane
       at a toll station unless told whose light counts. Both are to be promoted.
trap:  misses obstacles unless told to look along the lane, but only behind the windscreen of the searched
       split's cars; behind others the same words make it see obstacles that are not there. They are to be kept out.
both:  the two together. The cures are to be promoted, and the trap's words kept out.
long:  errs the more, the longer its prompt is. A shorter one is to be promoted.
null:  errs at random only. No gain is to be promoted, but by luck: one in 20 is what 95 % allow. Fewer tokens may be,
       here and in the other cases: leaving out what this model does not read costs it nothing.

search greedy: the operators, whose words stand in edits.yaml. writer: the same search without them, gepa: GEPA's; both
with a scripted language model behind a real port on this machine, which writes the words that cure a weakness only
where the mistakes that it is shown name it, and else a sentence that does nothing.

One line a case: in how many seeds the result is the wanted one; for each weakness in how many seeds its cure
was found (in the candidate that goes to promotion) and promoted; score on held-out scenes before and
after (their truth, from a third set of scenes that no search and no promotion has seen); tries; evaluations.
"""

import argparse
import hashlib
import json
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgekit.core.contract import Contract
from edgekit.core.files import read_json, write_json
from edgekit.core.label import SLOTS, SceneLabel, coherent, to_answer
from edgekit.core.run import start
from edgekit.dataset import DatasetWriter, Sample, open_dataset
from edgekit.engine.answerer import Answer
from edgekit.library import Dynamic, Library, default_prompt, load_library, save_library
from edgekit.prompts import PromptsConfig, prompts
from edgekit.prompts.cache import Asker
from edgekit.prompts.front import score_of

CONTRACT = Contract(width=112, height=56)
CELL, LEVELS = 28, 8
FIELDS = {**{slot: len(values) for slot, values in SLOTS.items()}, "night": 2, "sticker": 2, "number": 2**20}
SCENES = {"dev": 80, "test": 120, "train": 40}  # train: the third set, which only this script looks at
FRAMES = 3


class Seen(NamedTuple):
    """What a picture holds: its label, and whether it is night, behind a sticker, and which one it is."""

    label: SceneLabel
    night: bool
    sticker: bool
    number: int


def draw(seen: Seen) -> np.ndarray:
    """A picture of blocks, 8 grey levels in each of 3 channels: JPEG leaves them apart."""
    code = 0
    values = {slot: SLOTS[slot].index(getattr(seen.label, slot)) for slot in SLOTS}
    values |= {"night": int(seen.night), "sticker": int(seen.sticker), "number": seen.number}
    for name, count in FIELDS.items():
        code = code * count + values[name]
    cells = CONTRACT.width // CELL * (CONTRACT.height // CELL) * 3
    digits = [code // LEVELS**i % LEVELS for i in range(cells)]
    blocks = np.array(digits, np.uint8).reshape(CONTRACT.height // CELL, -1, 3) * 32 + 16
    return blocks.repeat(CELL, axis=0).repeat(CELL, axis=1)


def read(image: np.ndarray) -> Seen:
    """``draw``, backwards."""
    middles = image[CELL // 2 :: CELL, CELL // 2 :: CELL].astype(int) // 32
    code = sum(int(digit) * LEVELS**i for i, digit in enumerate(middles.ravel()))
    values = {}
    for name, count in reversed(FIELDS.items()):
        code, values[name] = divmod(code, count)
    label = SceneLabel(**{slot: SLOTS[slot][values[slot]] for slot in SLOTS})
    return Seen(label, bool(values["night"]), bool(values["sticker"]), values["number"])


class Weakness(NamedTuple):
    """Where it errs, how (slots that it says instead), how often, and the words that cure it."""

    where: Callable[[Seen], bool]
    says: Callable[[SceneLabel], dict[str, str]]
    cure: str
    rate: float = 0.8
    harms: Callable[[Seen], dict[str, str]] | None = None  # what the words do where there was nothing to cure


SWAPPED = {"red": "green", "green": "red", "yellow": "green"}
BLIND = {"light": "none", "light_arrow": "none", "light_kind": "none"}
DARK = Weakness(
    lambda s: s.night and s.label.light in SWAPPED, lambda label: BLIND, "only the lit lamp of a signal"
)
TOLL = Weakness(
    lambda s: s.label.light_kind == "toll" and s.label.light in SWAPPED,
    lambda label: {"light": SWAPPED[label.light]}, "At a toll station every lane has its own light",
)  # fmt: skip
TRAP = Weakness(
    lambda s: s.sticker, lambda label: {"cones": "no", "obstacle": "none"}, "Look along our whole lane",
    harms=lambda s: {"obstacle": "other"} if s.number % 4 == 0 else {},
)  # fmt: skip
CASES: dict[str, tuple[Weakness, ...]] = {
    "fix": (DARK, TOLL), "trap": (TRAP,), "both": (DARK, TOLL, TRAP), "long": (), "null": (),
}  # fmt: skip


NAMES = {DARK: "dark", TOLL: "toll", TRAP: "trap"}


class Scripted:
    """An Answerer (edgekit.engine.answerer) that is no model; asked: how many questions it was put."""

    name, contract = "scripted", CONTRACT

    def __init__(self, weaknesses: Sequence[Weakness], noise: float = 0.04, words: int | None = None):
        """noise: random errors, a task; words: of a prompt, above which every further one adds 1 % of errors."""
        self.weaknesses, self.noise, self.words, self.asked = weaknesses, noise, words, 0

    def answer(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> list[Answer]:
        self.asked += len(images)
        return [self._one(read(image), prompt) for image, prompt in zip(images, prompts, strict=True)]

    def _one(self, seen: Seen, prompt: str) -> Answer:
        said = seen.label.model_dump()
        for i, weak in enumerate(self.weaknesses):
            cured = re.search(weak.cure, prompt) is not None
            if weak.where(seen) and not cured and chance(seen.number, i) < weak.rate:
                said |= weak.says(seen.label)
            elif cured and weak.harms and not weak.where(seen):
                said |= weak.harms(seen)
        over = max(0, len(prompt.split()) - self.words) if self.words else 0
        rate = self.noise + 0.01 * over
        if chance(seen.number, "light", prompt) < rate:
            said["light"] = SWAPPED.get(said["light"], "red")
        if chance(seen.number, "cones", prompt) < rate:
            said["cones"] = "no" if said["cones"] == "yes" else "yes"
        if chance(seen.number, "crossroad", prompt) < rate:
            said["crossroad"] = "no" if said["crossroad"] == "yes" else "yes"
        label = coherent(said)
        return Answer(to_answer(label), label, passes=1)


def chance(*of: object) -> float:
    """A number in [0, 1) that depends on what it is of, and on nothing else."""
    return int.from_bytes(hashlib.sha256(repr(of).encode()).digest()[:8], "big") / 2**64


# What the writer knows: a weakness by the mistakes that name it, and a sentence for it.
NAMED_BY: list[tuple[Callable[[dict[str, Any]], bool], str]] = [
    (
        lambda m: "night" in m["tags"] and m["right"].get("light") in SWAPPED and m["answered"]["light"] == "none",
        "In the dark only the lit lamp of a signal can be seen.",
    ),
    (
        lambda m: m["right"].get("light_kind") == "toll" and m["answered"]["light"] in SWAPPED.values(),
        "At a toll station every lane has its own light.",
    ),
    (
        lambda m: m["right"].get("obstacle", "none") != "none" and m["answered"]["obstacle"] == "none"
        or m["right"].get("cones") == "yes" and m["answered"]["cones"] == "no",
        "Look along our whole lane.",
    ),
]  # fmt: skip
USELESS = "Take another careful look at the whole image."


def written(told: dict[str, Any]) -> str:
    """The writer's reply: the first part that it is shown, with one sentence more."""
    part = told["parts"][0]
    mistakes = [mistake for mistake in told["mistakes"] if isinstance(mistake["answered"], dict)]
    count = {
        text: sum(names(mistake) for mistake in mistakes)
        for names, text in NAMED_BY if text not in part["text"]
    }  # fmt: skip
    most = max(count, key=count.__getitem__, default=None)
    text = most if most and count[most] else USELESS
    return json.dumps({"edits": [{"entry": part["entry"], "text": f"{part['text']} {text}"}]})


@contextmanager
def writers_port() -> Iterator[str]:
    """An OpenAI-compatible port of this machine, behind which ``written`` answers; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = written(json.loads(asked["messages"][-1]["content"]))
            body = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_dataset(
    out: Path, seed: int, sticker: bool = False, scenes: dict[str, int] = SCENES, frames: int = FRAMES
) -> Path:
    """Scenes with all that the weaknesses are about; sticker: only on the windscreens of the dev split's cars."""
    random = np.random.default_rng(seed)
    writer = DatasetWriter(out, CONTRACT)
    number = 0
    for split, count in scenes.items():
        for scene in range(count):
            night, toll = random.random() < 0.4, random.random() < 0.3
            for frame in range(frames):
                number += 1
                light = str(random.choice(["none", "red", "green", "yellow"], p=[0.4, 0.25, 0.25, 0.1]))
                kind = "none" if light == "none" else "toll" if toll else "intersection"
                obstacle = str(random.choice(["none", "person", "barrier"], p=[0.6, 0.2, 0.2]))
                label = SceneLabel(
                    recommended_speed_kmh=str(5 * int(random.integers(0, 13))), light=light,
                    light_arrow="none" if light == "none" else "any", light_kind=kind, other_left="none",
                    other_straight="none", other_right="none", cones=str(random.choice(["no", "yes"], p=[0.7, 0.3])),
                    obstacle=obstacle, crossroad=str(random.choice(["no", "yes"])), zebra="no",
                )  # fmt: skip
                there = label.cones == "yes" or obstacle != "none"
                # A number of the frame's own; the dataset's seed keeps those of two datasets apart.
                seen = Seen(
                    label, night, sticker and split == "dev" and there, (seed * 7919 + number) % 2**20
                )
                name = f"{split}{scene:03d}"
                tags = (["night"] if night else []) + (["toll"] if toll else [])
                writer.add(split, Sample.of(
                    id=f"{name}/{frame:06d}", prompt_text=default_prompt().text, label=label, source="render",
                    images=[writer.image(f"{name}-{frame}", draw(seen))], scene=name, drive=name, frame=frame,
                    tags=tags,
                ))  # fmt: skip
    writer.finish()
    return out


def long_library() -> Library:
    """The short library with a paragraph that says nothing."""
    library = load_library("library")
    first = library.entries[0]
    more = (
        " Drive as a careful driver would. Take your time and look at the whole image from left to right and from top"
        " to bottom. Nothing else matters as much as this."
    )
    return library.model_copy(
        update={"entries": (first.model_copy(update={"text": first.text + more}), *library.entries[1:])}
    )


SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {}, "writer": {"operators": ["write"]}, "gepa": {"kind": "gepa"},
}  # fmt: skip


def once(case: str, seed: int, folder: Path, search: str = "greedy") -> dict[str, Any]:
    """One search on a dataset of its own; the report's main facts, and whether they are the wanted ones."""
    data = make_dataset(folder / "data", seed, sticker=case in ("trap", "both"))
    model = Scripted(CASES[case], words=60 if case == "long" else None)
    library = load_library("library")
    if case == "long":
        library = long_library()
    save_library(library, folder / "library.yaml")
    with writers_port() as url:
        config = PromptsConfig(
            model=str(data), dataset=str(data), library=str(folder / "library.yaml"), prompts="dynamic",
            budget=24_000, seed=seed, batch=256, search=SEARCHES[search],
            writer=None if search == "greedy" else {"url": url, "model": "scripted"},
        )  # fmt: skip
        run = start("prompts", config, case, folder / "run")
        prompts(config, run, model)
    told = read_json(run.out / "report.json")
    after = load_library(run.out / "library.yaml")
    fresh = [truly(lib, model, data, folder / f"fresh{i}.jsonl") for i, lib in enumerate((library, after))]
    text = " ".join(entry.text for entry in after.entries)
    cured = [re.search(weak.cure, text) is not None for weak in CASES[case]]
    chosen = " ".join(edit for row in told["front"] if row["chosen"] for edit in row["edits"])
    found = [re.search(weak.cure, chosen) is not None for weak in CASES[case]]
    steps = told["promotion"]["steps"] if told["promotion"] else []
    longer = sum(step["kept"] and step["tokens"] >= 0 for step in steps)  # a gain was claimed, no mere saving
    shorter = fresh[1]["tokens"] < fresh[0]["tokens"]
    wanted = {
        "fix": all(cured), "trap": not any(cured), "both": cured == [True, True, False],
        "long": told["changed"] and shorter, "null": not longer,
    }[case]  # fmt: skip
    return {
        "case": case, "seed": seed, "wanted": wanted, "found": found, "cured": cured, "longer": longer,
        "before": fresh[0], "after": fresh[1],
        "asked": model.asked, "spent": told["evaluations"]["search"] + told["evaluations"]["promotion"],
        **{k: told[k] for k in ("verdict", "tried", "accepted", "promoted", "stopped", "changed")},
    }  # fmt: skip


def truly(library: Library, model: Scripted, data: Path, log: Path) -> dict[str, float]:
    """The score on the third set of scenes."""
    dataset = open_dataset(data)
    rows = dataset.rows("train")
    asker = Asker(model, dataset, Dynamic(), log, 256, 10**9)
    score = score_of(rows, asker.ask(library, rows), asker.tokens(library, rows), 30.0)
    return {"score": round(score.goal, 4), "tokens": round(score.tokens, 1)}


def summary(case: str, rows: Sequence[dict[str, Any]], search: str = "greedy") -> str:
    """A case's line of the table."""

    def mean(*names: str) -> float:
        found = rows
        for name in names:
            found = [row[name] for row in found]
        return float(np.mean(found))

    ends = sorted({re.sub(r"\d+ |:.*", "", row["stopped"]) for row in rows})
    score, tokens = ([mean(when, what) for when in ("before", "after")] for what in ("score", "tokens"))
    cures = ", ".join(
        f"{NAMES[weak]} found {sum(row['found'][i] for row in rows)} promoted {sum(row['cured'][i] for row in rows)}"
        for i, weak in enumerate(CASES[case])
    )
    return (
        f"{search} {case:5} wanted {sum(row['wanted'] for row in rows)}/{len(rows)}, changed {mean('changed'):.0%}; "
        f"{cures + '; ' if cures else ''}"
        f"fresh score {score[0]:.3f} → {score[1]:.3f}, tokens {tokens[0]:.0f} → {tokens[1]:.0f}; tried "
        f"{mean('tried'):.1f}, accepted {mean('accepted'):.1f}, promoted {mean('promoted'):.2f}, "
        f"of these for a gain {mean('longer'):.2f}; evaluations "
        f"{mean('spent'):.0f} (most {max(row['spent'] for row in rows)}); ended: {'; '.join(ends)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=[*CASES], default=[*CASES], help="default: all")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--search", nargs="+", choices=[*SEARCHES], default=["greedy"])
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    given = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    for search, case in ((search, case) for search in given.search for case in given.cases):
        rows = found.setdefault(f"{search} {case}", [])
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(once(case, seed, Path(folder), search))
            print(f"[prompts] {search} {case} {seed}: {rows[-1]['verdict']}", file=sys.stderr, flush=True)
        print(summary(case, rows, search), flush=True)
    if given.out:
        write_json(given.out, found)


if __name__ == "__main__":
    main()
