"""Runs that several tests look at, simulated once."""

import pytest

from edgekit.render.traffic.motion import Demand
from edgekit.render.traffic.net import SHIPPED


@pytest.fixture(scope="session")
def builtin_run():
    """(traffic, its steps) without SUMO."""
    from edgekit.render.traffic.builtin import BuiltinTraffic

    traffic = BuiltinTraffic(Demand(vehicles_per_hour=700, people_per_hour=400, duration_s=240), 5)
    return traffic, list(traffic.steps())


@pytest.fixture(scope="session")
def sumo_runs():
    """{net: (traffic, its steps)}; skips where SUMO is not installed."""
    pytest.importorskip("libsumo")
    from edgekit.render.traffic.sumo import SumoTraffic

    runs = {}
    for net in SHIPPED:
        traffic = SumoTraffic(net, Demand(vehicles_per_hour=1200, duration_s=240), 5)
        runs[net] = traffic, list(traffic.steps())
    return runs


def runs_of(request):
    """(traffic, steps) of a parameter that names a shipped net, or ``builtin``."""
    if request.param == "builtin":
        return request.getfixturevalue("builtin_run")
    return request.getfixturevalue("sumo_runs")[request.param]


EVERY = ["builtin", *(pytest.param(net, marks=pytest.mark.sumo) for net in SHIPPED)]


@pytest.fixture(params=EVERY)
def a_run(request):
    """(traffic, steps) of the built-in crossroads, then of every shipped net."""
    return runs_of(request)


@pytest.fixture(params=[p for p in EVERY if getattr(p, "values", (p,))[0] != "toll"])
def a_crossroad_run(request):
    """The same without the toll plaza, where nobody turns."""
    return runs_of(request)
