import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import UserError
from edgekit.distill.losses import common_vocabulary, distillation, divergence

floats = st.floats(-6, 6, allow_nan=False)
rows = st.lists(st.lists(floats, min_size=5, max_size=5), min_size=2, max_size=4)


@given(rows, rows, st.sampled_from(["forward", "reverse", "js"]), st.floats(0.5, 5))
def test_a_divergence_is_never_negative_and_zero_on_itself(a, b, kind, temperature):
    n = min(len(a), len(b))
    p, q = torch.tensor(a[:n], dtype=torch.float64), torch.tensor(b[:n], dtype=torch.float64)
    assert (divergence(q, p, temperature, kind) >= -1e-12).all()
    assert divergence(p, p, temperature, kind).abs().max() < 1e-9


def test_forward_and_reverse_change_places_and_js_is_symmetric_and_bounded():
    torch.manual_seed(0)
    p, q = torch.randn(6, 9), 3 * torch.randn(6, 9)
    assert torch.allclose(divergence(q, p, 1.0, "forward"), divergence(p, q, 1.0, "reverse"), atol=1e-6)
    js = divergence(q, p, 1.0, "js")
    assert torch.allclose(js, divergence(p, q, 1.0, "js"), atol=1e-6)
    assert (js <= math.log(2) + 1e-6).all()


def test_forward_kl_is_the_library_s():
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 9), torch.randn(6, 9)
    ours = divergence(student, teacher, 2.0)
    theirs = torch.nn.functional.kl_div(
        torch.log_softmax(student / 2, -1),
        torch.log_softmax(teacher / 2, -1),
        log_target=True,
        reduction="none",
    ).sum(-1)
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_the_mix_has_both_ends():
    torch.manual_seed(1)
    student, teacher = torch.randn(6, 9), torch.randn(6, 9)
    targets, weights = torch.randint(0, 9, (6,)), torch.ones(6)
    hard, _ = distillation(student, None, targets, weights, alpha=0.0, temperature=2.0)
    assert torch.allclose(hard, torch.nn.functional.cross_entropy(student, targets))
    soft, told = distillation(student, teacher, targets, weights, alpha=1.0, temperature=3.0)
    assert soft.item() == pytest.approx(9 * told["kl"], rel=1e-5)


def test_the_size_of_the_soft_gradient_hardly_depends_on_the_temperature():
    """What T² is for (Hinton et al. 2015): without it the gradient would fall by 16 from T 4 to 16."""
    torch.manual_seed(2)
    teacher, targets = torch.randn(64, 9), torch.zeros(64, dtype=torch.long)
    norms = []
    for temperature in (4.0, 16.0):
        student = torch.randn(64, 9, generator=torch.Generator().manual_seed(3)).requires_grad_()
        loss, _ = distillation(student, teacher, targets, torch.ones(64), alpha=1.0, temperature=temperature)
        loss.backward()
        norms.append(student.grad.norm().item())
    assert 0.6 < norms[1] / norms[0] < 1.6


def test_a_token_of_weight_zero_teaches_nothing():
    student = torch.randn(4, 9, requires_grad=True)
    loss, _ = distillation(
        student,
        torch.randn(4, 9),
        torch.zeros(4, dtype=torch.long),
        torch.tensor([1.0, 0, 1, 0]),
        alpha=0.5,
        temperature=2.0,
    )
    loss.backward()
    assert student.grad[1].abs().max() == 0 and student.grad[3].abs().max() == 0
    assert student.grad[0].abs().max() > 0


def test_padded_vocabularies_are_cut_to_the_real_one_and_a_short_one_is_refused():
    assert common_vocabulary(151936, 152064, 151665) == 151665
    with pytest.raises(UserError, match="vocabulary"):
        common_vocabulary(2048, 152064, 151665)
