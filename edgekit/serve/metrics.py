"""Counters of a server, in Prometheus' text form (exposition format 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

# Seconds; from a nano Bundle's tens of milliseconds to a large model on a CPU.
BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """Counts of requests by status, seconds of answered ones, tokens; and gauges of the queue."""

    def __init__(self, backend: str):
        self.backend = backend
        self.requests: Counter[int] = Counter()
        self.tokens: Counter[str] = Counter()
        self.in_buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def count(self, status: int, seconds: float) -> None:
        """One request done. Only answered ones go into the histogram: a refusal is quick and not an answer."""
        self.requests[status] += 1
        if status == 200:
            self.in_buckets[bisect_left(BUCKETS, seconds)] += 1
            self.seconds += seconds

    def text(self, waiting: int, at_work: int) -> str:
        """The whole page."""
        label = f'backend="{self.backend}"'
        errors = sum(n for status, n in self.requests.items() if status >= 400)
        lines = ["# TYPE edgekit_requests_total counter"]
        lines += [
            f'edgekit_requests_total{{{label},status="{s}"}} {n}' for s, n in sorted(self.requests.items())
        ]
        lines += ["# TYPE edgekit_errors_total counter", f"edgekit_errors_total{{{label}}} {errors}"]
        lines += ["# TYPE edgekit_tokens_total counter"]
        lines += [f'edgekit_tokens_total{{{label},kind="{k}"}} {n}' for k, n in sorted(self.tokens.items())]
        lines += ["# TYPE edgekit_answer_seconds histogram"]
        total = 0
        for bound, n in zip((*map(str, BUCKETS), "+Inf"), self.in_buckets, strict=True):
            total += n
            lines.append(f'edgekit_answer_seconds_bucket{{{label},le="{bound}"}} {total}')
        lines += [f"edgekit_answer_seconds_sum{{{label}}} {self.seconds:.6f}"]
        lines += [f"edgekit_answer_seconds_count{{{label}}} {total}"]
        for name, value in (("waiting", waiting), ("at_work", at_work)):
            lines += [f"# TYPE edgekit_requests_{name} gauge", f"edgekit_requests_{name}{{{label}}} {value}"]
        return "\n".join(lines) + "\n"
