"""The command line: one grammar for every verb.

    edgekit VERB RECIPE [key.sub=value …] [--out DIR] [--dry-run] [--force] [--debug]

A verb is a package with a ``config.py`` (light) and a ``run.py`` (heavy); both are imported only
when the verb is called. stdout carries the result's path and nothing else; people read stderr.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from edgekit import __version__
from edgekit.core.alone import alone
from edgekit.core.errors import EdgekitError, UserError, need_disk, suggestion
from edgekit.core.guard import guarded
from edgekit.core.inputs import given, how_to_make
from edgekit.core.recipe import Config, Plan, config_in, dump_recipe, find_recipe, load_recipe, recipes_of
from edgekit.core.run import Run, open_input, start

# The road, in order. Learn one station and you know them all: verb = package = recipe folder.
VERBS = {
    "mine": "a teacher VLM labels drives' frames; time, motion and detectors correct it",
    "prompts": "edits the prompts against measured failures, promotes what holds on a held-out split",
    "render": "draws labelled scenes: traffic, weather, night; the labels are exact",
    "tune": "fine-tunes a text-to-image model on a Dataset",
    "generate": "paints a Dataset of what is asked",
    "distill": "teaches a small VLM from a teacher and from Datasets",
    "quantize": "makes a Checkpoint's weights 4 bits wide (AWQ)",
    "export": "turns a Checkpoint into a Bundle for the vehicle, with a parity proof",
    "evaluate": "the paper's metrics per slice with intervals; speed and memory",
    "serve": "answers on a port, OpenAI-compatible",
    "demo": "the on-vehicle loop: HUD page, log, annotated video, deadlines",
    "road": "walks a list of recipes in order; resumes where it stopped",
}
HELPERS = {
    "doctor": "what is installed, what fits this machine, and what to do about the rest",
    "setup": "makes a side environment: edgekit setup blender | serve",
    "view": "a contact sheet of a Dataset or Drive, with its labels",
    "review": "a page on which a person answers what mining left open; other tools in and out",
}

ROAD = """\
  raw drives ── mine ──────┐
  scene specs ── render ───┴─▶ Dataset ── distill ─▶ Checkpoint ── quantize ─▶ Checkpoint ── export ─▶ Bundle ── demo
                                                                            └── serve              evaluate reads any
"""


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit code (0 done, 1 a fault of ours, 2 user, 3 gate, 130 or 143 stopped)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        show(overview())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"edgekit {__version__}")
        return 0
    return guarded(lambda: dispatch(argv[0], argv[1:]), debug="--debug" in argv)


def dispatch(verb: str, rest: list[str]) -> None:
    if verb in HELPERS:
        helper(verb, rest)
    elif not built(verb):
        known = [v for v in (*VERBS, *HELPERS) if v in HELPERS or built(v)]
        why = f"it is not in this version, {__version__}" if verb in VERBS else suggestion(verb, known)
        if verb.startswith("-"):
            why = "the verb comes first, options after it"
        raise UserError(f"edgekit: no command {verb!r}", why, "edgekit --help shows the commands")
    else:
        station(verb, rest)


def station(verb: str, rest: list[str]) -> None:
    """Opens the verb's run, walks its station unless the run is complete, and prints where it is."""
    args = parser(verb).parse_intermixed_args(rest)
    kind: type[Config] = getattr(importlib.import_module(f"edgekit.{verb}.config"), f"{verb.title()}Config")
    if set(rest) <= {"--debug"}:
        show(describe(verb, kind))
        return
    path = recipe_of(verb, args.recipe)
    config = load_recipe(kind, path, args.overrides)
    if args.dry_run:
        text, missing, refused = preview(config, path)
        show(text)
        if missing:
            raise UserError(
                f"edgekit {verb} {args.recipe}: {len(missing)} input(s) missing: {', '.join(missing)}",
                "it would be refused before anything is spent",
                how_to_make(missing[0]),
            )
        if refused:
            raise UserError(
                f"edgekit {verb} {args.recipe}: it would be refused for {len(refused)} reason(s)",
                f"the first: {refused[0]}",
                "mend what the plan tells as WOULD BE REFUSED",
            )
        return
    plan = config.plan()
    need_disk(args.out or "runs", int(plan.disk_gb * 1e9), f"edgekit {verb}")
    run = start(verb, config, path.stem, args.out, args.force)
    run.debug = args.debug
    with alone(run.path):
        if run.complete:
            print(f"[{verb}] already complete; --force runs it again", file=sys.stderr)
            if (summary := run.out / "summary.txt").is_file():
                print(summary.read_text(), end="", file=sys.stderr)
        else:
            try:
                do(verb, run, plan)
            except (UserError, ImportError):  # refused: a folder that holds nothing goes again
                run.withdraw()
                raise
    print(run.path)


def recipe_of(verb: str, name: str | None) -> Path:
    """The recipe's file. Raises UserError where none is named, or none is called so."""
    if name is None or ("=" in name and not Path(name).is_file()):
        known = recipes_of(verb)
        raise UserError(
            f"edgekit {verb}: no recipe is named",
            f"the first word, {name!r}, changes a key" if name else f"there are only options after {verb!r}",
            f"edgekit {verb} RECIPE: a YAML file, or one of: {', '.join(known) or 'none ships for this verb'}",
        )
    return find_recipe(name, verb)


def do(verb: str, run: Run, plan: Plan) -> None:
    # Nothing to say about memory where it fits; where it does not, say so before it is spent.
    if plan.memory_gb > (free := free_memory_gb()):
        run.say(
            f"the plan asks for {plan.memory_gb:.1f} GB of memory, {free:.1f} GB are free: this may swap or be killed"
        )
    work = getattr(importlib.import_module(f"edgekit.{verb}.run"), verb)
    work(run.config, run)
    digest = run.finish()
    print(f"[{verb}] done: {run.path}  digest {digest[:16]}", file=sys.stderr)


def helper(verb: str, rest: list[str]) -> None:
    tool = Parser(prog=f"edgekit {verb}", description=HELPERS[verb])
    tool.add_argument("--debug", action="store_true", help="show the traceback of an error")
    if verb == "setup":
        from edgekit.core import environments

        tool.add_argument("name", help=" or ".join(environments.WANTED))
        print(environments.setup(tool.parse_args(rest).name))
    elif verb == "view":
        tool.add_argument(
            "what", help="a run of mine, render or generate, a Dataset or a Drive; or package:NAME"
        )
        tool.add_argument("--out", type=Path, default=Path("runs/view"), help="folder for the pictures")
        tool.add_argument("--split", default=None, help="train, dev or test (default: all)")
        tool.add_argument("--count", type=int, default=24, help="frames on one sheet")
        tool.add_argument(
            "--from", type=int, dest="start", help="the first frame to show (default: spread out)"
        )
        tool.add_argument(
            "--all", action="store_true", dest="everything", help="every frame, sheet after sheet"
        )
        args = tool.parse_args(rest)
        from edgekit.view import view

        for path in view(args.what, args.out, args.split, args.count, args.start, args.everything):
            print(path)
    elif verb == "review":
        from edgekit.review.config import add_options, config_of

        add_options(tool)
        config = config_of(tool.parse_args(rest))
        from edgekit.review import review

        print(review(config))
    else:
        tool.parse_args(rest)
        from edgekit.doctor import report

        show(report())


def show(text: str) -> None:
    """Text on stdout; a reader that leaves early (``| head``) is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Parser(argparse.ArgumentParser):
    """argparse, its complaints in three lines; a word that nobody knows gets the nearest one that is known."""

    def error(self, message: str) -> NoReturn:
        before, _, words = message.partition("unrecognized arguments: ")
        if before or not words:
            what, why = f"{self.prog}: this cannot be run as it is typed", message
        else:
            word = words.split()[0]
            named = word.partition("=")[0]
            what = f"{self.prog}: no option {named!r}"
            why = suggestion(named, [text for text in self._option_string_actions if text.startswith("--")])
            if not word.startswith("-"):
                what, why = f"{self.prog}: {word!r} is one word too many", "nothing here takes it"
        raise UserError(what, why, f"{self.prog} --help shows what may be typed")


def parser(verb: str) -> Parser:
    tool = Parser(
        prog=f"edgekit {verb}",
        description=VERBS[verb],
        epilog=f"edgekit {verb} (alone) lists its recipes and keys",
    )
    tool.add_argument("recipe", nargs="?", help="a YAML file, or the name of a shipped recipe")
    tool.add_argument("overrides", nargs="*", metavar="key.sub=value", help="changes to the recipe")
    tool.add_argument("--out", type=Path, help=f"the run directory (default: runs/{verb}/<recipe>-<digest>)")
    tool.add_argument("--dry-run", action="store_true", help="show recipe, inputs and cost; spend nothing")
    tool.add_argument("--force", action="store_true", help="run again; the old run is moved aside")
    tool.add_argument(
        "--debug", action="store_true", help="show the traceback of an error, and what libraries print"
    )
    return tool


def overview() -> str:
    lines = [
        "edgekit: from raw drives to a small vision-language model running in the vehicle", "", ROAD,
        "  edgekit VERB RECIPE [key.sub=value …] [--out DIR] [--dry-run] [--force] [--debug]", "",
    ]  # fmt: skip
    lines += [f"  {verb:9} {text}" for verb, text in VERBS.items() if built(verb)]
    lines += ["", *(f"  {verb:9} {text}" for verb, text in HELPERS.items())]
    if later := [verb for verb in VERBS if not built(verb)]:
        lines += ["", f"  not in this version: {', '.join(later)}"]
    return "\n".join([*lines, "", "  edgekit VERB alone lists that verb's recipes and keys."])


def built(verb: str) -> bool:
    """Whether this version holds the verb's station (looked up without importing it)."""
    return verb in VERBS and (Path(__file__).parent / verb / "run.py").is_file()


def describe(verb: str, kind: type[Config]) -> str:
    """A verb's recipes and its keys with types and defaults."""
    lines = [f"edgekit {verb}: {VERBS[verb]}", "", "recipes:"]
    lines += [f"  {name}" for name in recipes_of(verb)] or ["  (none ships)"]
    lines += ["", "keys:"]
    return "\n".join([*lines, *keys_of(kind)])


def keys_of(kind: type[BaseModel], default: Any = None, indent: str = "  ") -> list[str]:
    """A line for every key with its default, those of a part below it. default: the part, where it has values of
    its own."""
    lines = []
    for name, field in kind.model_fields.items():
        value = field.get_default(call_default_factory=True)
        value = getattr(default, name) if isinstance(default, kind) else value
        listed = get_origin(field.annotation) is list
        part = config_in(get_args(field.annotation)[0] if listed else field.annotation)
        if part and isinstance(value, BaseModel):
            lines.append(f"{indent}{name}:")
        else:
            text = f"{indent}{name} = {'required' if value is PydanticUndefined else repr(value)}"
            text = text if len(text) <= 110 else text[:107] + "..."
            lines.append(text + ((", a list of:" if listed else ", or:") if part else ""))
        lines += keys_of(part, value, f"{indent}  ") if part else []
    return lines


def preview(config: Config, path: Path) -> tuple[str, list[str], list[str]]:
    """What ``--dry-run`` shows (the resolved recipe, its inputs, what it would cost), the missing inputs, and what
    else the run would be refused for."""
    lines = [f"recipe {path}", *(f"  {line}" for line in dump_recipe(config).splitlines()), "inputs"]
    missing = []
    for key, item in given(config):
        state = presence(item)
        lines.append(f"  {key}: {item}  ({state})")
        missing += [item] if state.startswith("MISSING") and item not in missing else []
    plan = config.plan()
    lines += ["plan", f"  memory {plan.memory_gb:g} GB ({free_memory_gb():.1f} free), disk {plan.disk_gb:g} GB, "
              f"about {plan.minutes:g} minutes"]  # fmt: skip
    lines += [*(f"  {note}" for note in plan.notes), "nothing was run"]
    return "\n".join(lines), missing, plan.refused


def presence(item: str) -> str:
    """Whether an input is there, and what makes it where it is not; nothing is fetched for it."""
    if item.startswith("hub:"):
        return "fetched from the hub when it runs"
    try:
        return f"found, digest {open_input(item).digest[:16]}"
    except EdgekitError as error:
        return f"MISSING: {error.why}; {how_to_make(item)}"


def free_memory_gb() -> float:
    """Memory that a new process may take, GB; infinite where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024 / 1e9
    except OSError:
        pass
    return float("inf")
