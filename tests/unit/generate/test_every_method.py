"""Every method on every nano base that it fits: tuned, kept in files, painted with; and what does not fit says why."""

import numpy as np
import pytest

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, read_jsonl
from edgekit.core.recipe import build
from edgekit.core.run import start
from edgekit.dataset import open_dataset
from edgekit.generate import GenerateConfig, generate
from edgekit.generators.adapters.adapter import METHODS, supports
from tests.unit.tune.conftest import frames, tuned  # noqa: F401

NANO = {
    "size": 8, "patch": 4, "width": 32, "layers": 2, "heads": 2, "text_width": 32, "text_tokens": 8,
    "unet_widths": [16, 16, 16], "unet_layers": [1, 1],
}  # fmt: skip
METHOD = {
    "lora": {"rank": 2},
    "adalora": {"rank": 3, "target_rank": 2},
    "vpt": {"depth": 2, "tokens": 2},
    "adapter": {"width": 4},
    "difffit": {"depth": 2},
    "driveditfit": {"rank": 2},
    "calora": {"rank": 2, "share": 0.5, "images": 2, "steps": 2},
    "tsm": {"core": 2, "contexts": [1], "rank": 2},
}
ARCHS = ("dit", "unet", "mmdit")
FITS = [(arch, kind) for arch in ARCHS for kind in METHODS if supports(kind, arch) is None]


@pytest.fixture(scope="module")
def bases(tuned, tmp_path_factory):  # noqa: F811
    """base(arch) -> a run that holds a nano generator, trained for a few steps."""
    made, folder = {}, tmp_path_factory.mktemp("every")

    def base(arch):
        if arch not in made:
            made[arch] = tuned(folder / arch, nano={"arch": arch} | NANO, method={"kind": "full"}).path
        return made[arch]

    return base


def painted(base, out, adapter=None):
    words = {"label": "rain night"} if "dit" == base.name else {"prompt": "A car ahead."}
    raw = {
        "base": str(base),
        "ask": [{**words, "count": 2}],
        "steps": 2,
        "width": 56,
        "height": 56,
        "threads": 1,
    }
    config = build(GenerateConfig, raw | ({"adapter": str(adapter)} if adapter else {}), "test")
    run = start("generate", config, "test", out)
    generate(config, run)
    run.finish()
    data = open_dataset(run.out)
    return np.stack([data.image(row) for row in data.rows("train")]).astype(int)


def test_no_method_is_left_out():
    assert set(METHOD) | {"full", "bitfit"} == set(METHODS), "a new method is tested here too"
    assert len(FITS) >= 24


@pytest.mark.parametrize("arch, kind", FITS, ids=["-".join(pair) for pair in FITS])
def test_what_was_tuned_paints_otherwise_than_its_base(arch, kind, bases, tuned, tmp_path):  # noqa: F811
    base = bases(arch)
    run = tuned(
        tmp_path / "tuned", base=str(base), method={"kind": kind} | METHOD.get(kind, {}),
        # As many steps as TimeStep Master has stages, and each is trained on twice.
        train={"steps": 8, "learning_rate": 0.05, "gradient_checkpointing": True},
    )  # fmt: skip
    told = read_json(run.out / "tune.json")
    assert told["method"] == kind and told["arch"] == arch and 0 < told["parameters"]["trainable"]
    plain, adapted = painted(base, tmp_path / "plain"), painted(base, tmp_path / "adapted", run.path)
    assert plain.shape == adapted.shape == (2, 56, 56, 3)
    assert np.abs(plain - adapted).max() > 0, "the same seeds, other pictures"


@pytest.mark.parametrize("arch", ARCHS)
def test_checkpointing_learns_the_same(arch, bases, tuned, tmp_path):  # noqa: F811
    losses = []
    for on in (False, True):
        run = tuned(
            tmp_path / str(on), base=str(bases(arch)), method={"kind": "lora", "rank": 2},
            train={"steps": 4, "gradient_checkpointing": on},
        )  # fmt: skip
        losses.append([row["total"] for row in read_jsonl(run.out / "curves.jsonl")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    "arch, kind", [(a, k) for a in ARCHS for k in METHODS if supports(k, a)], ids=lambda v: v
)
def test_what_does_not_fit_says_why(arch, kind, bases, tuned, tmp_path):  # noqa: F811
    with pytest.raises(UserError, match="not applicable") as refused:
        tuned(tmp_path / "run", base=str(bases(arch)), method={"kind": kind} | METHOD.get(kind, {}))
    assert refused.value.why == supports(kind, arch)
