"""The label generator: features and attention maps, masked attention, losses that ignore, learning four pictures."""

import copy
import functools

import pytest
import torch

from edgekit.core.errors import UserError
from edgekit.generators.adapters.adapter import attach
from edgekit.generators.adapters.calora.config import CaLora
from edgekit.generators.labeller import predict, train
from edgekit.generators.labeller.config import LabellerConfig
from edgekit.generators.labeller.decoder import LabelDecoder, Queries, open_labeller, save_labeller
from edgekit.generators.labeller.features import (
    Features,
    KeptAttention,
    cross_attentions,
    feature_blocks,
    last_step,
    probabilities,
)
from edgekit.generators.labeller.predict import (
    class_scores,
    label_map,
    label_pictures,
    sample_pairs,
)
from edgekit.generators.process import Betas, Flow, linear
from edgekit.generators.quality.distance import miou
from tests.unit.generators.adapters import bases
from tests.unit.generators.adapters.bases import ARCHS, batch, predicted
from tests.unit.generators.shapes import meta_denoiser

torch.set_num_threads(1)
NAMES = ["road", "car", "sky"]
SMALL = LabellerConfig(
    classes=NAMES, every=1, hidden=32, heads=2, feed_forward=32, queries=6, rounds=1, batch=4, steps=80,
    learning_rate=5e-3, flip=False, scales=(1, 1), sampling_steps=2,
)  # fmt: skip


@functools.cache
def _built(arch, size):
    small = dict(unet_layers=(1, 1), unet_widths=(16, 32, 32)) if arch == "unet" else dict(layers=2)
    generator = bases.base(arch, 0, size=size, **small)
    batch(generator)
    generator.denoiser.requires_grad_(False)
    return generator


def base(arch="unet", size=8):
    return copy.deepcopy(_built(arch, size))


def scenes(n=4, size=16, seed=0):
    """Sky above, road below, a car somewhere on it; the car's left column is not labelled."""
    draw = torch.Generator().manual_seed(seed)
    colours = torch.tensor([[90, 90, 90], [200, 40, 40], [120, 170, 230]])
    found = []
    for i in range(n):
        horizon = size // 2 - i % 2
        labels = torch.zeros(size, size, dtype=torch.long)
        labels[:horizon] = 2
        x = int(torch.randint(1, size - 6, (1,), generator=draw))
        labels[horizon + 1 : horizon + 6, x : x + 5] = 1
        picture = colours[labels] + torch.randint(-10, 10, (size, size, 3), generator=draw)
        labels[horizon + 1 : horizon + 6, x] = 255
        found.append((picture.clamp(0, 255).to(torch.uint8), labels.to(torch.uint8), "street"))
    return found


def decoder(channels=(8, 8, 8), size=(8, 8), **changes):
    torch.manual_seed(0)
    return LabelDecoder(SMALL.model_copy(update=changes), list(channels), size)


def levels(channels=(8, 8, 8), n=2, sizes=(2, 4, 8)):
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(n, c, s, s, generator=draw) for c, s in zip(channels, sizes, strict=True)]


def mean_iou(found, truth):
    return miou(truth.numpy(), found.numpy(), len(NAMES))


# --- features -------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ARCHS)
def test_reading_features_changes_no_output_and_leaves_nothing(arch):
    generator = base(arch)
    before = predicted(generator)
    processors = [m.processor for m in generator.denoiser.modules() if hasattr(m, "processor")]
    with Features(generator, every=1) as features:
        assert torch.equal(predicted(generator), before)
        once = [x.shape for x in features.levels()]
        predicted(generator)
        assert [x.shape for x in features.levels()] == once  # the pass before was cleared
        assert [x.shape[0] for x in features.levels(last=1)] == [1] * len(once)
    assert [m.processor for m in generator.denoiser.modules() if hasattr(m, "processor")] == processors
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in generator.denoiser.modules())
    channels = {s[-2:]: s[1] for s in once}
    tokens = 8  # of a text here
    if arch == "unet":  # levels of 32, 32 and 16 channels; the two lower ones hear the text
        assert channels == {(2, 2): 32 + 2 * tokens, (4, 4): 32 + 2 * tokens, (8, 8): 16}
    else:
        assert channels == {(2, 2): 2 * 32 + (2 * tokens if arch == "pixart" else 0)}


@pytest.mark.parametrize("arch", ARCHS)
def test_under_guidance_the_condition_s_half_is_read(arch):
    generator = base(arch)
    x, t, cond = batch(generator)
    null = generator.condition.null(3)
    with torch.no_grad(), Features(generator, every=1) as features:
        generator.predict(x, t, cond)
        alone = features.levels()
        generator.predict(
            torch.cat([x, x]), torch.cat([t, t]), {k: torch.cat([null[k], v]) for k, v in cond.items()}
        )
        kept, whole = features.levels(last=3), features.levels()
    for one, last, both in zip(alone, kept, whole, strict=True):
        assert torch.allclose(last, one, atol=1e-4) and both.shape[0] == 6
        assert not torch.allclose(
            both[:3], one, atol=1e-2
        )  # what the null condition leaves is something else


def test_sdxl_is_read_where_the_paper_reads_it():
    unet = meta_denoiser("sdxl")
    where = {id(m): name for name, m in unet.named_modules()}
    assert [where[id(m)] for m in feature_blocks(unet)] == [
        "up_blocks.0.attentions.2", "up_blocks.1.attentions.2", "up_blocks.2.resnets.2",
    ]  # fmt: skip
    names = [where[id(m)] for m in cross_attentions(unet)]
    assert len(names) == 36 and len(names[::7]) == 6
    assert [n.split(".")[1] for n in names[::7]] == ["0"] * 5 + ["1"]
    assert names[::7][-1] == names[-1] == "up_blocks.1.attentions.2.transformer_blocks.1.attn2"


@pytest.mark.parametrize("arch", ["unet", "pixart"])
def test_attention_rows_sum_to_one_and_are_the_ones_used(arch):
    generator = base(arch)
    attn = cross_attentions(generator.denoiser)[0]
    seen = {}

    def spy(module, args, kwargs, out):
        x = args[0]
        told, mask = kwargs["encoder_hidden_states"], kwargs.get("attention_mask")
        p = probabilities(module, x, told, mask)  # [B,H,N,L]
        value = module.to_v(told).unflatten(-1, (module.heads, -1)).transpose(1, 2)
        seen["p"], seen["again"], seen["out"] = (
            p,
            module.to_out[0]((p @ value).transpose(1, 2).flatten(2)),
            out,
        )

    hook = attn.register_forward_hook(spy, with_kwargs=True)
    x, t, cond = batch(generator, n=2)
    if arch == "pixart":
        cond["mask"] = cond["mask"].clone()
        cond["mask"][:, 3:] = 0
    with torch.no_grad():
        generator.predict(x, t, cond)
    hook.remove()
    assert (seen["p"].sum(-1) - 1).abs().max() < 1e-6 and seen["p"].std() > 0
    assert torch.allclose(seen["again"], seen["out"], atol=1e-5)
    if arch == "pixart":
        assert seen["p"][..., 3:].max() < 1e-6  # masked words are not attended to


def test_heads_are_averaged_or_kept():
    generator = base("pixart")
    maps = []
    for keep in (False, True):
        with Features(generator, every=2, keep_heads=keep) as features:
            assert (
                sum(isinstance(m.processor, KeptAttention) for m in cross_attentions(generator.denoiser)) == 1
            )
            predicted(generator)
            maps.append(features.levels()[0])
    mean, kept = maps
    assert mean.shape[1] == 64 + 8 and kept.shape[1] == 64 + 16
    # block 0, its attention's maps, block 1: the maps come in the order of the pass
    place = [x.shape[1] - 64 for x in maps]
    both = [_attention_part(x, n) for x, n in zip(maps, place, strict=True)]
    assert torch.allclose(both[0], both[1].unflatten(1, (2, 8)).mean(1), atol=1e-6)
    assert torch.allclose(both[0].sum(1), torch.ones(3, 2, 2), atol=1e-5)


def _attention_part(x, n):
    return x[:, :n]  # attention runs inside block 0, whose own output follows


def test_the_last_step_of_the_sampler():
    assert last_step(Betas(linear(1000)), 25) == 39
    flow = [last_step(Flow(shift=s), 25) for s in (1.0, 3.0)]
    assert 0 < flow[0] < flow[1] < 200  # a shift leaves more noise at the last step


# --- decoder --------------------------------------------------------------------------------


def test_shapes_and_layers():
    model = decoder(rounds=3)
    said = model(levels())
    assert (
        len(said) == 1 + 3 * 2 and len(model.decoder.layers) == 6
    )  # two levels of memory; the finest is for masks
    assert said[-1].classes.shape == (2, 6, 4) and said[-1].masks.shape == (2, 6, 8, 8)
    single = decoder(channels=(8,), size=(8, 8), rounds=3)
    out = single([torch.randn(2, 8, 2, 2)])
    assert len(out) == 1 + 3 and out[-1].masks.shape == (2, 6, 8, 8)  # grown from 2 to the latent's 8


def test_a_query_whose_mask_is_empty_everywhere_gives_no_nan():
    model = decoder()
    with torch.no_grad():  # mask features of 1, a mask head of −1: every pixel is blocked for every query
        model.pixels.last.weight.zero_()
        model.pixels.last.bias.fill_(1.0)
        head = model.decoder.mask_predictor.mask_embedder.layers[-1].layers[0]
        head.weight.zero_()
        head.bias.fill_(-1.0)
    said = model(levels())
    assert (said[0].masks < 0).all()
    loss = train.loss(said, torch.stack([s[1] for s in scenes(2, 8)]), SMALL, torch.Generator())
    loss.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert loss.isfinite() and all(g.isfinite().all() for g in grads)
    assert all(part.isfinite().all() for layer in said for part in layer)


def test_queries_do_not_see_outside_their_masks():
    """What lies where a query's mask is off changes nothing of what it takes in; the same change inside does."""
    model = decoder(rounds=1).eval()
    attention = model.decoder.layers[0].cross_attn
    seen = []

    def told(place):
        def change(module, args, kwargs):
            if place is None:
                return args, kwargs
            memory = {name: kwargs[name].clone() for name in ("key", "value")}  # [N,B,hidden]
            for x in memory.values():
                x[place] += 5.0
            return args, kwargs | memory

        hooks = [
            attention.register_forward_pre_hook(change, with_kwargs=True),
            attention.register_forward_hook(
                lambda m, args, kwargs, out: seen.append((kwargs["attn_mask"], *out)), with_kwargs=True
            ),
        ]
        with torch.no_grad():
            model(levels())
        for hook in hooks:
            hook.remove()
        return seen[-1]

    mask, before, weights = told(None)  # [B·heads,Q,N] true = blocked; [Q,B,hidden]; [B,Q,N] mean over heads
    blocked = mask.unflatten(0, (2, 2))[:, 0]
    assert blocked.any() and not blocked.all(-1).any()
    assert weights[blocked].abs().max() == 0 and (weights.sum(-1) - 1).abs().max() < 1e-5
    for place in range(blocked.shape[-1]):
        moved = (told(place)[1] - before).abs().amax(-1).T  # [B,Q]
        assert torch.equal(moved == 0, blocked[..., place])


# --- losses ---------------------------------------------------------------------------------


def queries(n=1, size=8, seed=0):
    draw = torch.Generator().manual_seed(seed)
    shapes = (n, 6, 4), (n, 6, size, size)
    return Queries(*(torch.randn(shape, generator=draw).requires_grad_() for shape in shapes))


@pytest.mark.parametrize("points", [12544, 20])
def test_ignored_pixels_give_zero_gradient(points):
    labels = torch.stack([scenes(1, 8)[0][1]])
    labels[0, 5:, 2:5] = 255
    said = queries()
    train.loss(
        [said], labels, SMALL.model_copy(update={"points": points}), torch.Generator().manual_seed(0)
    ).backward()
    ignored = labels[0] == 255
    assert said.masks.grad[0][:, ignored].abs().max() == 0
    assert said.masks.grad[0][:, ~ignored].abs().max() > 0


def test_a_map_of_nothing_known_is_left_out():
    labels = torch.full((2, 8, 8), 255, dtype=torch.uint8)
    said = queries(2)
    value = train.loss([said], labels, SMALL, torch.Generator())
    value.backward()
    assert value == 0 and not said.masks.grad.any() and not said.classes.grad.any()
    labels[0] = scenes(1, 8)[0][1]
    said = queries(2)
    train.loss([said], labels, SMALL, torch.Generator()).backward()
    assert said.classes.grad[0].any() and not said.classes.grad[1].any() and not said.masks.grad[1].any()


def test_matching_finds_the_query_that_draws_each_mask():
    labels = scenes(1, 8)[0][1]
    classes, masks, places = train.masks_of(labels)
    assert classes.tolist() == [0, 1, 2] and torch.equal(masks.sum(0), torch.ones(len(places)))
    order = [4, 0, 2]  # the query that draws class 0, 1, 2
    said = Queries(torch.zeros(6, 4), torch.full((6, 8, 8), -5.0))
    for k, q in enumerate(order):
        said.classes[q, k] = 5.0
        said.masks[q][labels == k] = 5.0
    rows, columns = train.match(said.classes, train.logits_at(said.masks, places), classes, masks, SMALL)
    assert {int(c): int(r) for r, c in zip(rows, columns, strict=True)} == dict(enumerate(order))


def test_auxiliary_losses_add_every_layer():
    labels = torch.stack([scenes(1, 8)[0][1]])
    layers = [queries(seed=s) for s in (0, 1)]
    alone = [train.loss([one], labels, SMALL, torch.Generator()) for one in layers]
    assert torch.allclose(train.loss(layers, labels, SMALL, torch.Generator()), alone[0] + alone[1])
    last = SMALL.model_copy(update={"auxiliary": False})
    assert torch.equal(train.loss(layers, labels, last, torch.Generator()), alone[1])


def test_no_object_weighs_a_tenth():
    labels = torch.zeros(1, 8, 8, dtype=torch.uint8)
    said = Queries(torch.zeros(1, 6, 4), torch.zeros(1, 6, 8, 8))
    said.classes[0, :, 3] = 2.0
    config = SMALL.model_copy(update={"mask_weight": 0.0, "dice_weight": 0.0, "class_weight": 1.0})
    logs = said.classes[0, 0].log_softmax(-1)
    expected = -(logs[0] + 0.1 * 5 * logs[3]) / (1 + 0.1 * 5)
    assert train.loss([said], labels, config, torch.Generator()).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


# --- pictures, training, prediction -----------------------------------------------------------


def test_augmented_maps_stay_with_their_pictures():
    picture, labels, _ = scenes(1, 16)[0]
    shown = torch.stack([labels] * 3, dim=-1)  # a picture that is its own map
    config = SMALL.model_copy(update={"flip": True, "scales": (0.5, 2.0)})
    draw = torch.Generator().manual_seed(0)
    some = [train.augmented(shown, labels, config, draw) for _ in range(20)]
    assert all(p.shape == (16, 16, 3) and m.shape == (16, 16) and m.dtype == torch.uint8 for p, m in some)
    outside = [int((m == 255).sum()) for _, m in some]
    assert max(outside) > 64  # shrunk: what lies around is ignored
    for p, m in some:
        inside = (m == 2) & (p[..., 0] != 128)
        assert (p[..., 0][inside] == 2).float().mean() > 0.7  # borders are blended in the picture alone
    assert train.augmented(picture, labels, SMALL, draw)[0] is picture


def test_class_scores_leave_no_object_out():
    said = Queries(
        torch.tensor([[[0.0, 9.0, 0.0, 0.0], [0.0, 0.0, 0.0, 9.0]]]), torch.full((1, 2, 4, 4), 9.0)
    )
    assert class_scores(said)[0, :, 0, 0].argmax() == 1
    assert (label_map(said, (8, 8)) == 1).all() and label_map(said, (8, 8)).shape == (1, 8, 8)


def test_a_picture_s_labels_do_not_depend_on_how_many_are_read_at_once(monkeypatch):
    generator, drawn = base("unet"), []
    model = train.train_labeller(generator, scenes(2, 8), SMALL.model_copy(update={"steps": 1}), 0)
    true = predict.features_of

    def spy(generator, features, z, cond, t, eps):
        drawn.append(eps)
        return true(generator, features, z, cond, t, eps)

    monkeypatch.setattr(predict, "features_of", spy)
    pictures = torch.stack([e[0] for e in scenes(3, 8)])
    cond = generator.condition.encode(["street"] * 3)
    found = [label_pictures(generator, model, pictures, cond, seed=9, batch=n) for n in (3, 2, 1)]
    noise = torch.cat(drawn).unflatten(0, (3, 3))
    assert torch.equal(noise[0], noise[1]) and torch.equal(noise[0], noise[2])
    assert not torch.equal(noise[0, 0], noise[0, 1])
    assert all((one == found[0]).float().mean() > 0.99 for one in found)


def test_four_pictures_are_learnt(tmp_path):
    generator = base("unet")
    attach(CaLora(select="random", share=0.2, rank=2), generator, 0)  # features of a tuned generator
    generator.denoiser.requires_grad_(False)
    before = {name: x.clone() for name, x in generator.denoiser.state_dict().items()}
    examples, losses = scenes(4, 8), []
    config = SMALL.model_copy(update={"sampling_steps": 25, "steps": 120})  # read at t = 39, nearly clean
    model = train.train_labeller(generator, examples, config, 0, lambda step, value: losses.append(value))
    pictures, truth = (torch.stack([e[i] for e in examples]) for i in (0, 1))
    cond = generator.condition.encode(["street"] * 4)
    found = label_pictures(generator, model, pictures, cond, seed=9)
    assert len(losses) == config.steps and losses[-1] < losses[0]
    assert mean_iou(found, truth) > 0.95
    assert all(torch.equal(x, before[name]) for name, x in generator.denoiser.state_dict().items())
    save_labeller(model, generator, tmp_path)
    opened = open_labeller(tmp_path, generator)
    assert torch.equal(label_pictures(generator, opened, pictures, cond, seed=9), found)
    with pytest.raises(UserError, match="features of another generator"):
        open_labeller(tmp_path, base("unet"))


@pytest.mark.parametrize("arch", ARCHS)
def test_pictures_come_with_label_maps(arch):
    generator = base(arch)
    quick = SMALL.model_copy(update={"steps": 1})
    prompt = bases.LABELS[0] if arch == "dit" else "street"
    examples = [(p, m, prompt) for p, m, _ in scenes(2, 8)]
    model = train.train_labeller(generator, examples, quick, 0)
    cond = generator.condition.encode([prompt] * 3)
    pictures, labels = sample_pairs(generator, model, cond, 5.0, [1, 2, 3], batch=2)
    assert pictures.shape == (3, 8, 8, 3) and labels.shape == (3, 8, 8) and labels.max() < 3
    again = sample_pairs(generator, model, cond, 5.0, [1, 2, 3], batch=2)
    assert torch.equal(again[0], pictures) and torch.equal(again[1], labels)
    twice = train.train_labeller(generator, examples, quick, 0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twice.parameters(), strict=True))


def test_a_class_that_there_is_not_is_refused():
    picture, labels, prompt = scenes(1, 8)[0]
    labels[0, 0] = 7
    with pytest.raises(UserError, match="label map 0: class 7"):
        train.train_labeller(base(), [(picture, labels, prompt)], SMALL, 0)
