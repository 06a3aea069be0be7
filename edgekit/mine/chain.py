"""How long things last and how long a teacher stays misled, learned from gold drives: what a majority cannot know.

A window of some metres outvotes an error that is shorter than half of it, and keeps one that is longer. But a light
that hangs there for a second, or a crossroad for 5 m, is no event that drives hold. Behind each slot's words stands a
hidden Markov model: the true value stays for a while (in stages, so that very short stays are rare) and the teacher
is either clear, and then seldom wrong, or misled for a while, and then mostly says the same wrong word (Gilbert 1960,
Elliott 1963). All its numbers are counted on gold drives, drawn to weak priors. Where forward and backward passes over
the drive (Rabiner 1989) leave it ``sure`` of a value, that takes the majority's place; else the majority stands.

The car's own motion has a say as well (edgekit/mine/moves.py): who drives sees the road.

Not for speeds: what misleads a teacher there drifts (a chain of speeds, with slips that are held for a while, was
tried and removed no more than the median). The clock of a stay runs with time and with the road, as a signal changes
by the one and a stop line is passed by the other. Where frames are further apart than ``GAP_S`` the majority stands.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.core.label import SceneLabel, coherent
from edgekit.mine.habits import UNKNOWN_MPS, GoldDrive, Habits, clock_of, habits_of, indices, told_s, turns
from edgekit.mine.moves import fits
from edgekit.mine.smooth import nearest_light

GAP_S = 1.0  # between two frames of one stretch
PIECE_S, MARGIN_S = 600.0, 60.0  # of a long stretch: parts, and what is heard on either side of each
LEAST_S = 60.0  # of gold: less of it shows too few stays and errors to count
HAZARDS = {"cones": "no", "obstacle": "none"}  # what they are where there is none
WARY = 5  # a hazard that the majority saw goes where there is so many times less doubt
CHAINED = ("light", "cones", "obstacle", "crossroad", "zebra")
STAGES = 3
RIGHT = 0.9  # of what a misled teacher says besides its wrong word, this share is right, where there is a third word


@dataclass(frozen=True)
class Chain:
    """slots: those of which gold tells enough; cruise_mps: its mean speed, by which metres and seconds count alike."""

    slots: dict[str, Habits]
    cruise_mps: float

    def posterior(
        self,
        slot: str,
        said: Sequence[str],
        times_s: Sequence[float],
        speeds_mps: Sequence[float | None],
        measured_mps: Sequence[float | None] | None = None,
    ) -> np.ndarray:
        """(n, N): how probable each value of the slot is at each frame of a stretch, given all that was said in it.

        measured_mps: the speeds without those that were filled into gaps, which tell how far a car went and nothing
        of why; all of them where None.
        """
        its, time = self.slots[slot], np.asarray(times_s, float)
        clock = clock_of(time, speeds_mps, self.cruise_mps)
        moved = fits(its.moves, time, speeds_mps if measured_mps is None else measured_mps)
        return _passes(its, indices(its.values, said), moved, np.diff(time), np.diff(clock))

    def report(self) -> dict[str, Any]:
        """For people: per value how many seconds it stays at cruise, per slot how the teacher errs."""
        return {
            "cruise_mps": round(self.cruise_mps, 2),
            "slots": {slot: its.report() for slot, its in self.slots.items()},
        }


def learn(drives: Sequence[GoldDrive]) -> Chain:
    """The habits of those slots of ``CHAINED`` of which the drives tell for ``LEAST_S``, in truth and in the teacher's
    words. drives: stretches, see ``stretches``."""
    speeds = [abs(v) for d in drives for v in d.speeds_mps if v is not None]
    cruise = max(float(np.mean(speeds)) if speeds else UNKNOWN_MPS, 1.0)
    return Chain(
        {slot: habits_of(slot, drives, cruise) for slot in CHAINED if told_s(slot, drives) >= LEAST_S}, cruise
    )


def stretches(times_s: Sequence[float]) -> list[range]:
    """Runs of frames that are at most ``GAP_S`` apart; times rise."""
    cuts = [0, *(i for i in range(1, len(times_s)) if times_s[i] - times_s[i - 1] > GAP_S), len(times_s)]
    return [range(a, b) for a, b in zip(cuts, cuts[1:], strict=False) if b > a]


def pieces(times_s: Sequence[float]) -> list[tuple[range, range]]:
    """(heard, kept): stretches, and of those longer than ``PIECE_S`` parts of it, each heard with ``MARGIN_S`` on
    either side, so that a drive of hours takes the memory of minutes."""
    out = []
    for part in stretches(times_s):
        start = part.start
        while start < part.stop:
            stop = bisect_left(times_s, times_s[start] + PIECE_S, start + 1, part.stop)
            first = bisect_left(times_s, times_s[start] - MARGIN_S, part.start, start)
            last = bisect_left(times_s, times_s[stop - 1] + MARGIN_S, stop, part.stop)
            out.append((range(first, last), range(start, stop)))
            start = stop
    return out


def decode(
    chain: Chain,
    said: Sequence[SceneLabel],
    voted: Sequence[SceneLabel],
    times_s: Sequence[float],
    speeds_mps: Sequence[float | None],
    sure: float,
    measured_mps: Sequence[float | None] | None = None,
) -> tuple[list[SceneLabel], list[dict[str, float]]]:
    """The labels ``voted`` by windows, with each slot's value where the chain is ``sure`` of one, and these values'
    probabilities by slot. said: the teacher's own labels; measured_mps: see ``Chain.posterior``.

    To take away cones or an obstacle takes ``WARY`` times less doubt. What windows left unknown stays so, and no value
    is given that the teacher never said of this stretch: what gold drives are like is no sight of this one.
    """
    driven = (times_s, speeds_mps, speeds_mps if measured_mps is None else measured_mps)
    values = [label.model_dump() for label in voted]
    told: list[dict[str, float]] = [{} for _ in voted]
    for part, kept in pieces(times_s):
        heard, first = said[part.start : part.stop], part.start
        for slot, its in chain.slots.items() if len(part) > 1 else ():
            words = [getattr(label, slot) for label in heard]
            after = chain.posterior(slot, words, *([known[i] for i in part] for known in driven))
            best, probable = after.argmax(axis=1), after.max(axis=1)
            for i in np.flatnonzero(probable > sure):
                value, row = its.values[best[i]], values[first + i]
                if not kept.start <= first + i < kept.stop or row[slot] == "unknown" or value not in words:
                    continue
                if value == HAZARDS.get(slot) != row[slot] and probable[i] < 1 - (1 - sure) / WARY:
                    continue
                told[first + i][slot] = round(float(probable[i]), 3)
                if value != row[slot]:
                    row |= {slot: value} | (nearest_light(heard, i, value) if slot == "light" else {})
    return [coherent(row) for row in values], told


def _passes(
    habits: Habits, said: list[int], moved: np.ndarray, seconds: np.ndarray, clock: np.ndarray
) -> np.ndarray:
    """The posterior of forward and backward passes; said: (n,) indices, -1 where nothing is told; moved: (n, N)."""
    n, values = len(said), len(habits.values)
    says = (np.stack([_says(habits, word) for word in said]) * moved[:, :, None])[:, :, None, :]
    leaves = 1 - np.exp(-STAGES * np.outer(clock, habits.ends))
    enter, clear = turns(habits.misled, habits.cleared, seconds)
    ahead, part = np.empty((n, values, STAGES, values + 1)), habits.misled / (habits.misled + habits.cleared)
    begin = np.concatenate([np.full((values, 1), 1 - part), part * habits.taken], axis=1)
    ahead[0] = begin[:, None, :] * habits.share[:, None, None] / STAGES * says[0]
    ahead[0] /= ahead[0].sum()
    for i in range(1, n):
        ahead[i] = _on(habits, ahead[i - 1], leaves[i - 1], enter[i - 1], clear[i - 1]) * says[i]
        ahead[i] /= ahead[i].sum()
    behind, out = np.ones(ahead.shape[1:]), np.empty((n, values))
    for i in range(n - 1, -1, -1):
        out[i] = (ahead[i] * behind).sum(axis=(1, 2))
        out[i] /= out[i].sum()
        if i:
            behind = _back(habits, behind * says[i], leaves[i - 1], enter[i - 1], clear[i - 1])
            behind /= behind.max()
    return out


def _says(habits: Habits, word: int) -> np.ndarray:
    """(N, 1 + N): how probable the word is by true value and mode: clear, then misled into each word."""
    n = len(habits.values)
    out = np.ones((n, n + 1))
    if word < 0:
        return out
    clear, misled = habits.wrong
    out[:, 0] = clear * habits.taken[:, word]
    out[word, 0] = 1 - clear
    right = RIGHT if n > 2 else 1.0
    out[:, 1:] = (1 - misled) * (1 - right) / max(n - 2, 1)
    out[word, 1:] = (1 - misled) * right
    out[:, 1 + word] = misled
    out[range(n), range(1, n + 1)] = 0.0  # nobody is misled into what is true
    return out


def _on(habits: Habits, now: np.ndarray, leaves: np.ndarray, enter: float, clear: float) -> np.ndarray:
    """One frame on: ``now`` (N, STAGES, 1 + N) and back; a word that becomes true no longer misleads."""
    off = now * leaves[:, None, None]
    out = now - off
    out[:, 1:] += off[:, :-1]
    out[:, 0] += np.einsum("am,ab->bm", off[:, -1], habits.goes)
    true = np.arange(len(habits.values))
    out[true, :, 0] += out[true, :, true + 1]
    out[true, :, true + 1] = 0.0
    sober, held = out[:, :, :1], out[:, :, 1:]
    return np.concatenate(
        [sober * (1 - enter) + held.sum(axis=2, keepdims=True) * clear,
         held * (1 - clear) + sober * enter * habits.taken[:, None, :]], axis=2,
    )  # fmt: skip


def _back(habits: Habits, later: np.ndarray, leaves: np.ndarray, enter: float, clear: float) -> np.ndarray:
    """The transpose of ``_on``."""
    sober, held = later[:, :, :1], later[:, :, 1:]
    modes = np.concatenate(
        [sober * (1 - enter) + (held * habits.taken[:, None, :]).sum(axis=2, keepdims=True) * enter,
         held * (1 - clear) + sober * clear], axis=2,
    )  # fmt: skip
    true = np.arange(len(habits.values))
    modes[true, :, true + 1] = modes[true, :, 0]
    out = modes * (1 - leaves)[:, None, None]
    out[:, :-1] += modes[:, 1:] * leaves[:, None, None]
    out[:, -1] += np.einsum("bm,ab->am", modes[:, 0], habits.goes) * leaves[:, None]
    return out
