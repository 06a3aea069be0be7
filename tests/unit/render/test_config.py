"""What a recipe may ask of the render station, and how it is told what it may not."""

import pytest

from edgekit.core.errors import UserError
from edgekit.core.recipe import build, find_recipe, load_recipe
from edgekit.render.config import BUILTIN, RenderConfig
from edgekit.render.networks import check_layouts, place_of
from edgekit.render.spec import sample_scene
from edgekit.render.traffic.net import NETS


def config(**more):
    return build(RenderConfig, more, "mine.yaml")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"layouts": {"tol": 1.0}}, "did you mean 'toll'"),
        ({"layouts": {"nowhere/city.net.xml": 1.0}}, "nowhere/city.net.xml"),
        ({"layouts": {"x": 0.6, "t": 0.6}}, "shares of 1"),
        ({"layouts": {}}, "shares of 1"),
        ({"mounts": {"windscren": 1.0}}, "mounts"),
        ({"mounts": {"roof": 0.5}}, "shares of 1"),
        ({"lights": {"red": 0.9}}, "must be 1"),
        ({"lights": {"purple": 0.1}}, "purple"),
        ({"ego": {"approach": 0.9}}, "must be 1"),
        ({"ego": {"aproach": 0.9}}, "approach"),
        ({"ego": {"approach_m": [30, 10]}}, "the nearer first"),
        ({"ego": {"approach_m": [5, 60]}}, "0 to 50"),
        ({"ego": {"stopped_m": [0, 16]}}, "0 to 15"),
        ({"roadworks": {"cones": -0.1}}, "roadworks.cones"),
        ({"roadworks": {"cones_min": 5, "cones_max": 3}}, "above"),
        ({"roadworks": {"barrier": 0.6, "debris": 0.6}}, "at most 1"),
        ({"runs": 0}, "runs"),
        ({"demand": {"vehicles_per_hour": -1}}, "vehicles_per_hour"),
        ({"netgenerate": {"lanes": 9}}, "lanes"),
        ({"workers": 0}, "workers"),
    ],
)
def test_recipe_mistakes(raw, said):
    with pytest.raises(UserError) as caught:
        config(**raw)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("shares", [{}, {"x": 0.5, str(NETS / "toll.net.xml"): 0.5}, {"made": 1.0}])
def test_a_resolved_recipe_is_the_same_recipe(shares):
    cfg = config(
        **({"layouts": shares} if shares else {}),
        mounts={"roof": 0.4, "cab": 0.6},
        ego={"approach_m": [8, 30]},
    )
    assert build(RenderConfig, cfg.model_dump(mode="json"), "again") == cfg
    assert ("netgenerate" in cfg.model_dump(mode="json")) == ("made" in shares)


@pytest.mark.parametrize("name", ["quick", "nano", "nano-drives", "nano-gate", "conditions"])
def test_shipped_recipes_are_recipes(name):
    cfg = load_recipe(RenderConfig, find_recipe(name, "render"))
    if name == "quick":  # the quickstart has no SUMO
        assert set(cfg.layouts) == {BUILTIN}


@pytest.mark.sumo
def test_a_network_without_a_junction_is_refused_even_where_few_scenes_use_it(tmp_path):
    lines = (NETS / "t.net.xml").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("<connection ")]  # no link leads through its node
    bare = tmp_path / "bare.net.xml"
    bare.write_text("\n".join(kept))
    cfg = config(layouts={BUILTIN: 0.999, str(bare): 0.001})
    for look in (check_layouts, lambda cfg: sample_scene(cfg, 1, town=False)):
        with pytest.raises(UserError, match="has no junction") as caught:
            look(cfg)
        assert len(str(caught.value).splitlines()) == 3


@pytest.mark.sumo
def test_a_file_is_a_layout_like_a_shipped_one():
    path = str(NETS / "t.net.xml")
    cfg = config(layouts={path: 0.5, "t": 0.5})
    assert place_of(cfg, path).layout == place_of(cfg, "t").layout
    assert place_of(cfg, path) is place_of(cfg, path)
    assert place_of(cfg, "t").main.kind == "t"
