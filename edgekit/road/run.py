"""The road's story: each step in a process of its own, then one table over all that was measured."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from edgekit.core.alone import dies_with_parent
from edgekit.core.errors import UserError
from edgekit.core.files import write_text
from edgekit.core.recipe import find_recipe
from edgekit.core.run import Run, start
from edgekit.road.config import RoadConfig
from edgekit.road.report import write_report
from edgekit.road.steps import Step, resolve


def road(config: RoadConfig, run: Run) -> None:
    """Walks the steps; complete ones are passed at once. Writes the report.

    A step's run lies where ``edgekit VERB RECIPE`` would put it, so a road that differs in its last
    step goes on from the others; where --out named the road's directory, it lies in its steps/.
    --force is for each step too. Raises UserError (with the step's own exit code) where a step
    stops: walking again resumes there.
    """
    written: dict[str, Path] = {}
    began = time.time()
    for number, step in enumerate(config.steps, start=1):
        head = f"{number}/{len(config.steps)} {step.name}"
        settings = resolve(step, written)
        own = run.path / "steps" / step.name if run.placed else None
        opened = start(step.verb, settings, find_recipe(step.recipe, step.verb).stem, own, run.forced)
        if opened.complete:
            run.say(f"{head}: already complete")
        else:
            run.say(f"{head}: edgekit {step.verb} ({clock(time.time() - began)} so far)")
            since = time.time()
            try:
                walk(step, opened.path)
            except UserError:
                opened.withdraw()  # the step's own process does so too, but knows of nothing moved aside
                raise
            run.say(f"{head}: done in {clock(time.time() - since)}")
            run.log("step", name=step.name, path=str(opened.path))  # a walk that got so far is kept
        written[step.name] = opened.path
    told = "".join(f"{line}\n" for line in write_report(config, written, run))
    write_text(run.out / "summary.txt", told)  # told again where the road is complete already
    print(told, end="", file=sys.stderr, flush=True)


def walk(step: Step, path: Path) -> None:
    """The run at ``path`` in a process of its own, so its memory goes back; Ctrl-C reaches it too."""
    command = [sys.executable, "-m", "edgekit", step.verb, str(path / "recipe.yaml"), "--out", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=dies_with_parent())
    try:
        code = process.wait()
    except BaseException:
        # A terminal's Ctrl-C went to the child as well; a SIGTERM came to us alone.
        for stop in (lambda: None, process.terminate, process.kill):
            stop()
            try:
                process.wait(timeout=10)
                break
            except subprocess.TimeoutExpired:
                continue
        raise
    if code in (130, 143):
        raise KeyboardInterrupt
    if code:
        why = f"edgekit {step.verb} ended with exit code {code}; its own message is above"
        if code < 0:
            why = f"edgekit {step.verb} was killed by signal {-code}" + (
                "; most often the memory was used up" if code == -9 else ""
            )
        stopped = UserError(
            f"road: step {step.name} stopped",
            why,
            "mend that, then run the same command again: what is complete is kept",
        )
        stopped.exit_code = code if code > 0 else 1
        raise stopped


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
