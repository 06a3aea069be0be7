"""Distances between clouds against closed forms and hand-made clouds; label maps and boxes against counts by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.generators.quality.distance import (
    Boxes,
    average_precision,
    clip_score,
    cmmd,
    frechet,
    inside,
    iou,
    iou_by_class,
    kernel,
    mean_average_precision,
    miou,
    nearest,
    nearest_rows,
    precision_recall,
)

torch.set_num_threads(1)


def cloud(n=60, d=5, seed=0, shift=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(size=(n, d)) * scale + shift


def with_moments(n, mean, cov, seed=0):
    """A cloud whose sample mean and covariance are these exactly: then the distance has a closed form."""
    x = cloud(n, len(mean), seed)
    x -= x.mean(axis=0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T)).T)
    return white @ np.linalg.cholesky(cov).T + mean


# --- Fréchet ---------------------------------------------------------------------------------


def test_gaussians_of_known_moments():
    # Commuting covariances: ‖μ‖² + Σ (σ1 − σ2)².
    a = with_moments(40, np.zeros(3), np.diag([1.0, 4.0, 9.0]))
    b = with_moments(50, np.array([1.0, 2.0, 0.0]), np.diag([4.0, 1.0, 16.0]), seed=1)
    assert frechet(a, b) == pytest.approx(5 + 1 + 1 + 1, rel=1e-9)


def test_covariances_that_do_not_commute():
    """Of 2 × 2 matrices the trace of a root is √(Tr P + 2 √det P), P = Σ1 Σ2."""
    one, two = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[3.0, 0.0], [0.0, 0.5]])
    product = one @ two
    root = math.sqrt(np.trace(product) + 2 * math.sqrt(np.linalg.det(product)))
    want = np.trace(one) + np.trace(two) - 2 * root
    got = frechet(with_moments(30, np.zeros(2), one), with_moments(30, np.zeros(2), two, 3))
    assert got == pytest.approx(want, rel=1e-9)


def test_a_cloud_is_at_zero_from_itself_at_every_rank():
    for n in (2, 10, 64, 200):  # 2 and 10 rows: rank below 64
        assert frechet(cloud(n, 64), cloud(n, 64)[::-1]) < 1e-9


def test_fewer_pictures_than_numbers():
    # One direction each, at right angles: no shared spread, so the distance is the sum of both traces.
    a, b = np.zeros((2, 6)), np.zeros((2, 6))
    a[:, 0], b[:, 1] = (-1, 1), (-3, 3)
    assert frechet(a, b) == pytest.approx(2 + 18, rel=1e-12)
    # The same direction: (√2 − √18)².
    assert frechet(a, 3 * a) == pytest.approx((math.sqrt(2) - math.sqrt(18)) ** 2, rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_rotation_a_shift_and_an_order_change_nothing(seed):
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(12, 4)), random.normal(size=(9, 4)) * 2 + 1
    turn = np.linalg.qr(random.normal(size=(4, 4)))[0]
    want = frechet(a, b)
    assert frechet(a @ turn + 5, b @ turn + 5) == pytest.approx(want, rel=1e-8)
    assert frechet(b, random.permutation(a)) == pytest.approx(want, rel=1e-8)
    assert frechet(2 * a, 2 * b) == pytest.approx(4 * want, rel=1e-8)


# --- kernels ---------------------------------------------------------------------------------


def test_one_subset_of_everything_is_the_formula():
    a, b, n = cloud(5, 3), cloud(5, 3, 1), 5

    def k(x, y):
        return (float(x @ y) / 3 + 1) ** 3

    inner = [sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1)) for x in (a, b)]
    want = sum(inner) - 2 * sum(k(x, y) for x in a for y in b) / n**2
    mean, std = kernel(a, b, subsets=3, size=5)
    assert mean == pytest.approx(want, rel=1e-9) and std < 1e-9


def test_the_estimate_is_unbiased():
    """Over pairs of clouds of one distribution its mean is 0 within its standard error; a biased one's is not."""
    found = [kernel(cloud(20, 4, 2 * i), cloud(20, 4, 2 * i + 1), subsets=1, size=20)[0] for i in range(300)]
    error = np.std(found) / math.sqrt(len(found))
    assert abs(np.mean(found)) < 4 * error
    diagonal = (
        np.mean([((x * x).sum(axis=1) / 4 + 1) ** 3 for x in (cloud(20, 4, i) for i in range(20))]) / 20
    )
    assert diagonal > 8 * error, "the diagonals, had they been left in, would show"


def test_the_kernel_distance_tells_a_shift_and_repeats():
    a, b = cloud(80), cloud(80, seed=1)
    same, std = kernel(a, b)
    assert abs(same) < 3 * std and std > 0, "subsets of small clouds differ"
    assert kernel(a, b + 2)[0] > 10 * std
    assert kernel(a, b) == kernel(a, b) != kernel(a, b, seed=1)


def test_cmmd_is_the_biased_estimate():
    a, b = cloud(7, 3), cloud(9, 3, 1)
    x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (a, b))

    def mean(p, q):
        return np.exp(-((p[:, None] - q[None]) ** 2).sum(axis=2) / 200).mean()

    assert cmmd(a, b) == pytest.approx(1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y)), abs=1e-9)
    assert cmmd(a, a) == pytest.approx(0, abs=1e-9) and cmmd(3 * a, b) == pytest.approx(cmmd(a, b), abs=1e-9)
    # Two opposite points: 2 (1 − exp(−4 / 2σ²)).
    e = np.array([[1.0, 0.0]])
    assert cmmd(e, -e, sigma=1, scale=1) == pytest.approx(2 * (1 - math.exp(-2)), rel=1e-12)


def test_clip_score_counts_no_negative_cosine():
    images, texts = np.array([[1.0, 0], [0, 2], [3, 0]]), np.array([[2.0, 0], [1, 1], [-1, 0]])
    assert clip_score(images, texts) == pytest.approx(100 * (1 + math.sqrt(0.5) + 0) / 3)
    with pytest.raises(ValueError, match="no pairs"):
        clip_score(images, texts[:2])


# --- neighbours ------------------------------------------------------------------------------


def test_fakes_on_one_mode_are_precise_and_recall_half():
    one, two = cloud(30, 3, 0, 0, 0.1), cloud(30, 3, 1, 50, 0.1)
    real, fake = np.concatenate([one, two]), one[::2]
    precision, recall = precision_recall(real, fake)
    assert precision == 1 and 0.4 < recall <= 0.5
    assert precision_recall(fake, real)[::-1] == (precision, recall)


def test_equal_clouds_and_clouds_apart():
    a = cloud(40)
    assert precision_recall(a, a[::-1]) == (1, 1)
    assert precision_recall(a, a + 100) == (0, 0)
    same = np.ones((6, 3))
    assert precision_recall(same, same) == (1, 1), "balls of radius 0 hold their own centre"


def test_balls_reach_the_kth_neighbour():
    line = np.array([[0.0], [1], [3], [7]])  # distances to the 2nd other one: 3, 2, 3, 6
    asked = np.array([[-3.0], [-3.1], [13.0], [13.1]])
    assert inside(line, asked, k=2).tolist() == [True, False, True, False]
    assert inside(line, np.array([[-1.1], [1.9], [11.0], [11.1]]), k=1).tolist() == [False, True, True, False]


def test_chunks_do_not_matter(monkeypatch):
    import edgekit.generators.quality.distance as module

    a, b = cloud(23), cloud(17, seed=1)
    whole = precision_recall(a, b), nearest(b, a).tolist(), cmmd(a, b)
    monkeypatch.setattr(module, "_CHUNK", 4)
    assert (precision_recall(a, b), nearest(b, a).tolist()) == whole[:2]
    assert cmmd(a, b) == pytest.approx(whole[2], abs=1e-9)


def test_the_nearest_of_a_copy_is_at_zero():
    a = cloud(20, 1000)
    distances, rows = nearest_rows(a[[3, 7]] + np.array([[0.0], [0.1]]), a)
    assert (
        distances[0] == 0 and rows.tolist() == [3, 7] and distances[1] == pytest.approx(0.1 * math.sqrt(1000))
    )


@pytest.mark.parametrize(
    ("measure", "rows"), [(frechet, 1), (kernel, 3), (precision_recall, 3), (cmmd, 0), (nearest, 0)]
)
def test_too_few_pictures_are_refused(measure, rows):
    measure(cloud(rows + 1), cloud(rows + 1))
    with pytest.raises(ValueError, match=f"of {rows + 1} rows or more"):
        measure(cloud(rows), cloud(9))
    with pytest.raises(ValueError):
        measure(cloud(9, 4), cloud(9, 5))
    broken = cloud(9)
    broken[0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        measure(broken, cloud(9))


# --- label maps and boxes --------------------------------------------------------------------


def test_iou_by_hand():
    truth = np.array([[[0, 0, 1, 1]], [[1, 255, 2, 2]]], np.uint8)
    said = np.array([[[0, 1, 1, 1]], [[1, 0, 255, 2]]], np.uint8)
    # 0: 1 of 2; 1: 3 of 4; 2: 1 of 2 (one pixel is said to be nothing); 3 is nowhere.
    assert iou_by_class(truth, said, 4)[:3].tolist() == [0.5, 0.75, 0.5]
    assert math.isnan(iou_by_class(truth, said, 4)[3])
    assert miou(truth, said, 4) == pytest.approx((0.5 + 0.75 + 0.5) / 3)
    assert math.isnan(miou(np.full((2, 2), 255), np.zeros((2, 2), int), 3))


def test_the_mean_is_over_the_dataset_not_over_pictures():
    truth = np.array([[1, 1, 1, 1], [1, 0, 0, 0]])
    said = np.array([[1, 1, 1, 1], [0, 0, 0, 0]])
    assert miou(truth, said, 2) == pytest.approx((4 / 5 + 3 / 4) / 2)
    with pytest.raises(ValueError, match="want 0..1 or 255"):
        miou(truth, said + 2, 2)
    with pytest.raises(ValueError, match="cannot be compared"):
        miou(truth, said[:1], 2)


def boxes(*rows):
    """Rows of (x0, y0, x1, y1, class, score)."""
    a = np.array(rows, float).reshape(-1, 6)
    return Boxes(a[:, :4], a[:, 4].astype(int), a[:, 5])


def test_iou_of_boxes():
    a = np.array([[0.0, 0, 2, 2], [1, 1, 1, 5]])
    b = np.array([[1.0, 0, 3, 2], [5, 5, 6, 6], [0, 0, 2, 2]])
    assert iou(a, b).tolist() == [[pytest.approx(1 / 3), 0, 1], [0, 0, 0]]


def test_average_precision_by_hand():
    true = [boxes((0, 0, 10, 10, 1, 0), (20, 0, 30, 10, 1, 0)), boxes((0, 0, 10, 10, 1, 0)), boxes()]
    said = [
        boxes((0, 0, 10, 10, 1, 0.9), (1, 0, 10, 10, 1, 0.8), (20, 0, 30, 10, 1, 0.3)),  # hit, double, hit
        boxes((0, 0, 10, 4, 1, 0.7)),  # overlaps .4 alone
        boxes((0, 0, 5, 5, 2, 0.99)),  # of another class
    ]
    # By score: hit, miss, miss, hit; of 3 true ones. Precision 1 at recall 1/3, 2/4 at 2/3, nothing beyond.
    assert average_precision(true, said, 1) == pytest.approx((1 + 0.5) / 3)
    assert average_precision(true, said, 1, threshold=0.4) == pytest.approx((1 + 3 / 4 + 3 / 4) / 3)
    assert math.isnan(average_precision(true, said, 2))
    mean, found = mean_average_precision(true, said, [1, 2])
    assert mean == pytest.approx(0.5) and math.isnan(found[2])


def test_a_second_box_takes_the_free_one():
    """Both said boxes overlap the first true one most; the less sure one still finds the second."""
    true = [boxes((0, 0, 10, 10, 0, 0), (2, 0, 12, 10, 0, 0))]
    said = [boxes((0, 0, 10, 10, 0, 0.9), (0.5, 0, 10.5, 10, 0, 0.8))]
    assert average_precision(true, said, 0) == 1


def test_nothing_said_is_zero_and_pictures_must_pair():
    true = [boxes((0, 0, 10, 10, 0, 0))]
    assert average_precision(true, [boxes()], 0) == 0
    with pytest.raises(ValueError, match="1 pictures of truth, 2 said"):
        average_precision(true, [boxes(), boxes()], 0)
