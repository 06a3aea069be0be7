"""Units, scores and choices: gradients known by hand, a planted concept, counts of SDXL, every strategy."""

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import nn

from edgekit.core.errors import UserError
from edgekit.generators.adapters.adapter import attach
from edgekit.generators.adapters.calora import awareness as aware
from edgekit.generators.adapters.calora.awareness import BOTH, Awareness, measure, score, time_of
from edgekit.generators.adapters.calora.concepts import ALTERED, PROMPT, concept_of, scene_prompt
from edgekit.generators.adapters.calora.config import CaLora
from edgekit.generators.adapters.calora.select import how_many, select
from edgekit.generators.adapters.units import Projection, chosen_heads, group_of, projections
from edgekit.generators.process import Betas, Flow, linear
from tests.unit.generators.adapters import bases
from tests.unit.generators.adapters.bases import ARCHS, predicted
from tests.unit.generators.adapters.bases import tiny as base
from tests.unit.generators.shapes import meta_denoiser

torch.set_num_threads(1)
QUICK = CaLora(images=1, steps=2, guidance=1, variants=2, share=0.2, rank=4)


def stream(seed):
    return torch.Generator().manual_seed(seed)


def scored(generator, altered=("night street",), t=81, seed=0, n=1, added=False):
    draw = torch.Generator().manual_seed(5)
    x0 = torch.rand(n, 3, *generator.size, generator=draw) * 2 - 1
    asked = generator.condition.encode([0 if generator.arch == "dit" else "rain"])
    others = [generator.condition.encode([a]) for a in altered]
    return score(generator, projections(generator.denoiser, added), x0, asked, others, t, stream(seed))


# --- units ----------------------------------------------------------------------------------


def test_heads_are_rows_of_q_k_v_and_columns_of_out():
    """One token, two heads of width 2: attention weights are 1, so y = Wo Wv x and all gradients are known."""
    attention = Attention(query_dim=4, heads=2, dim_head=2, out_bias=False)
    x = torch.tensor([1.0, 2.0, -1.0, 3.0])
    r = torch.tensor([0.5, -1.0, 2.0, 1.0])
    (attention(x.view(1, 1, 4)).flatten() @ r).backward()
    wv, wo = attention.to_v.weight, attention.to_out[0].weight
    v = Projection("a.to_v", attention.to_v, "v", 2)
    out = Projection("a.to_out.0", attention.to_out[0], "out", 2)
    back = wo.T @ r  # what reaches each channel of v
    expected_v = torch.stack([torch.outer(back[h], x).square().mean() for h in (slice(0, 2), slice(2, 4))])
    inner = wv @ x
    expected_out = torch.stack([torch.outer(r, inner[h]).square().mean() for h in (slice(0, 2), slice(2, 4))])
    assert torch.allclose(v.mean_squares(wv.grad), expected_v.double())
    assert torch.allclose(out.mean_squares(wo.grad), expected_out.double())
    assert not torch.allclose(expected_v[0], expected_v[1])  # the halves can be told apart
    assert v.index([1]).tolist() == [2, 3] and out.axis == 1


def test_sdxl_has_560_projections_and_10400_units():
    found = projections(meta_denoiser("sdxl"))
    units = [unit for p in found for unit in p.units]
    assert len(found) == 560 and len(units) == len(set(units)) == 10_400
    assert {p.head_width for p in found} == {64}
    assert [how_many(k, len(units)) for k in (0.01, 0.02, 0.03, 0.05, 0.1)] == [104, 208, 312, 520, 1040]
    # rank 64 on everything; 2 % at worst: one head in each of 208 of the largest layers
    assert 64 * sum(sum(p.layer.weight.shape) for p in found) == pytest.approx(92.9e6, rel=0.001)
    assert {group_of(u, "integrated") for u in units} == {p.name for p in found}
    assert (
        len({group_of(u, "layer") for u in units}) == 140 and len({group_of(u, "block") for u in units}) == 70
    )


def test_text_stream_of_sd3_is_optional():
    plain, both = (projections(meta_denoiser("sd3"), added) for added in (False, True))
    assert len(plain) == 96 and len(both) == 96 + 24 * 4 - 1
    assert all(group_of(p.units[0], "block").count(".") == 1 for p in both)


# --- scores ---------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ARCHS)
def test_scores_on_every_architecture(arch):
    generator = base(arch)
    before = {n: p.requires_grad for n, p in generator.denoiser.named_parameters()}
    altered = ("rain night",) if arch == "dit" else ("night street",)
    ratio, con, dif, groups = scored(generator, altered)
    assert (
        ratio.shape == con.shape == dif.shape and ratio.isfinite().all() and (ratio > 0).float().mean() > 0.9
    )
    assert {n: p.requires_grad for n, p in generator.denoiser.named_parameters()} == before
    assert all(p.grad is None for p in generator.denoiser.parameters())
    again = scored(generator, altered)
    assert torch.equal(again[0], ratio) and again[3] == groups
    assert not torch.equal(scored(generator, altered, seed=1)[0], ratio)


@pytest.mark.parametrize("arch", ARCHS)
def test_a_concept_that_changes_nothing_scores_zero(arch):
    generator = base(arch)
    ratio, con, dif, _ = scored(generator, ("clear day",) if arch == "dit" else ("rain",))
    assert not ratio.any() and not con.any() and dif.all()


def test_a_mean_of_ratios_over_pairs():
    generator = base()
    x0 = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(5)) * 2 - 1
    found, asked = projections(generator.denoiser), generator.condition.encode(["rain"])
    other = generator.condition.encode(["fog"])
    draw = stream(3)
    single, t = [], torch.tensor([81])
    weights = [p.layer.weight.requires_grad_() for p in found]
    for x in x0.split(1):
        eps = torch.randn(x.shape, generator=draw)
        x_t = generator.process.noise(x, eps, t)
        said, target = (generator.predict(x_t, t, c)[:, :3] for c in (asked, other))
        losses = (said - target.detach()).square().mean(), (said - eps).square().mean()
        rms = [
            torch.cat(
                [
                    _by_head(p, g)
                    for p, g in zip(found, torch.autograd.grad(one, weights, retain_graph=True), strict=True)
                ]
            )
            for one in losses
        ]
        single.append(rms[0] / rms[1])
    ratio = score(generator, found, x0, asked, [other], 81, stream(3))[0]
    assert torch.allclose(ratio.float(), torch.stack(single).mean(0), rtol=1e-4)


def _by_head(p, gradient):
    return torch.stack([g.square().mean().sqrt() for g in gradient.chunk(p.heads, dim=p.axis)])


def test_scaling_both_losses_changes_no_score_and_a_larger_difference_no_rank(monkeypatch):
    generator = base()
    plain = scored(generator, n=2)
    true = aware.mean_squares
    with monkeypatch.context() as m:
        m.setattr(aware, "mean_squares", lambda con, dif, found: true(100 * con, 100 * dif, found))
        both = scored(generator, n=2)
    assert torch.allclose(both[0], plain[0], rtol=1e-5)
    assert torch.allclose(
        both[1], 100 * plain[1], rtol=1e-5
    )  # the scale was there, and is gone from the ratio
    assert all(both[3][g] == pytest.approx(plain[3][g], rel=1e-5) for g in aware.GRANULARITIES)
    true_concept = aware.concept_loss
    with monkeypatch.context() as m:
        m.setattr(aware, "concept_loss", lambda said, target: true_concept(said, 2 * target - said.detach()))
        doubled = scored(generator, n=2)
    assert torch.allclose(doubled[0], 2 * plain[0], rtol=1e-4)
    assert torch.equal(doubled[0].argsort(), plain[0].argsort())


@pytest.mark.parametrize("arch", ["unet", "mmdit"])
def test_a_group_s_ratio_is_over_all_entries_of_its_heads(arch):
    """One pair, whose own RMS are known: mean squares of heads, weighed by their numbers of entries."""
    generator = base(arch)
    both = arch == "mmdit"
    found = projections(generator.denoiser, added=both)
    _, con, dif, groups = scored(generator, added=both)
    units = [unit for p in found for unit in p.units]
    entries = [p.layer.weight[p.index([0])].numel() if p.axis == 0 else p.layer.weight[:, p.index([0])].numel()
               for p in found for _ in p.units]  # fmt: skip
    text = {unit for p in found if p.added for unit in p.units}
    assert len(set(entries)) > 1 or both
    tables = [(g, g, set()) for g in aware.GRANULARITIES] + [(g, g + BOTH, None) for g in aware.GRANULARITIES]
    for granularity, table, counted in tables:
        if not both and counted is None:
            assert table not in groups
            continue
        members = {}
        for i, unit in enumerate(units):
            if counted is None or unit not in text:
                members.setdefault(group_of(unit, granularity), []).append(i)
        assert groups[table].keys() == members.keys()
        for name, of in members.items():
            sums = [sum(entries[i] * float(rms[i]) ** 2 for i in of) for rms in (con, dif)]
            assert groups[table][name] == pytest.approx(
                (sums[0] / sums[1]) ** 0.5 if sums[1] else 0, rel=1e-6
            )
    if both:
        assert groups["block"] != groups["block" + BOTH]


def test_a_narrow_base_is_scored_with_wide_gradients_and_stays_as_it_was():
    generator = base().to(dtype=torch.bfloat16)
    wide = base().to(dtype=torch.bfloat16)
    cond, other = (generator.condition.encode([word]) for word in ("rain", "fog"))
    wide.denoiser.float()
    x0 = torch.rand(1, 3, 8, 8, generator=stream(5)) * 2 - 1
    before = {name: (x, x.data_ptr(), x.clone()) for name, x in generator.denoiser.state_dict().items()}
    told = [score(g, projections(g.denoiser), x0, cond, [other], 81, stream(0)) for g in (generator, wide)]
    assert all(torch.equal(a, b) for a, b in zip(told[0][:3], told[1][:3], strict=True))
    after = generator.denoiser.state_dict()
    assert generator.dtype == torch.bfloat16 and after.keys() == before.keys()
    for name, (_, place, value) in before.items():
        assert after[name].dtype == value.dtype and after[name].data_ptr() == place
        assert torch.equal(after[name], value)


PROCESSES = {
    "epsilon": ("pixart", Betas(linear(1000), "epsilon", True)),
    "v": ("pixart", Betas(linear(1000), "v_prediction", True)),
    "flow": ("mmdit", Flow()),
}


@pytest.mark.parametrize("name", PROCESSES)
def test_the_denoising_loss_is_the_process_own(name, monkeypatch):
    arch, process = PROCESSES[name]
    generator = base(arch)
    generator.process = process
    seen, true = [], aware.mean_squares

    def spy(concept, denoising, found):
        seen.append(denoising.item())
        return true(concept, denoising, found)

    monkeypatch.setattr(aware, "mean_squares", spy)
    x0 = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(5)) * 2 - 1
    asked, other = (generator.condition.encode([w]) for w in ("rain", "fog"))
    t = 81.0 if name == "flow" else 81
    score(generator, projections(generator.denoiser), x0, asked, [other], t, stream(0))
    eps = torch.randn(x0.shape, generator=stream(0))
    if name == "flow":
        x_t, t, target = 0.919 * x0 + 0.081 * eps, torch.tensor([81.0]), eps - x0
    else:
        abar = process.abar[81].float()
        x_t, t = abar.sqrt() * x0 + (1 - abar).sqrt() * eps, torch.tensor([81])
        target = eps if name == "epsilon" else abar.sqrt() * eps - (1 - abar).sqrt() * x0
    with torch.no_grad():
        said = generator.predict(x_t, t, asked)[:, :3]
    assert seen == [pytest.approx(F.mse_loss(said, target).item(), rel=1e-4)]


def planted():
    """A PixArt whose cross-attention hears the style words in one head alone, and the view words in another.

    Each of its six cross-attention heads writes into five channels of its own, the rest of the blocks into the
    last two, and the last layer keeps channels apart: an error in one place then concerns one head.
    """
    generator = bases.base("pixart", 0, size=8, layers=3, text_width=32)
    d = generator.denoiser
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in (d.caption_projection.linear_1, d.caption_projection.linear_2):
            layer.weight.copy_(torch.eye(32))
            layer.bias.zero_()
        noise = d.proj_out.weight.view(16, 6, 32)[:, :3]  # patch pixels, (noise, range) channels, width
        noise.copy_(torch.linalg.qr(torch.randn(48, 32, generator=draw)).Q.view(16, 3, 32))
        for i, block in enumerate(d.transformer_blocks):
            out = block.attn2.to_out[0].weight
            own = torch.zeros_like(out)
            for head in (0, 1):
                rows, columns = (
                    slice(5 * (2 * i + head), 5 * (2 * i + head) + 5),
                    slice(16 * head, 16 * head + 16),
                )
                own[rows, columns] = torch.randn(5, 16, generator=draw) / 4
            out.copy_(own)
            block.attn1.to_out[0].weight[:30] = 0
            block.ff.net[2].weight[:30] = 0
            for layer in (block.attn2.to_k, block.attn2.to_v):
                kept = layer.weight.clone()
                layer.weight[:, 1:5] = (
                    0  # columns of the style words, 1 and 2, and of the view words, 3 and 4
                )
                if i == 1:
                    layer.weight[:16, 1:3] = 2 * kept[:16, 1:3]
                if i == 2:
                    layer.weight[16:, 3:5] = 2 * kept[16:, 3:5]
    return generator


def words(*tokens):
    x = torch.zeros(1, len(tokens), 32)
    for i, token in enumerate(tokens):
        x[0, i, token] = 2.0
    return {"tokens": x, "mask": torch.ones(1, len(tokens))}


@pytest.mark.parametrize("seed", [4, 5, 6, 7])
def test_a_planted_concept_is_found(seed):
    generator = planted()
    found = projections(generator.denoiser)
    units = [u for p in found for u in p.units]
    # As many pictures as the config has: with fewer, a unit that hardly denoises may come first by chance.
    x0 = torch.rand(CaLora().images, 3, 8, 8, generator=stream(100 + seed)) * 2 - 1
    # 0, 7: what both prompts say; 1 and 3: the style and the view asked for; 2 and 4: their alterations
    for altered, head in (
        ((0, 7, 2, 3), "transformer_blocks.1.attn2.{}.h0"),
        ((0, 7, 1, 4), "transformer_blocks.2.attn2.{}.h1"),
    ):
        ratio = score(generator, found, x0, words(0, 7, 1, 3), [words(*altered)], 81, stream(seed))[0]
        ranked = [units[i] for i in ratio.argsort(descending=True)]
        assert ranked[0] in {head.format(kind) for kind in ("to_q", "to_k", "to_v", "to_out.0")}, ranked[:6]


# --- choices --------------------------------------------------------------------------------


def fake(found, seed=0, ties=False):
    draw = torch.Generator().manual_seed(seed)
    units = [u for p in found for u in p.units]
    values = torch.zeros(2, len(units)) if ties else torch.rand(2, len(units), generator=draw)
    scores, raw = (dict(zip(units, row.tolist(), strict=True)) for row in values)
    names = {g: dict.fromkeys(group_of(u, g) for u in units) for g in aware.GRANULARITIES}
    groups = {g: {name: float(i) for i, name in enumerate(names[g])} for g in names}
    groups |= {g + BOTH: {name: -value for name, value in table.items()} for g, table in groups.items()}
    return Awareness("c", ["a"], 81, [0], 25, 5.0, True, "float32", "", scores, raw, raw, groups)


@pytest.mark.parametrize("strategy", ["awareness", "unnormalised", "random", "block", "layer", "integrated"])
def test_counts_and_nesting(strategy):
    found = projections(base().denoiser)
    n = sum(p.heads for p in found)
    scores = fake(found)
    chosen = [select(strategy, k, found, scores, seed=3) for k in (0.01, 0.1, 0.3, 0.5, 1.0)]
    assert all(
        set(small) < set(large) or small == large for small, large in zip(chosen, chosen[1:], strict=False)
    )
    if strategy in ("awareness", "unnormalised", "random"):
        assert [len(c) for c in chosen] == [1, 3, 10, 16, 32] and n == 32
    else:
        groups = {"block": 2, "layer": 4, "integrated": 16}[strategy]
        assert len(chosen[3]) == n // 2 and len({group_of(u, strategy) for u in chosen[3]}) == groups // 2
    assert len(chosen[-1]) == n


def test_strategies_choose_what_they_say():
    found = projections(base().denoiser)
    scores = fake(found)
    top = max(scores.scores, key=scores.scores.get)
    assert select("awareness", 0.01, found, scores) == [top]
    assert select("unnormalised", 0.01, found, scores) == [
        max(scores.concept_rms, key=scores.concept_rms.get)
    ]
    assert {u.split(".")[-2] for u in select("k", 0.01, found)} == {"to_k"} and len(
        select("out", 1, found)
    ) == 8
    assert {u.split(".")[1] for u in select("block", 0.5, found, scores)} == {"1"}
    assert select("random", 0.3, found, seed=1) != select("random", 0.3, found, seed=2)
    assert len(select("all", 0.02, found)) == 32


def test_one_file_serves_both_choices_of_streams():
    denoiser = base("mmdit").denoiser
    image, both = (projections(denoiser, added) for added in (False, True))
    scores = fake(both)
    names = {u for p in image for u in p.units}
    for share in (0.2, 1.0):
        chosen = select("awareness", share, image, scores)
        assert len(chosen) == how_many(share, len(names)) and set(chosen) <= names
        best = sorted(names, key=scores.scores.get, reverse=True)[: len(chosen)]
        assert set(chosen) == set(best)
    assert set(select("awareness", 1.0, both, scores)) == scores.scores.keys() > names
    first, last = (select("block", 0.5, found, scores) for found in (image, both))
    assert {u.split(".")[1] for u in first} == {"1"} and {u.split(".")[1] for u in last} == {"0"}
    with pytest.raises(UserError, match="lack one, transformer_blocks.0.attn.add"):
        select("awareness", 0.1, both, fake(image))


def test_equal_scores_go_by_name():
    found = projections(base().denoiser)
    units = sorted(u for p in found for u in p.units)
    assert select("awareness", 0.1, found, fake(found, ties=True)) == units[:3]


def test_refusals():
    found = projections(base().denoiser)
    with pytest.raises(UserError, match="none are given"):
        select("awareness", 0.1, found)
    bad = fake(found)
    bad.scores[found[0].units[0]] = float("nan")
    with pytest.raises(UserError, match="is no number"):
        select("awareness", 0.1, found, bad)
    with pytest.raises(UserError, match="no unit 'x.to_q.h0'"):
        chosen_heads(["x.to_q.h0"], found)
    with pytest.raises(UserError, match="no heads of equal width"):
        attention = Attention(query_dim=4, heads=2, dim_head=2)
        attention.heads = 3
        projections(nn.ModuleList([attention]))


# --- from a config to a choice --------------------------------------------------------------


def test_the_papers_prompts():
    concept = concept_of(CaLora())
    assert concept.prompt == PROMPT == "Photorealistic first-person urban street view"
    assert (
        concept.altered == ALTERED["style"][:3]
        and concept.altered[0] == "Sketch of first-person urban street view"
    )
    assert (
        concept_of(CaLora(concept="viewpoint")).altered[0] == "Photorealistic urban street in top-down view"
    )
    assert concept_of(CaLora(), ["a", "b", "c"]).altered == ("b", "c")
    with pytest.raises(UserError, match="has one label"):
        concept_of(CaLora(), ["a"])
    with pytest.raises(UserError, match="variants=6"):
        concept_of(CaLora(variants=6))
    assert scene_prompt(["road", "car"], "snowy") == f"{PROMPT} with road, car in snowy"
    assert scene_prompt(["road"], "snowy", "weather") == f"{PROMPT} in snowy with road"


@pytest.mark.parametrize("arch", ["dit", "mmdit", "unet"])
def test_attach_measures_chooses_and_tells(arch, tmp_path):
    generator = base(arch)
    output = predicted(generator)
    adapter = attach(QUICK, generator, 7)
    facts, scores = adapter.facts(), adapter.awareness
    assert len(adapter.config.units) == how_many(0.2, facts["units"]) == facts["selected"]
    there = {u for p in projections(generator.denoiser) for u in p.units}
    floor = min(scores.scores[u] for u in adapter.config.units)
    assert all(scores.scores[u] <= floor for u in there - set(adapter.config.units))
    assert scores.t == pytest.approx(81) and len(scores.seeds) == 1 and len(scores.altered) == 2
    assert (scores.steps, scores.guidance, scores.dtype, scores.added) == (2, 1, "float32", arch == "mmdit")
    assert facts["awareness"]["scores"].keys() == set(adapter.config.units)
    streams = facts["awareness"]["mean_score"]
    assert streams.keys() == ({"image stream", "text stream"} if arch == "mmdit" else {"image stream"})
    assert facts["units"] == len(scores.scores) - (0 if arch != "mmdit" else 2 * (2 * 4 - 1))
    assert torch.equal(predicted(generator), output)
    scores.save(tmp_path / "awareness.json")
    assert Awareness.read(tmp_path / "awareness.json") == scores
    adapter.detach()
    again = attach(QUICK.model_copy(update={"scores": str(tmp_path / "awareness.json")}), generator, 7)
    assert again.config == adapter.config
    again.detach()
    with torch.no_grad():
        next(generator.denoiser.parameters()).add_(1e-3)
    with pytest.raises(UserError, match="scores of another base"):
        attach(QUICK.model_copy(update={"scores": str(tmp_path / "awareness.json")}), generator, 7)


@pytest.mark.parametrize(
    "change, what",
    [
        (dict(altered=["fog", "clear day"]), "concept"),
        (dict(prompt="snow"), "concept"),
        (dict(at=0.2), "noise time"),
        (dict(images=2, steps=1, guidance=2.0, share=0.5), None),
    ],
)
def test_scores_of_another_concept_are_refused(change, what, tmp_path):
    config = QUICK.model_copy(update={"prompt": "street", "altered": ["fog", "night street"]})
    generator = base()
    measure(generator, config, 0).save(tmp_path / "awareness.json")
    asked = config.model_copy(update=change | {"scores": str(tmp_path / "awareness.json")})
    if what is None:  # how precisely it was measured is no matter
        assert attach(asked, generator, 1).awareness.seeds == measure(base(), config, 0).seeds
        return
    with pytest.raises(UserError, match=f"scores of another {what}\n.* there, .* here"):
        attach(asked, generator, 0)
    assert generator.adapter is None


def test_every_pair_has_noise_of_its_own_that_no_picture_began_with(monkeypatch):
    generator = base()
    config = QUICK.model_copy(update={"images": 3})
    noise, seen = Betas.noise, []
    monkeypatch.setattr(Betas, "noise", lambda self, x0, eps, t: seen.append(eps) or noise(self, x0, eps, t))
    found = [measure(generator, config, seed) for seed in (0, 1, 2)]
    assert len(seen) == 3 * 3 * 2
    starts = [torch.randn(1, 3, 8, 8, generator=stream(s)) for one in found for s in one.seeds]
    every = [*seen, *starts]
    assert not any(torch.equal(a, b) for i, a in enumerate(every) for b in every[:i])
    measure(generator, config, 0)
    assert torch.equal(seen[18], seen[0])


def test_the_noise_time_stays_in_the_schedule():
    table = Betas(linear(1000))
    assert [time_of(at, table) for at in (0.0001, 0.081, 0.9996)] == [0, 81, 999]
    assert time_of(0.081, Flow()) == pytest.approx(81) and isinstance(time_of(0.081, Flow()), float)


def test_a_base_with_an_adapter_is_not_scored():
    generator = base()
    attach(CaLora(select="random", rank=2), generator, 0)
    with pytest.raises(UserError, match="measured on the base"):
        measure(generator, QUICK, 0)
