"""The story of evaluation: ask, score, ask again with wrong images, time it, report, hold to the gates."""

from __future__ import annotations

from typing import Any

from edgekit.core.contract import require_same
from edgekit.core.errors import UserError
from edgekit.core.files import read_json, write_json, write_jsonl
from edgekit.core.run import Run
from edgekit.dataset import Dataset, Sample, open_dataset
from edgekit.dataset.answers import AnswerLog, Pace, ask_all
from edgekit.dataset.score import median_kmh
from edgekit.engine.answerer import Answerer
from edgekit.evaluate import gate
from edgekit.evaluate.config import EvaluateConfig
from edgekit.evaluate.controls import control
from edgekit.evaluate.measure import lights_told, measured, prediction, spread
from edgekit.evaluate.report import write_report
from edgekit.evaluate.timing import latencies_ms, reset_peak, timing
from edgekit.models.open import open_answerer

SCHEMA = "edgekit/report/1"


def evaluate(config: EvaluateConfig, run: Run, model: Answerer | None = None) -> None:
    """Fills ``run.out`` with predictions.jsonl, metrics.json, timing.json and report.html.

    Painted pictures (``config.images``) go another way: ``evaluate.images``.

    model: an Answerer of the caller's own, instead of the recipe's. Raises UserError where the
    model's and the Dataset's contracts differ, and GateError after the report where a gate is missed.
    """
    if config.images:
        from edgekit.evaluate.images import evaluate_images

        return evaluate_images(config, run)
    dataset = open_dataset(run.input("dataset"))
    rows = spread(dataset.rows(config.split), config.frames)
    if not rows:
        raise UserError(
            f"evaluate: no rows in split {config.split!r} of {config.dataset}",
            f"{config.split}.jsonl is empty or not there",
            "choose another split, or write the Dataset with one",
        )
    reset_peak()
    folder = run.input("model") if config.model else None
    model = model or open_answerer(config.kind, folder, config.endpoint, dataset.contract, batch=config.batch)
    require_same(dataset.contract, model.contract, f"evaluate {model.name} on {config.dataset}")
    run.say(f"{model.name} on {len(rows)} frames of {len({r.scene for r in rows})} scenes ({config.split})")

    # What it answers.
    log, pace = AnswerLog(run.state / "answers.jsonl"), Pace()
    answers = ask_all(
        model, [row.id for row in rows], [row.user_text for row in rows],
        lambda first: (dataset.image(row) for row in rows[first:]), log, config.batch, "evaluating", pace,
    )  # fmt: skip
    write_jsonl(run.out / "predictions.jsonl", [prediction(r, a) for r, a in zip(rows, answers, strict=True)])

    # What it costs, before the controls fill the caches.
    place = run.out / "timing.json"
    if not pace.calls and place.is_file():  # a resumed run that asked nothing has nothing better
        cost = read_json(place)
    else:
        quick = spread(rows, config.latency_frames) if config.latency_frames else []
        alone = latencies_ms(model, [dataset.image(row) for row in quick], [row.user_text for row in quick])
        at_once = min(config.batch, getattr(model, "batch", config.batch))
        cost = timing(model.name, pace.answers_per_s, alone, at_once, folder, [a.passes for a in answers])
        write_json(place, cost)

    # What that is worth.
    train_median = median_of_train(dataset, rows, run)
    metrics = measured(config, rows, answers, train_median)
    metrics["controls"] = control(config, run, model, dataset, rows, answers, train_median)
    # By content, as a moved or renamed model is the same one.
    asked = run.inputs["model"][0].digest if config.model else config.endpoint.model
    metrics = {"schema": SCHEMA, "model": asked, "split": config.split, **metrics}
    write_json(run.out / "metrics.json", metrics)
    write_report(
        run.out / "report.html", config.report_frames, metrics, cost, dataset, rows, answers, run.notes
    )
    tell(run, metrics, cost)
    if config.gate:
        gate.check(config.gate, metrics, str(run.out / "report.html"))


def median_of_train(dataset: Dataset, rows: list[Sample], run: Run) -> float:
    """What R² takes for an unknown speed: the train split's median, km/h."""
    train = dataset.rows("train")
    if not train:
        run.note("the Dataset has no train split: R² takes the evaluated rows' median for an unknown speed")
    return median_kmh([row.label for row in train or rows])


def tell(run: Run, metrics: dict[str, Any], cost: dict[str, Any]) -> None:
    m = metrics["overall"]
    f1 = " ".join(f"{task} {m[f'{task}/f1']:.3f}" for task in ("light", "obstacles", "crossroad"))
    between = metrics["intervals"].get("average")
    sure = f"[{between[0]:.3f}, {between[1]:.3f}]" if between else "(one scene: no interval)"
    run.say(
        f"Average {m['average']:.3f} {sure}; F1 {f1}; "
        f"speed sMAPE {m['speed/smape']:.3f} R² {m['speed/r2']:.3f}; unparsed {metrics['unparsed']}"
    )
    if metrics["lights"]:
        run.say(f"lights right: {lights_told(metrics['lights'])}")
    per_s, p50 = cost["answers_per_s"], cost["latency_ms_p50"]
    run.say(f"{per_s or 0:.1f} answers/s in batches of {cost['batch']}; {p50 or 0:.0f} ms alone (median)")
