"""Which frames a Dataset takes: rare scenes up to their quota, and of each scene the most disputed first.

A slice is written as words joined by `` + ``: a tag (``night``), a task's state (``light=red``), or both
(``night + light=red``).
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgekit.core.errors import UserError, suggestion
from edgekit.dataset.sample import TaskMark
from edgekit.dataset.score import CLASSES

JOIN = " + "


@dataclass(frozen=True)
class Candidate:
    """A frame that could be a row. states: task → edgekit.dataset.score.state; disagreement: 0..1.

    duplicate_of: the frame that it repeats, None where it is new.
    """

    id: str
    tags: tuple[str, ...] = ()
    states: Mapping[str, str] = field(default_factory=dict)
    disagreement: float = 0.0
    duplicate_of: int | None = None

    def words(self) -> set[str]:
        return set(self.tags) | {f"{task}={value}" for task, value in self.states.items()}


def disagreement(tasks: Mapping[str, TaskMark]) -> float:
    """How far a frame's steps were from agreeing, 0 (all said the same) to 1: the worst of its tasks.

    Of a task: the share, weighed by confidence, of steps that told another state than the last one tells.
    Abstaining is not disagreeing.
    """
    worst = 0.0
    for mark in tasks.values():
        steps = [(s["value"], float(s.get("confidence", 1.0))) for s in mark.history if "value" in s]
        told = [(value, weight) for value, weight in steps if value != "unknown"]
        total = sum(weight for _, weight in told)
        if total > 0:
            worst = max(worst, sum(w for value, w in told if value != steps[-1][0]) / total)
    return round(worst, 6)


def choose(
    rows: Sequence[Candidate], quota: Mapping[str, int] | None = None, most: int | None = None
) -> list[int]:
    """Indices of the rows to take, rising; repeats are never taken. The same rows give the same choice.

    quota: slice → how many of it are wanted; the scarcest slice is served first, the rest of ``most`` goes
    by disagreement. None: every slice (tag × state) that occurs gets an equal share of ``most``, so that a
    rare one is taken whole. most: rows at most, None for no limit (then a quota without a limit takes its
    slices only, and no quota takes all). Raises UserError as ``check_quota``.
    """
    check_quota(quota or {})
    free = [i for i, row in enumerate(rows) if row.duplicate_of is None]
    if quota is None and (most is None or most >= len(free)):
        return free
    if quota is None:
        return sorted(_shared(rows, free, most))
    members = {name: [i for i in free if _within(rows[i], name)] for name in quota}
    order = {i: place for place, i in enumerate(sorted(free, key=lambda i: _rank(rows[i])))}
    room = len(free) if most is None else most
    taken: set[int] = set()
    for name in sorted(members, key=lambda name: (len(members[name]), name)):
        mine = sorted(members[name], key=order.__getitem__)
        wanted = quota[name] - sum(i in taken for i in mine)
        taken.update([i for i in mine if i not in taken][: max(0, min(wanted, room - len(taken)))])
    if most is not None:
        taken.update(sorted(set(free) - taken, key=order.__getitem__)[: room - len(taken)])
    return sorted(taken)


def counted(
    rows: Sequence[Candidate], chosen: Sequence[int], quota: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """What the choice took: rows, repeats, and per slice how many there were, were wanted, were taken.

    Without a quota the slices are the tags and the states one by one.
    """
    free = [i for i, row in enumerate(rows) if row.duplicate_of is None]
    names = list(quota) if quota is not None else sorted({w for i in free for w in rows[i].words()})
    slices = {}
    for name in names:
        slices[name] = {
            "found": sum(_within(row, name) for row in rows),
            "new": sum(_within(rows[i], name) for i in free),
            "taken": sum(_within(rows[i], name) for i in chosen),
        }
        if quota is not None:
            slices[name] |= {"wanted": quota[name], "short": max(0, quota[name] - slices[name]["taken"])}
    return {"rows": len(rows), "repeats": len(rows) - len(free), "taken": len(chosen), "slices": slices}


def _shared(rows: Sequence[Candidate], free: Sequence[int], most: int) -> list[int]:
    """Water-filling: the slice that has got least, of those with rows left, takes its most disputed one."""
    queues: dict[str, list[int]] = {}
    for i in sorted(free, key=lambda i: _rank(rows[i]), reverse=True):  # the best stands last: pop() takes it
        for name in _crossed(rows[i]):
            queues.setdefault(name, []).append(i)
    got = dict.fromkeys(queues, 0)
    heap = [(0, len(queue), name) for name, queue in queues.items()]
    heapq.heapify(heap)
    taken: set[int] = set()
    while heap and len(taken) < most:
        count, size, name = heapq.heappop(heap)
        queue = queues[name]
        while queue and queue[-1] in taken:
            queue.pop()
        if not queue:
            continue
        if count != got[name]:  # it got rows through other slices meanwhile
            heapq.heappush(heap, (got[name], size, name))
            continue
        best = queue.pop()
        taken.add(best)
        for other in _crossed(rows[best]):
            got[other] += 1
        heapq.heappush(heap, (got[name], size, name))
    return list(taken)


def _crossed(row: Candidate) -> list[str]:
    """Tag × state of a row; the speed's 25 states are no scenes, and are left out."""
    states = [f"{task}={value}" for task, value in sorted(row.states.items()) if task != "speed"]
    return [f"{tag}{JOIN}{word}" for tag in row.tags for word in states] or [*row.tags, *states] or [""]


def _rank(row: Candidate) -> tuple[float, bytes]:
    """Disputed first; equals in an order that has nothing to do with where in a drive they lie."""
    return -row.disagreement, hashlib.sha256(row.id.encode()).digest()


def _within(row: Candidate, name: str) -> bool:
    return row.words().issuperset(_words(name))


def check_quota(quota: Mapping[str, int]) -> None:
    """Raises UserError for a slice with a task or state that there is not, or a count below 1.

    A tag may be any word: whether a drive has it is known only then, and ``counted`` tells.
    """
    for name, wanted in quota.items():
        for word in _words(name):
            task, equals, value = word.partition("=")
            known = (*CLASSES.get(task, ()), "unknown")
            if equals and (task not in CLASSES or value not in known):
                why = suggestion(value, known) if task in CLASSES else suggestion(task, CLASSES)
                raise UserError(f"quota {name!r}: {word!r} is no task's state", why, "write light=red, say")
            if not word:
                raise UserError(f"quota {name!r}: a word is missing", "nothing beside a '+'", "mend the name")
        if wanted < 1:
            raise UserError(
                f"quota {name!r}: {wanted} rows", "a quota is at least 1", "raise it, or leave it out"
            )


def _words(name: str) -> list[str]:
    return [word.strip() for word in name.split(JOIN.strip())]
