"""RoadConfig: which recipes, in which order, and which step reads what."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from edgekit.core.errors import suggestion
from edgekit.core.recipe import REFUSED, Config, Plan
from edgekit.evaluate.config import Gate
from edgekit.road.steps import Step, check, reads, resolve


class RoadConfig(Config):
    """Steps in order. ``foreign`` and ``digests`` are filled in here, never by hand.

    foreign: what the steps read and no step writes, so the run's manifest names it by digest;
    digests: each step's resolved recipe, so a road over changed recipes is another run.
    """

    inputs: ClassVar[tuple[str, ...]] = ("foreign",)

    steps: list[Step] = Field(min_length=1)
    gates: dict[str, Gate] = {}  # by row; a shortfall is told at the top, and stops nothing
    foreign: list[str] = []
    digests: dict[str, str] = {}

    @model_validator(mode="after")
    def _rows(self) -> RoadConfig:
        rows: list[str] = []
        for step in self.steps:
            if step.row and step.verb != "evaluate":
                raise ValueError(f"step {step.name}: a row is of an evaluate step, its verb is {step.verb}")
            if step.row in rows:
                raise ValueError(f"step {step.name}: the row {step.row!r} is another step's already")
            if step.against and not step.row:
                raise ValueError(f"step {step.name}: against {step.against!r}, but it has no row itself")
            if step.against and step.against not in rows:
                why = suggestion(step.against, rows) if rows else "no step before it has a row"
                raise ValueError(f"step {step.name}: against {step.against!r} is no earlier row; {why}")
            rows += [step.row] if step.row else []
        if unknown := [row for row in self.gates if row not in rows]:
            why = suggestion(unknown[0], rows) if rows else "no step has a row"
            raise ValueError(f"gates: {unknown[0]!r} is no row; {why}")
        return self

    @model_validator(mode="after")
    def _resolve(self) -> RoadConfig:
        self.foreign, self.digests = check(self.steps)
        for step in self.steps:
            gate = self.gates.get(step.row)
            if gate and gate.wants_controls and not resolve(step, {}).shuffles:
                raise ValueError(
                    f"step {step.name}: the gates of {step.row!r} ask for controls: set shuffles ≥ 1"
                )
        return self

    def plan(self) -> Plan:
        """The sum of the steps' times and disks, and the largest step's memory; what would end a step that reads no
        other one: of the others it is not known before these have written."""
        configs = {step.name: resolve(step, {}) for step in self.steps}
        plans = {name: config.plan() for name, config in configs.items()}
        first = [name for name, config in configs.items() if not reads(config) & configs.keys()]
        return Plan(
            max(p.memory_gb for p in plans.values()),
            round(sum(p.disk_gb for p in plans.values()), 3),
            round(sum(p.minutes for p in plans.values()), 1),
            (
                *(f"{n}: {p.memory_gb:g} GB, {p.disk_gb:g} GB, {p.minutes:g} min" for n, p in plans.items()),
                *(f"{REFUSED}step {name}: {why}" for name in first for why in plans[name].refused),
            ),
        )
