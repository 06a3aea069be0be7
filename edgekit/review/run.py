"""The story of a review: serve the page, or apply, export, import what was said."""

from __future__ import annotations

import sys
from pathlib import Path

from edgekit.core.alone import alone
from edgekit.core.errors import UserError
from edgekit.core.files import sha256_json
from edgekit.core.port import take_port
from edgekit.review.config import ReviewConfig
from edgekit.review.queue import Review


def review(config: ReviewConfig) -> Path:
    """Does what the config asks and returns what was written: human.jsonl, a Dataset, or an export.

    Without --apply, --export or --import the page is served until Ctrl-C. Raises UserError.
    """
    opened = Review(config.what, config.old_answers)
    tell_of_others(opened)
    if opened.made_here:
        say(f"{config.what} has no review.jsonl: its {len(opened.entries)} tasks marked review are asked")
    if config.apply:
        return write_applied(opened, config)
    if config.export:
        return write_export(opened, config)
    if config.take and not config.file.exists():
        raise UserError(
            f"edgekit review --import {config.take}: no file {config.file}",
            "nothing is there",
            "check --file",
        )
    opened.answers.path.parent.mkdir(parents=True, exist_ok=True)
    with alone(opened.answers.path.parent):  # one writer to human.jsonl
        opened = Review(config.what, config.old_answers)  # as it is now that nobody else writes
        if config.take:
            return take_in(opened, config)
        serve(opened, config)
    return opened.answers.path


def tell_of_others(opened: Review) -> None:
    """Says which answers were given on another making of the Dataset, and whether they count."""
    aside = len(opened.answers.set_aside)
    given = [c for c in opened.answers.given() if c.id in opened.rows]
    here = [c for c in given if opened.seen_here(c)]
    moved, before = len(given) - len(here), sum(c.dataset != opened.digest for c in here)
    if aside:
        say(f"note: {aside} answers are about other pictures than this Dataset's, or do not tell about which: "
            "they do not count (--old-answers takes them by row id)")  # fmt: skip
    if moved:
        say(f"note: {moved} answers about other pictures, or untold ones, count by row id: --old-answers")
    if before:
        say(f"note: {before} answers were given on another making of this Dataset; "
            "their pictures are the same, and they count")  # fmt: skip


def write_applied(opened: Review, config: ReviewConfig) -> Path:
    from edgekit.review.apply import apply

    given, aside = opened.answers.given(), opened.answers.set_aside
    if not given:
        raise UserError(
            f"edgekit review {config.what} --apply: there is nothing to apply",
            f"{opened.answers.path} holds no answer"
            + (f" about these pictures, and {len(aside)} about others" if aside else ""),
            "answer some questions first: the same command without --apply"
            + ("; or take those by row id: --old-answers" if aside else ""),
        )
    parents, answers = [{"digest": opened.digest}], sha256_json([list(c) for c in given])
    done = apply(opened.data, given, config.out, parents=parents, answers_sha256=answers)
    say(
        f"{done.answered} answers in {done.rows} rows: {done.changed} changed a label, {done.dropped} dropped a task"
    )
    if done.unknown:
        say(f"note: {len(done.unknown)} answered rows are not in this Dataset ({done.unknown[0]} the first)")
    beside = [
        p.name for p in sorted(opened.data.root.iterdir()) if p.name not in _CARRIED and p.name[0] != "."
    ]
    if beside:
        say(f"note: rows and their images are carried over; not {', '.join(beside)}")
    return config.out


_CARRIED = {"info.json", "train.jsonl", "dev.jsonl", "test.jsonl", "images"}


def write_export(opened: Review, config: ReviewConfig) -> Path:
    if config.export == "rerun":
        from edgekit.review.rerun import export_rerun

        made = export_rerun(opened, config.out)
        say(f"{len(made)} drives written; open one with: rerun FILE")
        return config.out
    from edgekit.review.tools import asked_rows, tool

    rows = asked_rows(opened, config.everything)
    tool(config.export).export(rows, opened, config.out)
    say(f"{len(rows)} rows written for {config.export}")
    return config.out


def take_in(opened: Review, config: ReviewConfig) -> Path:
    from edgekit.review.tools import corrections_of, tool

    read = tool(config.take).read(config.file, opened)
    corrections, stood = corrections_of(opened, read, by=f"{config.by} ({config.take})")
    opened.answer(corrections)
    say(f"{len(corrections)} answers of {len(read)} rows taken from {config.file}")
    if stood:
        say(f"note: {len(stood)} tasks were accepted there as they were exported, and a person has answered them "
            f"otherwise: that answer stands ({stood[0][0]}, {stood[0][1]} the first)")  # fmt: skip
    return opened.answers.path


def serve(opened: Review, config: ReviewConfig) -> None:
    from edgekit.review.server import make_app, need_token, server_of

    if not opened.entries:
        raise UserError(
            f"edgekit review {config.what}: nothing is asked",
            "its queue is empty, and no task is marked review",
            "there is nothing to do; --export --all shows the rows in another tool",
        )
    need_token(config.host, config.token)
    door = take_port(config.host, config.port, "edgekit review", "--port")
    with door:
        done = opened.progress()
        say(f"{done['total']} questions, {done['done']} answered; answers go to {opened.answers.path}")
        token = "?token=…" if config.token else ""
        say(f"open http://{config.host}:{door.getsockname()[1]}/{token} (Ctrl-C ends)")
        try:
            server_of(make_app(opened, config.by, config.token)).run(sockets=[door])
        except KeyboardInterrupt:
            pass  # the way to end it; every answer is on the disk already
    done = opened.progress()
    say(f"{done['done']} of {done['total']} answered")


def say(text: str) -> None:
    print(f"[review] {text}", file=sys.stderr, flush=True)
