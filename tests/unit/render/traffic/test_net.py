"""SUMO networks: the shipped ones hold what they are said to, and mistakes are told in three lines."""

import sys
from pathlib import Path

import pytest

from edgekit.core.errors import UserError
from edgekit.render.traffic import netgenerate
from edgekit.render.traffic.net import NETS, SHIPPED, find_net, read_net
from edgekit.render.traffic.netgenerate import GridConfig, find_tool, generate_grid, tidy

NOTHING = '<net version="1.20">' \
    '<location netOffset="0,0" convBoundary="0,0,1,1" origBoundary="0,0,1,1" projParameter="!"/></net>'  # fmt: skip


@pytest.fixture
def sumolib():
    return pytest.importorskip("sumolib")


def refused(call, *args, **named) -> str:
    with pytest.raises(UserError) as caught:
        call(*args, **named)
    assert len(str(caught.value).splitlines()) == 3
    return str(caught.value)


@pytest.mark.sumo
@pytest.mark.parametrize(
    ("net", "junctions", "signalled", "crossings"),
    [
        ("x", ["x"], 1, 4),
        ("t", ["t"], 1, 2),
        ("grid", ["x"] * 4, 2, 16),
        ("toll", ["other", "other", "toll"], 1, 0),
    ],
)
def test_what_the_shipped_networks_hold(sumolib, net, junctions, signalled, crossings):
    layout = read_net(net)
    assert layout.name == net
    assert sorted(junction.kind for junction in layout.junctions) == junctions
    assert sum(junction.signalled for junction in layout.junctions) == signalled
    assert len(layout.crossings) == crossings
    lit = {junction.id for junction in layout.junctions if junction.signalled}
    assert all((c.signal is not None) == (c.junction in lit) for c in layout.crossings)
    assert {link.junction for link in layout.links if link.signal} == lit


@pytest.mark.sumo
def test_lanes_as_written_in_the_plain_files(sumolib):
    layout = read_net("x")
    by_kind = [(lane.index, lane.kind, lane.width_m) for lane in layout.lanes if lane.road == "n_in"]
    assert by_kind == [(0, "sidewalk", 3.0), (1, "driving", 3.3), (2, "driving", 3.3)]
    assert {lane.limit_kmh for lane in layout.lanes if lane.road.startswith("n_") and lane.index} == {60}
    assert layout.lane["n_in_2"].turns == ("left",) and layout.lane["e_in_2"].turns == ("left", "straight")
    assert layout.lane["n_in_1"].to_junction == "x" and layout.lane["n_out_1"].to_junction is None
    assert layout.lane["n_in_1"].allows == ("car", "truck", "bus", "bicycle", "motorcycle")
    assert "bicycle" not in read_net("toll").lane["w_in_0"].allows
    left = [h for h in layout.heads if h.lanes == ("n_in_2",)]
    assert [(h.arrow, h.place) for h in left] == [("left", "near"), ("left", "far")]


@pytest.mark.sumo
def test_toll_lanes_have_a_head_each(sumolib):
    layout = read_net("toll")
    assert [head.kind for head in layout.heads] == ["toll"] * 8
    assert sorted(head.lanes for head in layout.heads) == sorted(
        (f"{w}_plaza_{k}",) for w in "ew" for k in range(4)
    )
    assert len({head.indices for head in layout.heads}) == 8


@pytest.mark.sumo
def test_the_recipe_says_which_junctions_are_toll_plazas(sumolib):
    assert {j.id: j.kind for j in read_net("x", toll=["x"]).junctions} == {"x": "toll"}
    kinds = {j.id: j.kind for j in read_net("toll", toll=["widen_e", "toll"]).junctions}
    assert kinds == {"toll": "toll", "widen_e": "toll", "widen_w": "other"}
    assert "did you mean 'toll'?" in refused(read_net, "toll", toll=["tol"])


@pytest.mark.sumo
def test_a_plaza_that_is_not_named_is_no_junction(sumolib):
    assert "has no junction" in refused(read_net, "toll", toll=[])


@pytest.mark.sumo
def test_junctions_of_a_roundabout_are_other(sumolib, tmp_path):
    text = (NETS / "grid.net.xml").read_text()
    ring = '<roundabout nodes="A0 A1 B0 B1" edges="A0B0 B0B1 B1A1 A1A0"/>\n</net>'
    (tmp_path / "ring.net.xml").write_text(text.replace("</net>", ring))
    assert {j.kind for j in read_net(tmp_path / "ring.net.xml").junctions} == {"other"}


@pytest.mark.sumo
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a road", "is not a SUMO network"),
        ("<nodes/>", "its root is <nodes>"),
        ("<net><edge id='a'", "is not a SUMO network"),
        (NOTHING, "has no junction"),
    ],
)
def test_what_is_no_network(sumolib, tmp_path, text, said):
    (tmp_path / "mine.net.xml").write_text(text)
    assert said in refused(read_net, tmp_path / "mine.net.xml")


def test_no_such_network():
    assert "did you mean 'grid'?" in refused(find_net, "gird")


def test_without_sumolib(monkeypatch):
    monkeypatch.setitem(sys.modules, "sumolib", None)
    monkeypatch.setitem(sys.modules, "sumolib.net", None)
    assert "sumolib is not installed" in refused(read_net, "x")


def test_the_shipped_files_are_small_and_of_nobodys_machine():
    assert {path.name.removesuffix(".net.xml") for path in NETS.glob("*.net.xml")} == set(SHIPPED)
    for net in SHIPPED:
        text = (NETS / f"{net}.net.xml").read_text()
        assert len(text) < 60_000 and text.startswith("<!-- net") and "generated on" not in text
        assert f"{net}.net" in text.splitlines()[0]  # the command that makes it names its file
    assert not list(NETS.glob("*.rou.xml"))


@pytest.fixture
def tools():
    try:
        return {name: find_tool(name) for name in ("netconvert", "netgenerate")}
    except UserError as error:
        pytest.skip(str(error.why))


def test_the_shipped_networks_are_made_by_the_command_they_name(tools, tmp_path):
    import shutil
    import subprocess

    for path in NETS.iterdir():
        if not path.name.endswith(".net.xml"):
            shutil.copy(path, tmp_path)
    for net in SHIPPED:
        shipped = (NETS / f"{net}.net.xml").read_text()
        first = shipped.splitlines()[0]
        tool, *words = first.removeprefix("<!-- ").partition(" (")[0].split()
        subprocess.run([tools[tool], *words], cwd=tmp_path, check=True, capture_output=True)
        made = (tmp_path / f"{net}.net.xml").read_text()
        assert tidy(made, first[5:-4]) == shipped, net


@pytest.mark.parametrize("columns", [1, 3])
def test_a_grid_of_ones_own(tools, sumolib, tmp_path, columns):
    config = GridConfig(columns=columns, rows=2, lanes=1, limit_kmh=30)
    layout = read_net(generate_grid(config, tmp_path / "mine.net.xml"))
    assert len(layout.junctions) == 2 * columns and all(
        j.signalled and j.kind == "x" for j in layout.junctions
    )
    assert {lane.limit_kmh for lane in layout.lanes if lane.kind == "driving"} == {30}
    again = generate_grid(config, tmp_path / "again.net.xml")
    assert again.read_text() == (tmp_path / "mine.net.xml").read_text()


def test_without_netgenerate(monkeypatch, tmp_path):
    monkeypatch.setattr(netgenerate.shutil, "which", lambda *_, **__: None)
    assert "pip install eclipse-sumo" in refused(generate_grid, GridConfig(), tmp_path / "a.net.xml")


def test_a_netgenerate_that_fails(monkeypatch, tmp_path):
    fails = tmp_path / "netgenerate"
    fails.write_text("#!/bin/sh\necho 'Error: no grid today' >&2\nexit 1\n")
    fails.chmod(0o755)
    monkeypatch.setattr(netgenerate, "find_tool", lambda name: str(fails))
    assert "no grid today" in refused(generate_grid, GridConfig(), tmp_path / "a.net.xml")
    assert not Path(tmp_path / "a.net.xml").exists()
