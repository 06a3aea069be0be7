import torch

from edgekit.engine.pixels import pixel_values
from edgekit.models.nano import WINDOWED_CONTRACT
from edgekit.models.patches import patches_by_matrix


def test_same_numbers_and_gradients_as_the_convolution(model, frames):
    pixels = torch.from_numpy(pixel_values(frames[:2], WINDOWED_CONTRACT)[0])
    embed, results = model.model.visual.patch_embed, []
    weight = embed.proj.weight
    for by_matrix in (False, True):
        if by_matrix:
            with patches_by_matrix(model), patches_by_matrix(model):
                out = embed(pixels)
        else:
            out = embed(pixels)
        (grad,) = torch.autograd.grad(out.square().mean(), weight)
        results.append((out.detach(), grad))
    (a, ga), (b, gb) = results
    assert a.abs().max() > 0.1
    assert (a - b).abs().max() < 1e-5 and (ga - gb).abs().max() < 1e-5
    assert "forward" not in vars(embed)
