"""A Run: the directory that a station writes, and the chain of digests between them.

recipe.yaml    resolved; feeding it back repeats the run
log.jsonl      one event a line
out/           what the station gives
manifest.json  written last, by rename: it exists = the run is complete
"""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from itertools import count
from pathlib import Path

from edgekit import __version__
from edgekit.core.alone import alone
from edgekit.core.errors import UserError
from edgekit.core.files import (
    append_jsonl,
    nearby,
    read_json,
    read_jsonl,
    sha256_file,
    sha256_json,
    write_json,
    write_text,
)
from edgekit.core.places import asset
from edgekit.core.recipe import Config, dump_recipe

SCHEMA = "edgekit/run/1"

# Left out of a run's digest: clocks, and renderings for people that hold clocks or codecs. A Drive's
# video.mp4 is no such rendering: it is data that a station reads.
_NOT_DIGESTED = {"timing.json", "summary.txt"}
_MEDIA = {".mp4", ".webm", ".html", ".svg"}
_DATA = {"video.mp4"}
# What edgekit.drives may read beside a video that is named by itself: telemetry and a map's words where no
# other film stands in the folder (it would not be known whose they are), and what marks the parts of one recording.
BESIDE = ("telemetry.csv", "telemetry.parquet", "telemetry.mcap", "map.csv", "metadata.yaml")
FILMS = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm", ".hevc", ".mcap"})
_BEGINNING = ("identity", "recipe.yaml", "log.jsonl", "lock")  # what a run holds before its station writes


def digest_tree(folder: Path, foreign: bool = False) -> str:
    """sha256 over sorted (path, sha256) of the files below ``folder``, but for timing, media, reports.

    What a link leads to counts as if it stood there, as it does for whoever reads the folder; one that leads
    back to a folder which it lies in is not followed.

    foreign: a folder that edgekit did not write: its videos are the data, so media count.
    """
    rows = []
    for path in sorted(_files(folder)):
        medium = path.suffix in _MEDIA and path.name not in _DATA and not foreign
        if not medium and path.name not in _NOT_DIGESTED and not path.name.startswith("."):
            rows.append((path.relative_to(folder).as_posix(), sha256_file(path)))
    return sha256_json(rows)


def _files(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """The files below ``folder``, through linked folders too. above: the folders that it lies in."""
    try:
        told, entries = folder.stat(), list(folder.iterdir())
    except (FileNotFoundError, PermissionError):
        return
    here = (told.st_dev, told.st_ino)
    if here in above:
        return
    for path in entries:
        if path.is_dir():
            yield from _files(path, (*above, here))
        elif path.is_file():
            yield path


def films_in(folder: Path) -> list[Path]:
    """The videos and MCAP files of a folder, but for telemetry.mcap and hidden ones (macOS's ``._a.mp4``)."""
    return [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in FILMS
        and path.name not in BESIDE
        and not path.name.startswith(".")
        and path.is_file()
    ]


def beside_film(film: Path) -> list[Path]:
    """Where the telemetry of one film among others may stand: clip.csv beside clip.mp4."""
    return [film.with_suffix(ending) for ending in (".csv", ".parquet")]


def _digest_film(film: Path) -> str:
    """sha256 of a single video, and of what is read beside it."""
    alone = set(films_in(film.parent)) <= {film}
    beside = [film.with_name(name) for name in BESIDE if alone or name == "metadata.yaml"]
    beside = dict.fromkeys([*beside, *beside_film(film)])
    there = [film, *(path for path in beside if path.is_file() and path != film)]
    return sha256_json([sha256_file(path) for path in there]) if len(there) > 1 else sha256_file(film)


class Input:
    """A directory that a station reads: a complete Run's ``out/``, or a foreign folder."""

    def __init__(self, path: Path, out: Path, digest: str, manifest: str | None):
        self.path, self.out, self.digest, self.manifest = path, out, digest, manifest

    def record(self) -> dict:
        origin = "run" if self.manifest else "foreign"
        return {"path": self.path.name, "origin": origin, "digest": self.digest, "manifest": self.manifest}


def open_input(path: str | Path) -> Input:
    """Resolves ``package:NAME``, ``hub:OWNER/NAME``, a Run directory (read through its manifest) or a
    foreign folder.

    Raises UserError where there is nothing, or where the run is not complete.
    """
    text = str(path)
    if text.startswith("hub:"):
        return _from_hub(text.removeprefix("hub:"))
    folder = find_input(text)
    if folder.is_file():  # a single video, say, with its telemetry beside it
        return Input(folder, folder, _digest_film(folder), None)
    manifest = folder / "manifest.json"
    if manifest.is_file():
        return Input(folder, folder / "out", read_json(manifest)["digest"], sha256_file(manifest))
    return Input(folder, folder, digest_tree(folder, foreign=True), None)


def find_input(text: str) -> Path:
    """Where an input of this machine lies; but for a manifest nothing of it is read.

    Raises UserError as ``open_input``.
    """
    folder = asset(text.removeprefix("package:")) if text.startswith("package:") else Path(text)
    if folder.is_file():
        return folder
    if not folder.is_dir():
        why, hint = "nothing is there", f"check the path: {nearby(folder)}"
        raise UserError(f"input {text}: there is no such directory", why, hint)
    manifest = folder / "manifest.json"
    if manifest.is_file():
        schema = read_json(manifest).get("schema")
        if schema != SCHEMA:
            raise UserError(
                f"{manifest}: schema {schema!r} is not read here",
                f"edgekit {__version__} reads {SCHEMA}",
                "use the edgekit that wrote it, or run the station again",
            )
    elif (folder / "recipe.yaml").is_file() and (folder / "out").is_dir():
        raise UserError(
            f"input {text}: this run is not complete",
            "it has no manifest.json",
            "run its station again: it resumes",
        )
    return folder


def _from_hub(name: str) -> Input:
    """A model of the Hugging Face hub, fetched (safetensors only: pickled weights can run code)."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt", "*.md"])
        )
    except Exception as error:  # the client raises many kinds; each means that the model is not to be had
        raise UserError(
            f"input hub:{name}: could not be fetched",
            f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else 'no reason given'}",
            "check the name and the network, or name a folder that holds the model",
        ) from None
    return Input(folder, folder, f"hub:{name}@{folder.name}", None)  # the folder is named by the commit


class Run:
    """An open run directory; made by ``start``. Paths below ``out`` belong to the station."""

    def __init__(
        self, verb: str, path: Path, config: Config, inputs: dict[str, list[Input]],
        placed: bool = False, forced: bool = False, aside: Path | None = None,
    ):  # fmt: skip
        """placed: the caller chose ``path``; forced: an old run there was to go; aside: where it went."""
        self.verb, self.path, self.config, self.inputs = verb, path, config, inputs
        self.placed, self.forced, self.aside = placed, forced, aside
        self.out = path / "out"
        self.recipe = ""  # its name, for people
        self.debug = False  # --debug: what libraries print is shown
        self.notes: list[str] = []
        self.made_with: dict[str, str] = {}  # what a station adds to ``versions()`` in the manifest
        self._began = time.time()

    @property
    def complete(self) -> bool:
        return (self.path / "manifest.json").is_file()

    @property
    def state(self) -> Path:
        """Scratch for resuming (optimiser, partial rows); not part of the digest, gone when done."""
        folder = self.path / "state"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def input(self, name: str) -> Path:
        """The one input directory of key ``name``."""
        return self.inputs[name][0].out

    def named(self, key: str) -> str:
        """Input ``key`` by a name that means the same on every machine: a ``package:`` or ``hub:`` name
        as it is given, a folder by its digest."""
        given = getattr(self.config, key)
        named = given.startswith(("package:", "hub:"))
        return given if named else self.inputs[key][0].digest[:16]

    def log(self, event: str, **fields: object) -> None:
        append_jsonl(self.path / "log.jsonl", {"t": round(time.time(), 3), "event": event, **fields})

    def say(self, text: str) -> None:
        """A line for the user, on stderr, and in the log."""
        print(f"[{self.verb}] {text}", file=sys.stderr, flush=True)
        self.log("say", text=text)

    def note(self, text: str) -> None:
        """A fallback or stand-in: said aloud, logged, and kept in the manifest."""
        self.notes.append(text)
        self.say(f"note: {text}")

    def finish(self) -> str:
        """Writes the manifest (last, by rename), clears ``state`` and returns the run's digest."""
        digest = digest_tree(self.out)
        write_json(self.out / "timing.json", {"wall_s": round(time.time() - self._began, 2)}) if not (
            self.out / "timing.json"
        ).exists() else None
        write_json(
            self.path / "manifest.json",
            {
                "schema": SCHEMA,
                "verb": self.verb,
                "edgekit": __version__,
                "digest": digest,
                "inputs": {k: [i.record() for i in v] for k, v in self.inputs.items()},
                "notes": sorted(set(self.notes)),
                "made_with": versions() | self.made_with,
            },
        )
        self.log("complete", digest=digest)
        self.clear_state()  # only now: a kill before the manifest must find what resuming needs
        return digest

    def clear_state(self) -> None:
        shutil.rmtree(self.path / "state", ignore_errors=True)

    def withdraw(self) -> None:
        """After a refusal: the folder goes where nothing was done in it, and what ``force`` moved comes back.

        What holds more than its own beginning (a file that a station wrote, an event beside words) stays.
        """
        files = {p for p in self.path.rglob("*") if p.is_file() and not p.name.startswith(".")}
        log = self.path / "log.jsonl"
        told = {row["event"] for row in read_jsonl(log, torn=True)} if log in files else set()
        if files - {self.path / name for name in _BEGINNING} or told - {"start", "say"}:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        if not self.placed:
            for folder in (self.path.parent, self.path.parent.parent):  # runs/<verb>, runs
                with contextlib.suppress(OSError):  # something else is in it
                    folder.rmdir()
        if self.aside and not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.aside.rename(self.path)
            print(f"[{self.verb}] the old run is back at {self.path}", file=sys.stderr)
            self.aside = None


def versions() -> dict[str, str]:
    """Python and the libraries that decide numbers, as installed."""
    found = {"python": platform.python_version()}
    for name in ("torch", "transformers", "llmcompressor", "peft", "onnxruntime", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def start(verb: str, config: Config, recipe_name: str, out: Path | None = None, force: bool = False) -> Run:
    """Opens the run of (config, inputs): the same recipe on the same inputs is the same directory.

    An incomplete directory is resumed, a complete one is returned as it is; ``force`` moves the
    old one aside, never deletes. Raises UserError where ``out`` holds another recipe's run.
    """
    inputs: dict[str, list[Input]] = {}
    for name in config.inputs:
        value = getattr(config, name)
        if value:
            inputs[name] = [open_input(v) for v in (value if isinstance(value, list) else [value])]
    # Inputs count by content, not by place: a moved directory is the same input.
    identity = sha256_json([config.lasting(), {k: [i.digest for i in v] for k, v in inputs.items()}])
    path = out or Path("runs") / verb / f"{recipe_name}-{identity[:8]}"
    marker = path / "identity"
    if path.exists() and not path.is_dir():
        raise UserError(
            f"edgekit {verb}: {path} is not a directory", "a file is there", "choose another --out"
        )
    # A kill at the very first write leaves no more than a hidden half of the marker.
    if path.exists() and any(p.name[0] != "." for p in path.iterdir()) and not marker.is_file():
        raise UserError(
            f"edgekit {verb}: {path} is not a run directory",
            "it holds files that edgekit did not write",
            "choose another --out",
        )
    aside = None
    if force and path.exists():
        aside = next(
            free
            for n in count()
            if not (free := path.with_name(f"{path.name}.old-{int(time.time()) + n}")).exists()
        )
        with alone(path):  # not from under a process that is writing it
            path.rename(aside)
        print(f"[{verb}] moved the old run to {aside}", file=sys.stderr)
    if marker.is_file() and marker.read_text() != identity:
        raise UserError(
            f"edgekit {verb}: {path} holds another run",
            f"its recipe or inputs differ (identity {marker.read_text()[:8]}, now {identity[:8]})",
            "choose another --out, or --force to move it aside",
        )
    path.mkdir(parents=True, exist_ok=True)
    write_text(marker, identity)
    (path / "out").mkdir(exist_ok=True)
    write_text(path / "recipe.yaml", dump_recipe(config))
    run = Run(verb, path, config, inputs, placed=out is not None, forced=force, aside=aside)
    run.recipe = recipe_name
    if run.complete:
        run.clear_state()  # killed between the two
    run.log("start", argv=json.dumps(sys.argv[1:]))
    return run
