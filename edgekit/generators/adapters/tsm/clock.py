"""What time it is: the layers of a denoiser are told t here, since only its top level is given t.

A batch may hold many t, and one backward pass may follow several forward passes, with blocks run again in
it (gradient checkpointing). So a pass has one ``Moment``, which a recomputed block is given back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Moment:
    """Which experts act in one pass, the core's first.

    picks: (n, i) with i one expert for the whole batch, or a tensor [B] with one for each sample;
    time_rows: of the routers' time tables, [B], where gates weigh the picks; None: each counts in full.
    """

    picks: tuple[tuple[int, int | Tensor], ...]
    time_rows: Tensor | None = None


class Clock:
    """Holds the moment of the pass that is going on."""

    def __init__(self) -> None:
        self.now: Moment | None = None

    def read(self) -> Moment:
        """Raises RuntimeError where no t was told."""
        if self.now is None:
            raise RuntimeError("the adapter was told no t: predict through Generator.predict")
        return self.now


class _Remembered:
    """A checkpointing function whose block sees, when it runs again, the moment of its first run."""

    def __init__(self, run: Callable, clock: Clock):
        self.run, self.clock = run, clock

    def __call__(self, block: Callable, *args, **kwargs):
        moment = self.clock.now

        def at_its_moment(*inputs, **more):
            other, self.clock.now = self.clock.now, moment
            try:
                return block(*inputs, **more)
            finally:
                self.clock.now = other

        return self.run(at_its_moment, *args, **kwargs)


def remember(modules: Iterable[nn.Module], clock: Clock) -> None:
    """Makes ``modules`` that checkpoint their blocks remember; those that do already are left alone."""
    for module in modules:
        run = getattr(module, "_gradient_checkpointing_func", None)
        if run is not None and not isinstance(run, _Remembered):
            module._gradient_checkpointing_func = _Remembered(run, clock)


def forget(modules: Iterable[nn.Module]) -> None:
    """Undoes ``remember``."""
    for module in modules:
        run = getattr(module, "_gradient_checkpointing_func", None)
        if isinstance(run, _Remembered):
            module._gradient_checkpointing_func = run.run
