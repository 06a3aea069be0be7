"""The position-code trick: invariants of the codes, and generators at a larger size."""

import pytest
import torch
from diffusers.models.embeddings import PatchEmbed

from edgekit.core.errors import UserError
from edgekit.generators.adapters.adapter import attach
from edgekit.generators.adapters.difffit.config import DiffFit
from edgekit.generators.adapters.difffit.position import position_codes, set_latent_size, squeezed
from tests.unit.generators.adapters.bases import base, batch, predicted

torch.set_num_threads(1)
WIDTH = 1152


def codes(cells: int, base_cells: int) -> torch.Tensor:
    axis = squeezed(cells, base_cells)
    return position_codes(WIDTH, axis, axis).reshape(cells, cells, WIDTH)


def test_codes_are_the_ones_that_a_dit_is_built_with():
    built = PatchEmbed(height=32, width=32, patch_size=2, in_channels=4, embed_dim=WIDTH).pos_embed
    assert torch.equal(codes(16, 16).reshape(1, 256, WIDTH), built)


def test_codes_follow_the_formula():
    """Half of the channels for the column, half for the row; sines then cosines."""
    found = position_codes(8, torch.tensor([3.0]), torch.tensor([0.5, 7.0]))  # one row, two columns
    omega = torch.tensor([1.0, 10000**-0.5])
    for k, column in enumerate((0.5, 7.0)):
        want = torch.cat([f(omega * x) for x in (column, 3.0) for f in (torch.sin, torch.cos)])
        torch.testing.assert_close(found[k], want, atol=1e-6, rtol=0)


def test_the_trick_keeps_every_second_code():
    small, large = codes(16, 16), codes(32, 16)
    assert torch.equal(large[::2, ::2], small)
    assert squeezed(32, 16).max() == 15.5


def test_without_the_trick_three_quarters_are_positions_never_seen():
    plain = codes(32, 32)
    assert torch.equal(plain[:16, :16], codes(16, 16))
    assert squeezed(32, 32).max() == 31


def crop(generator) -> torch.Tensor:
    """[h, w, D] of the codes that a latent of the generator's size gets."""
    embed = generator.denoiser.pos_embed
    h, w = (side // embed.patch_size for side in generator.size)
    table = embed.cropped_pos_embed(*generator.size) if embed.pos_embed_max_size else embed.pos_embed
    return table.reshape(h, w, -1)


@pytest.mark.parametrize("arch", ["dit", "pixart", "mmdit"])
def test_a_generator_at_twice_the_size(arch):
    generator = base(arch)
    before, output, digest = crop(generator).clone(), predicted(generator), generator.digest()
    state = {name: t.clone() for name, t in generator.denoiser.state_dict().items()}
    undo = set_latent_size(generator, (32, 32))
    torch.testing.assert_close(crop(generator)[::2, ::2], before, atol=1e-6 if arch == "mmdit" else 0, rtol=0)
    assert crop(generator).shape[:2] == (8, 8)
    assert generator.digest() == digest  # weights load unchanged: codes are no part of what is checked
    assert predicted(generator).shape[-2:] == (32, 32)
    undo()
    assert torch.equal(crop(generator), before)
    assert torch.equal(predicted(generator), output)
    assert all(torch.equal(t, state[name]) for name, t in generator.denoiser.state_dict().items())


def test_codes_are_no_part_of_a_dits_checkpoint():
    generator = base("dit")
    set_latent_size(generator, (32, 32))
    assert not any("pos_embed.pos_embed" in name for name in generator.denoiser.state_dict())
    base("dit").denoiser.load_state_dict(generator.denoiser.state_dict())


@pytest.mark.parametrize("arch", ["dit", "pixart"])
def test_diffusers_own_way_at_a_larger_latent_gives_the_same(arch):
    """Fed a larger latent, diffusers makes these codes at every forward; here they are made once."""
    ours, theirs = base(arch), base(arch)
    set_latent_size(ours, (32, 32))
    theirs.size = (32, 32)
    torch.testing.assert_close(predicted(ours), predicted(theirs), atol=1e-6, rtol=0)
    set_latent_size(ours, (32, 32), scaled=False)
    assert (predicted(ours) - predicted(theirs)).abs().max() > 1e-3


def test_uneven_grids_keep_their_axes_apart():
    generator = base("pixart")
    set_latent_size(generator, (16, 32))
    table = crop(generator)  # [4, 8, D]; columns first in the channels
    half = table.shape[-1] // 2
    assert torch.equal(table[:, :, half:], table[:, :1, half:].expand_as(table[:, :, half:]))
    assert torch.equal(table[:, :, :half], table[:1, :, :half].expand_as(table[:, :, :half]))
    small = crop(base("pixart"))
    assert torch.equal(table[:, ::2], small)
    assert predicted(generator).shape[-2:] == (16, 32)


def test_an_sd3_unscaled_keeps_its_codes():
    generator = base("mmdit")
    table = generator.denoiser.pos_embed.pos_embed.clone()
    set_latent_size(generator, (32, 32), scaled=False)
    assert torch.equal(generator.denoiser.pos_embed.pos_embed, table)


def test_a_unet_takes_any_size_and_is_told_of_it():
    generator = base("unet")
    before = generator.condition.encode(["rain"])["time_ids"]
    undo = set_latent_size(generator, (32, 16))
    assert generator.condition.encode(["rain"])["time_ids"].tolist() == [[32, 16, 0, 0, 32, 16]]
    assert predicted(generator).shape[-2:] == (32, 16)
    undo()
    assert generator.size == (16, 16)
    assert torch.equal(generator.condition.encode(["rain"])["time_ids"], before)


@pytest.mark.parametrize(
    "arch, size, why",
    [
        ("dit", (18, 18), "patches"),
        ("dit", (16, 32), "equal sides"),
        ("mmdit", (64, 64), "table of positions"),
    ],
)
def test_sizes_that_cannot_be_are_refused(arch, size, why):
    generator = base(arch)
    with pytest.raises(UserError, match=why):
        set_latent_size(generator, size)
    assert generator.size == (16, 16)


def test_difffit_tunes_at_a_larger_size_and_goes_back():
    generator = base("dit")
    output = predicted(generator)
    adapter = attach(DiffFit(latent_size=(32, 32), table=False), generator, 0)
    assert adapter.facts()["latent_size"] == [32, 32]
    x, t, cond = batch(generator)
    assert x.shape[-2:] == (32, 32)
    generator.predict(x, t, cond).square().mean().backward()
    assert not any("class_embedder" in name for name in adapter.trainable())
    adapter.detach()
    assert torch.equal(predicted(generator), output)
