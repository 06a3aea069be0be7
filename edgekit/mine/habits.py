"""How long each value of a slot stays, and how a teacher errs about it: counted on gold drives, with weak priors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from edgekit.core.label import SLOTS, SceneLabel
from edgekit.mine.moves import CELLS, STANDING, cells, ratios

ROUNDS = 15  # of expectation and maximisation; the last five move no rate by 1 %
UNKNOWN_MPS = 10.0
# Priors: (events, seconds) of being misled and coming clear again; (wrong, right) of either.
MISLED, CLEARED, WRONG_CLEAR, WRONG_MISLED = (1.0, 10.0), (1.0, 1.0), (1.0, 50.0), (4.0, 1.0)
# What gold shows less than three times may come three times as often as once in all of it (the rule of three: 95 %),
# and stay as short as this: a person whom gold never shows, seen for 4 s on end, is not to be erased.
RARE, RARE_S = 3.0, 4.0
FEW = 0.3  # of each change and each confusion, beside what was counted
FLOOR = 0.02  # a value that gold never shows has this share of the time


class GoldDrive(NamedTuple):
    """One stretch of gold frames in time: seconds, m/s or None, what is true, what the teacher said."""

    times_s: Sequence[float]
    speeds_mps: Sequence[float | None]
    truth: Sequence[SceneLabel]
    said: Sequence[SceneLabel]


@dataclass(frozen=True)
class Habits:
    """Of one slot. values: N words; ends: (N,) stays that end per unit of the clock; goes: (N, N) what follows; share:
    (N,) of the time; misled, cleared: per second; wrong: (when clear, when misled); taken: (N, N) for what; moves:
    (N, CELLS) what the car does meanwhile, as ratios (edgekit/mine/moves.py)."""

    values: tuple[str, ...]
    ends: np.ndarray
    goes: np.ndarray
    share: np.ndarray
    misled: float
    cleared: float
    wrong: tuple[float, float]
    taken: np.ndarray
    moves: np.ndarray

    def report(self) -> dict[str, Any]:
        """For people: how many seconds each value stays at cruise, how much more often a standing car is beside it
        than at all, and how the teacher errs."""
        return {
            "stays_s": {v: round(float(1 / end), 2) for v, end in zip(self.values, self.ends, strict=True)},
            "standing": {
                v: round(float(r), 2) for v, r in zip(self.values, self.moves[:, STANDING], strict=True)
            },
            "misled_a_minute": round(60 * self.misled, 2),
            "misled_s": round(1 / self.cleared, 2),
            "wrong": {"clear": round(self.wrong[0], 4), "misled": round(self.wrong[1], 4)},
        }


def habits_of(slot: str, drives: Sequence[GoldDrive], cruise: float) -> Habits:
    """Of one slot on these drives. cruise: m/s at which a metre's worth of the clock is as long as a second's."""
    values = tuple(v for v in SLOTS[slot] if v != "unknown")
    n = len(values)
    shown, stays, ended = (np.zeros(n) for _ in range(3))
    follows, taken, moved = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, CELLS))
    sequences = []
    for drive in drives:
        true, said = (
            indices(values, [getattr(x, slot) for x in labels]) for labels in (drive.truth, drive.said)
        )
        time = np.asarray(drive.times_s, float)
        clock = clock_of(time, drive.speeds_mps, cruise)
        for i, (a, b) in enumerate(zip([-1, *true], true, strict=False)):
            if b >= 0 and a != b:
                shown[b] += 1
            if min(a, b) >= 0:
                stays[a] += clock[i] - clock[i - 1]
                ended[a] += a != b
                follows[a, b] += a != b
        for a, cell, seconds in zip(true, cells(time, drive.speeds_mps), [0.0, *np.diff(time)], strict=True):
            if min(a, cell) >= 0:
                moved[a, cell] += seconds
        errs: list[bool | None] = []
        for a, b in zip(true, said, strict=True):
            errs.append(None if min(a, b) < 0 else a != b)
            if errs[-1]:
                taken[a, b] += 1
        sequences.append((errs, np.diff(time)))
    whole = max(stays.sum(), 1e-9)
    other = 1 - np.eye(n)
    share = stays + FLOOR * whole
    share /= share.sum()
    unseen = np.maximum(RARE - shown, FEW)
    follows = (follows + share[:, None] * unseen) * other
    confused = (taken + FEW) * other
    misled, cleared, wrong = _teacher(sequences)
    usual = (ended.sum() + 1) / (whole + 10.0)  # at least one change in ten seconds more than was seen
    usual = np.where(shown < RARE, np.maximum(usual, 1 / RARE_S), usual)
    ends = (follows.sum(axis=1) + 1) / (stays + 1 / usual)
    return Habits(
        values,
        ends,
        follows / follows.sum(axis=1, keepdims=True),
        share,
        misled,
        cleared,
        wrong,
        confused / confused.sum(axis=1, keepdims=True),
        ratios(moved),
    )


def indices(values: Sequence[str], words: Sequence[str]) -> list[int]:
    """Of each word among ``values``; -1 for unknown."""
    return [values.index(word) if word in values else -1 for word in words]


def told_s(slot: str, drives: Sequence[GoldDrive]) -> float:
    """Seconds of gold of which the truth and the teacher tell this slot."""
    whole = 0.0
    for drive in drives:
        open_ = [
            "unknown" in (getattr(a, slot), getattr(b, slot))
            for a, b in zip(drive.truth, drive.said, strict=True)
        ]
        whole += sum(float(gap) for gap, no in zip(np.diff(drive.times_s), open_[1:], strict=True) if not no)
    return whole


def _teacher(
    sequences: list[tuple[list[bool | None], np.ndarray]],
) -> tuple[float, float, tuple[float, float]]:
    """(misled, cleared, wrong) from where the teacher erred: Baum and Welch's algorithm with priors (MAP), two modes.

    None: nothing is known of that frame.
    """
    misled, cleared = (float(events / seconds) for events, seconds in (MISLED, CLEARED))
    wrong = [WRONG_CLEAR[0] / sum(WRONG_CLEAR), WRONG_MISLED[0] / sum(WRONG_MISLED)]
    for _ in range(ROUNDS):
        moved, stayed_s = [MISLED[0], CLEARED[0]], [MISLED[1], CLEARED[1]]
        erred, right = [WRONG_CLEAR[0], WRONG_MISLED[0]], [WRONG_CLEAR[1], WRONG_MISLED[1]]
        for errs, gaps in sequences:
            says = np.array(
                [[1.0, 1.0] if e is None else wrong if e else [1 - w for w in wrong] for e in errs]
            )
            enter, leave = turns(misled, cleared, gaps)
            step = np.array([[1 - enter, enter], [leave, 1 - leave]]).transpose(2, 0, 1)
            ahead, behind = np.empty_like(says), np.ones_like(says)
            ahead[0] = says[0] * [cleared, misled]
            ahead[0] /= ahead[0].sum()
            for i in range(1, len(says)):
                ahead[i] = ahead[i - 1] @ step[i - 1] * says[i]
                ahead[i] /= ahead[i].sum()
            for i in range(len(says) - 2, -1, -1):
                behind[i] = step[i] @ (says[i + 1] * behind[i + 1])
                behind[i] /= behind[i].sum()
            both = ahead * behind
            both /= both.sum(axis=1, keepdims=True)
            pairs = ahead[:-1, :, None] * step * (says[1:] * behind[1:])[:, None, :]
            pairs /= pairs.sum(axis=(1, 2), keepdims=True)
            # A turn and its return between two frames are not seen: each turn that is stands for rate × gap / chance.
            unseen = (misled * gaps / enter, cleared * gaps / leave)
            for mode in (0, 1):
                moved[mode] += (pairs[:, mode, 1 - mode] * unseen[mode]).sum()
                stayed_s[mode] += (both[:-1, mode] * gaps).sum()
                erred[mode] += sum(p for p, e in zip(both[:, mode], errs, strict=True) if e)
                right[mode] += sum(p for p, e in zip(both[:, mode], errs, strict=True) if e is False)
        misled, cleared = (float(m / s) for m, s in zip(moved, stayed_s, strict=True))
        wrong = [float(e / (e + r)) for e, r in zip(erred, right, strict=True)]
    return misled, cleared, (wrong[0], wrong[1])


def turns(misled: float, cleared: float, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The chances that a clear teacher is misled after so long, and a misled one clear; turning back counts in."""
    both = misled + cleared
    turned = (1 - np.exp(-both * seconds)) / both
    return misled * turned, cleared * turned


def clock_of(time: np.ndarray, speeds_mps: Sequence[float | None], cruise: float) -> np.ndarray:
    """(n,): half the seconds since the first frame, and half those that its way takes at ``cruise``."""
    speed = np.array([cruise if v is None else abs(v) for v in speeds_mps], float)
    metres = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(time))])
    return (time - time[0] + metres / cruise) / 2
