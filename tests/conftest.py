"""What every test shares: skips that may not happen, and a count per marker at the end.

EDGEKIT_REQUIRE=blender,vllm,onnx,browser,sumo turns a skipped test of these markers into a failed one.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

REQUIRED = {name for name in os.environ.get("EDGEKIT_REQUIRE", "").split(",") if name}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    report.of_markers = sorted({mark.name for mark in item.iter_markers()})
    missed = REQUIRED & set(report.of_markers)
    if report.skipped and missed and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped, but EDGEKIT_REQUIRE asks for {', '.join(missed)}: {reason}"
        )


def pytest_terminal_summary(terminalreporter, config):
    known = ["blender", "vllm", "onnx", "browser", "sumo", "gpu", "network"]
    counts: dict[str, Counter] = {}
    for outcome in ("passed", "failed", "skipped", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            for name in getattr(report, "of_markers", ()):
                counts.setdefault(name, Counter())[outcome] += 1
    shown = [name for name in known if name in counts or name in REQUIRED]
    if shown:
        terminalreporter.section("tests by what they need")
    for name in shown:
        told = ", ".join(f"{n} {outcome}" for outcome, n in counts.get(name, {}).items()) or "none ran"
        terminalreporter.write_line(f"{name}: {told}")


def pytest_sessionfinish(session, exitstatus):
    """A whole run in which a required marker has no test at all did not test what it claims."""
    whole = not session.config.option.keyword and session.config.option.markexpr in ("", "not slow")
    whole = whole and session.config.args_source.name == "TESTPATHS"
    held = {mark.name for item in session.items for mark in item.iter_markers()}
    if whole and REQUIRED - held and exitstatus == 0:
        print(f"\nEDGEKIT_REQUIRE: no test is marked {', '.join(sorted(REQUIRED - held))}")
        session.exitstatus = 1
