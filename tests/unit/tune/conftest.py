import pytest

from edgekit.core.recipe import build
from edgekit.core.run import start
from tests.unit.tune.data import NANO, REPORT, TRAIN, write_dataset


@pytest.fixture(scope="session")
def frames(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tune-data") / "data")


@pytest.fixture(scope="session")
def tuned(frames):
    """tuned(out, **recipe) -> the complete Run."""
    from edgekit.tune import TuneConfig, tune

    def go(out, **raw):
        raw = {"data": [str(frames)], "report": REPORT} | raw
        raw["train"] = TRAIN | raw.get("train", {})
        config = build(TuneConfig, raw, "test")
        run = start("tune", config, "test", out)
        tune(config, run)
        run.digest = run.finish()
        return run

    return go


@pytest.fixture(scope="session")
def base(tuned, tmp_path_factory):
    """A nano DiT of two labels, "clear day" and "rain night"."""
    out = tmp_path_factory.mktemp("tune-base") / "base"
    return tuned(out, nano=NANO, method={"kind": "full"}).path
