import copy
import itertools
import json
import math
import pickle

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import layerwise as lw
from layerwise.measures import (
    ClassMoments,
    Estimate,
    bias_collapse,
    centred_spectrum,
    d_lr,
    nc1,
    nc2,
    nc3,
    nc3_zhu,
    nc4,
    neural_collapse,
    rank_of_spectrum,
    simplex,
    top_energy,
)

LIBRARIES = pytest.mark.parametrize(
    "xp", [np, torch, array_api_strict], ids=["numpy", "torch", "strict"]
)
BOTH = pytest.mark.parametrize("weighted", [False, True])
SEEDS = st.integers(0, 2**32 - 1)
# (N, d, C): wide, classes as many as numbers, more classes than numbers, two classes, one number
SIZES = pytest.mark.parametrize(
    "size", [(40, 7, 4), (50, 5, 5), (60, 3, 8), (12, 4, 2), (20, 1, 3)]
)


def in_library(xp, *arrays):
    return [
        xp.asarray(a.tolist(), dtype=xp.int64 if a.dtype.kind == "i" else xp.float64)
        for a in map(np.asarray, arrays)
    ]


def problem(seed, N, d, C, sd=0.5):
    """Return features of classes of unequal size, off the origin, and a classifier."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(C), rng.integers(0, C, N - C) ** 2 % C])
    rng.shuffle(labels)
    means = 1 + rng.standard_normal((C, d))
    features = means[labels] + sd * rng.standard_normal((N, d))
    return features, labels, rng.standard_normal((C, d)), rng.standard_normal(C)


def etf(C, d, seed=0):
    """Return C rows of norm 1 in d >= C dimensions that are an exact simplex, turned at random."""
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))
    frame = (np.eye(C) - 1 / C) * math.sqrt(C / (C - 1))
    return frame @ turn[:C]


class ByLoops:
    """The definitions, term by term."""

    def __init__(self, features, labels, weighted=False):
        self.h, self.y = features, labels
        self.N, self.C = len(features), int(labels.max()) + 1
        self.mu = []
        for c in range(self.C):
            rows = [h for h, y in zip(features, labels, strict=True) if y == c]
            self.mu.append(sum(rows) / len(rows))
        self.centre = sum(self.h) / self.N if weighted else sum(self.mu) / self.C
        self.offsets = [m - self.centre for m in self.mu]

    def within(self):
        gaps = [h - self.mu[y] for h, y in zip(self.h, self.y, strict=True)]
        return sum(np.outer(g, g) for g in gaps) / self.N

    def between(self):
        return sum(np.outer(a, a) for a in self.offsets) / self.C

    def nc1(self, form):
        if form == "projected":
            inverse = np.linalg.pinv(self.between(), rcond=1e-12)
            return np.trace(self.within() @ inverse) / self.C
        if form == "quotient":
            return np.trace(self.within()) / np.trace(self.between())
        v = [
            np.mean([sum((h - self.mu[c]) ** 2) for h in self.h[self.y == c]])
            for c in range(self.C)
        ]
        pairs = itertools.permutations(range(self.C), 2)
        return np.mean(
            [(v[c] + v[k]) / (2 * sum((self.mu[c] - self.mu[k]) ** 2)) for c, k in pairs]
        )

    def simplex(self, rows):
        norms = [math.sqrt(sum(r * r)) for r in rows]
        pairs = list(itertools.permutations(range(self.C), 2))
        cosines = [rows[c] @ rows[k] / (norms[c] * norms[k]) for c, k in pairs]
        gram = np.array([[a @ b for a in rows] for b in rows])
        return (
            np.std(norms) / np.mean(norms),
            np.std(cosines),
            np.mean([abs(cos + 1 / (self.C - 1)) for cos in cosines]),
            self.from_frame(gram),
        )

    def from_frame(self, product):
        ideal = (np.eye(self.C) - 1 / self.C) / math.sqrt(self.C - 1)
        return np.linalg.norm(product / np.linalg.norm(product) - ideal)

    def nc3(self, weight):
        offsets = np.array(self.offsets)
        return np.sum((weight / np.linalg.norm(weight) - offsets / np.linalg.norm(offsets)) ** 2)

    def nc4(self, weight, bias):
        differ = 0
        for h in self.h:
            logits = [w @ h + b for w, b in zip(weight, bias, strict=True)]
            distances = [sum((h - m) ** 2) for m in self.mu]
            differ += int(np.argmax(logits)) != int(np.argmin(distances))
        return differ / self.N


# ---------------------------------------------------------------- definitions


@LIBRARIES
@BOTH
@SIZES
@pytest.mark.parametrize("form", ["projected", "quotient", "cdnv"])
def test_nc1_is_its_definition(xp, weighted, size, form):
    features, labels, _, _ = problem(0, *size)
    found = nc1(*in_library(xp, features, labels), form, weighted=weighted)
    expected = ByLoops(features, labels, weighted).nc1(form)
    assert isinstance(found, float)
    assert found == pytest.approx(expected, rel=1e-10)
    _, d, C = size
    assert found.rank == min(C - 1, d)


@LIBRARIES
@BOTH
@SIZES
def test_nc2_is_its_definition(xp, weighted, size):
    features, labels, weight, _ = problem(1, *size)
    found = nc2(*in_library(xp, features, labels, weight), weighted=weighted)
    loops = ByLoops(features, labels, weighted)
    means = (found.equinorm, found.equiangular, found.angle, found.etf)
    np.testing.assert_allclose(means, loops.simplex(loops.offsets), rtol=1e-10, atol=1e-12)
    rows = found.classifier
    rows = (rows.equinorm, rows.equiangular, rows.angle, rows.etf)
    np.testing.assert_allclose(rows, loops.simplex(weight), rtol=1e-10, atol=1e-12)
    centred = nc2(*in_library(xp, features, labels, weight), centre_weight=True)
    assert centred.classifier.angle == pytest.approx(
        simplex(weight - weight.mean(axis=0)).angle, rel=1e-10, abs=1e-12
    )


@LIBRARIES
@BOTH
@SIZES
def test_nc3_and_the_bias_are_their_definitions(xp, weighted, size):
    features, labels, weight, bias = problem(2, *size)
    loops = ByLoops(features, labels, weighted)
    given = in_library(xp, features, labels, weight)
    found = nc3(*given, weighted=weighted)
    assert isinstance(found, float)
    assert found == pytest.approx(loops.nc3(weight), rel=1e-10)
    centred = nc3(*given, weighted=weighted, centre_weight=True)
    assert centred == pytest.approx(loops.nc3(weight - weight.mean(axis=0)), rel=1e-10)
    product = weight @ np.array(loops.offsets).T
    assert nc3_zhu(*given, weighted=weighted) == pytest.approx(loops.from_frame(product), rel=1e-10)
    moved = bias_collapse(*given, *in_library(xp, bias), weighted=weighted)
    assert moved == pytest.approx(np.linalg.norm(bias + weight @ loops.centre), rel=1e-10)


@LIBRARIES
@SIZES
def test_nc4_is_its_definition(xp, size):
    features, labels, weight, bias = problem(3, *size)
    found = nc4(*in_library(xp, features, labels, weight, bias))
    assert isinstance(found, float)
    assert found == ByLoops(features, labels).nc4(weight, bias)


@LIBRARIES
@BOTH
@SIZES
def test_all_together_are_the_same_numbers(xp, weighted, size):
    given = in_library(xp, *problem(4, *size))
    found = neural_collapse(*given, weighted=weighted, centre_weight=True)
    options = {"weighted": weighted, "centre_weight": True}
    assert found.nc1 == nc1(*given[:2], weighted=weighted)
    assert found.quotient == nc1(*given[:2], "quotient", weighted=weighted)
    assert found.cdnv == nc1(*given[:2], "cdnv", weighted=weighted)
    assert found.nc2 == nc2(*given[:3], **options)
    assert found.nc3 == nc3(*given[:3], **options)
    assert found.nc4 == nc4(*given)
    assert found.bias == bias_collapse(*given, weighted=weighted)


@given(SEEDS, st.sampled_from([0.02, 0.1, 0.3, 1.0, 4.0]), st.sampled_from([0.0, 0.2, 1.0, 5.0]))
@settings(deadline=None, max_examples=60)
def test_the_short_cuts_of_nc4_change_no_answer(seed, sd, turned):
    """From collapsed to mixed classes, from the dual classifier to an unrelated one."""
    features, labels, weight, bias = problem(seed, 70, 6, 5, sd)
    means = np.array(ByLoops(features, labels).mu)
    weight = means + turned * weight
    bias = -(means**2).sum(axis=1) / 2 + turned * bias
    assert nc4(features, labels, weight, bias) == ByLoops(features, labels).nc4(weight, bias)


def test_the_short_cuts_of_nc4_hold_in_float32_over_many_blocks():
    rng = np.random.default_rng(5)
    means = rng.standard_normal((12, 40)).astype(np.float32)
    labels = rng.integers(0, 12, 6000)
    counts = []
    for sd, turned in itertools.product((0.05, 0.5, 1.0, 3.0), (0.0, 0.3, 3.0)):
        noise = rng.standard_normal((6000, 40)).astype(np.float32)
        features = 3 + means[labels] + np.float32(sd) * noise
        weight = (
            3 + means + np.float32(turned) * rng.standard_normal(means.shape).astype(np.float32)
        )
        h, w = features.astype(float), weight.astype(float)
        mu = np.stack([h[labels == c].mean(axis=0) for c in range(12)])
        distances = ((h[:, None] - mu) ** 2).sum(axis=-1)
        bias = -(mu**2).sum(axis=1) / 2
        differ = np.mean((h @ w.T + bias).argmax(axis=1) != distances.argmin(axis=1))
        counts.append(differ)
        # a sample on a boundary to rounding may fall on either side
        assert abs(nc4(features, labels, weight, bias) - differ) <= 1 / 6000
    assert min(counts) == 0
    assert max(counts) > 0.5


@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
def test_the_short_cuts_of_nc4_hold_for_many_classes(xp):
    """From classes far apart to mixed ones, from the dual classifier to none at all."""
    C, d, N = 600, 12, 900
    features, labels, _, _ = problem(6, N, d, C, 1.0)
    loops = np.stack([features[labels == c].mean(axis=0) for c in range(C)])
    noise = np.random.default_rng(6).standard_normal((C, d))
    found = []
    for turned in (0.0, 0.1, 3.0):
        for sd in (0.01, 1.0):
            h = loops[labels] + sd * (features - loops[labels])
            weight = loops + turned * noise
            bias = -(loops**2).sum(axis=1) / 2 + turned * noise[:, 0]
            distances = ((h[:, None] - loops) ** 2).sum(axis=-1)
            differ = np.mean((h @ weight.T + bias).argmax(axis=1) != distances.argmin(axis=1))
            assert nc4(*map(xp.asarray, (h, labels, weight, bias))) == differ
            found.append(differ)
    assert min(found) == 0
    assert any(0.05 < differ < 0.5 for differ in found)
    assert max(found) > 0.9
    # all logits equal: the first class is answered
    none = nc4(h, labels, np.zeros((C, d)), None)
    assert none == np.mean(distances.argmin(axis=1) != 0)


# ---------------------------------------------------------------- closed forms


@LIBRARIES
@pytest.mark.parametrize("C", [2, 3, 10])
def test_an_exact_simplex_has_collapsed(xp, C):
    frame = etf(C, 12)
    labels = np.repeat(np.arange(C), 3)
    features = 0.7 + 2.5 * frame[labels]
    given = in_library(xp, features, labels, 0.3 * frame, -0.3 * frame @ np.full(12, 0.7))
    found = neural_collapse(*given)
    assert found.nc1 < 1e-28
    assert found.quotient < 1e-28
    assert found.nc1.rank == C - 1
    for each in (found.nc2, found.nc2.classifier):
        assert max(each.equinorm, each.equiangular, each.angle, each.etf) < 1e-13
    assert found.nc3 < 1e-28
    assert nc3_zhu(*given[:3]) < 1e-13
    assert found.nc4 == 0
    assert found.bias < 1e-14


@pytest.mark.parametrize("C", [2, 5, 10])
def test_an_orthogonal_frame_has_the_known_offset_of_self_duality(C):
    turn, _ = np.linalg.qr(np.random.default_rng(C).standard_normal((C + 3, C + 3)))
    frame, labels = turn[:C], np.repeat(np.arange(C), 2)
    features = 3 * frame[labels]
    offset = 2 - 2 * math.sqrt((C - 1) / C)
    assert nc3(features, labels, frame) == pytest.approx(offset, rel=1e-12)
    assert nc3(features, labels, frame, centre_weight=True) < 1e-28
    found = nc2(features, labels, frame)
    assert max(found.equinorm, found.angle, found.etf) < 1e-13
    assert found.classifier.angle == pytest.approx(1 / (C - 1), rel=1e-12)
    assert found.classifier.equiangular < 1e-15
    identity = np.eye(C) / math.sqrt(C) - (np.eye(C) - 1 / C) / math.sqrt(C - 1)
    assert found.classifier.etf == pytest.approx(np.linalg.norm(identity), rel=1e-12)
    assert nc3(features, labels, -frame) == pytest.approx(4 - offset, rel=1e-12)


@pytest.mark.parametrize("sigma", [1e-6, 1e-2, 0.5])
def test_known_noise_about_a_simplex_has_known_nc1(sigma):
    """``s = a^2/(C-1)`` in every direction of the means; noise is seen there, not elsewhere."""
    C, a = 6, 2.0
    frame = etf(C, 9)
    labels = np.repeat(np.arange(C), 2)
    sign = np.tile([1.0, -1.0], C)[:, None]
    inside, outside = frame[0], np.linalg.svd(frame)[2][-1]
    for direction, seen in ((inside, 1.0), (outside, 0.0)):
        features = a * frame[labels] + sigma * sign * direction
        expected = seen * sigma**2 * (C - 1) / (C * a**2)
        assert nc1(features, labels) == pytest.approx(expected, rel=1e-9, abs=1e-26)
        quotient = nc1(features, labels, "quotient")
        assert quotient == pytest.approx(sigma**2 / a**2, rel=1e-9)
        # |mu_c - mu_c'|^2 = 2 a^2 C/(C-1)
        cdnv = nc1(features, labels, "cdnv")
        assert cdnv == pytest.approx(sigma**2 * (C - 1) / (2 * a**2 * C), rel=1e-9)


def test_a_large_bias_is_not_ignored():
    """Nine in ten samples go to the class with the bias; without it all seems collapsed."""
    frame, labels = etf(10, 12), np.repeat(np.arange(10), 4)
    features = frame[labels] + 0.01 * np.random.default_rng(0).standard_normal((40, 12))
    for large in (10.0, 1e6):
        assert nc4(features, labels, frame, large * (np.arange(10) == 3)) == pytest.approx(0.9)
    assert nc4(features, labels, frame, np.zeros(10)) == 0
    assert nc4(features, labels, frame, None) == 0
    # a constant bias changes no answer, however large
    assert nc4(features, labels, frame, np.full(10, 1e6)) == 0


# ---------------------------------------------------------------- precision


@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
@pytest.mark.parametrize(
    ("offset", "sd", "rel"), [(0, 1e-2, 1e-5), (0, 1e-4, 1e-5), (10, 1e-2, 1e-5), (10, 1e-3, 1e-4)]
)
def test_nc1_of_ill_conditioned_float32_features_is_right(xp, offset, sd, rel):
    features, labels = single_precision(offset, sd)
    truth = nc1(features.astype(float), labels)
    assert truth == pytest.approx(by_covariance(features.astype(float), labels), rel=1e-6)
    given = xp.asarray(features), xp.asarray(labels)
    found = nc1(*given)
    assert found > found.floor
    assert found == pytest.approx(truth, rel=rel)
    for form in ("quotient", "cdnv"):
        precise = nc1(features.astype(float), labels, form)
        assert nc1(*given, form) == pytest.approx(precise, rel=rel)
    moments = ClassMoments()
    for part in np.array_split(np.arange(len(labels)), [300, 301, 2000]):
        moments.update(given[0][part], given[1][part])
    assert moments.compute().nc1 == pytest.approx(truth, rel=1e-8)
    # what one-pass moments in single precision make of the same features
    if (offset, sd) in [(0, 1e-4), (10, 1e-3)]:
        assert one_pass_moments(features, labels) != pytest.approx(truth, rel=0.5)


def single_precision(offset, sd, N=3000, d=256, C=10):
    rng = np.random.default_rng(7)
    labels = rng.integers(0, C, N)
    means = rng.uniform(-1, 1, (C, d))
    features = offset + means[labels] + sd * rng.standard_normal((N, d))
    return features.astype(np.float32), labels


def by_covariance(features, labels):
    mu = np.stack([features[labels == c].mean(axis=0) for c in np.unique(labels)])
    gaps, offsets = features - mu[labels], mu - mu.mean(axis=0)
    inverse = np.linalg.pinv(offsets.T @ offsets / len(mu), rcond=1e-12, hermitian=True)
    return np.trace(gaps.T @ gaps / len(features) @ inverse) / len(mu)


def one_pass_moments(features, labels):
    counts = np.bincount(labels)
    mu = np.stack([features[labels == c].mean(axis=0) for c in np.unique(labels)])
    second = features.T @ features / np.float32(len(features))
    within = second - (mu * (counts / len(features)).astype(np.float32)[:, None]).T @ mu
    offsets = (mu - mu.mean(axis=0)).astype(float)
    inverse = np.linalg.pinv(offsets.T @ offsets / len(mu), rcond=1e-12, hermitian=True)
    return np.trace(within @ inverse) / len(mu)


@pytest.mark.parametrize(("offset", "sd"), [(10, 1e-5), (10, 1e-7), (1e3, 1e-2), (1e3, 1e-5)])
def test_below_and_about_the_floor_the_error_is_no_larger_than_the_floor(offset, sd):
    """The floor stands for rounding of the features themselves, so the truth is without it."""
    features, labels = single_precision(offset, sd)
    plain = single_precision(0, sd)[0].astype(float)
    found = nc1(features, labels)
    assert abs(found - nc1(plain, labels)) <= found.floor
    assert found.floor == pytest.approx(
        np.finfo(np.float32).eps ** 2
        * (features.astype(float) ** 2).sum(axis=1).mean()
        / np.trace(ByLoops(features.astype(float), labels).between()),
        rel=1e-2,
    )


def test_half_precision_is_computed_in_single_and_has_the_floor_of_half():
    features, labels = single_precision(1, 0.05)
    for half in (features.astype(np.float16), torch.asarray(features).to(torch.bfloat16)):
        exact = nc1(np.asarray(half.tolist()), labels)
        given = labels if isinstance(half, np.ndarray) else torch.asarray(labels)
        found = nc1(half, given)
        assert found == pytest.approx(exact, rel=1e-5)
        assert found.floor > 1e6 * nc1(features, labels).floor / 100


def test_small_directions_of_the_means_keep_their_digits():
    """``s_k`` spread over ten decades."""
    rng = np.random.default_rng(8)
    frame, labels = etf(5, 8), np.repeat(np.arange(5), 20)
    axes = np.linalg.svd(frame)[2]
    stretched = frame @ (axes.T * np.append(10.0 ** -np.array([0, 1, 3, 5]), np.zeros(4))) @ axes
    gaps = 1e-7 * rng.standard_normal((100, 8))
    for c in range(5):
        gaps[labels == c] -= gaps[labels == c].mean(axis=0)
    features = stretched[labels] + gaps
    found = nc1(features, labels)
    assert found.rank == 4
    whitened = np.linalg.lstsq(stretched.T / math.sqrt(5), gaps.T, rcond=1e-12)[0]
    assert found == pytest.approx(np.sum(whitened**2) / 100 / 5, rel=1e-7)


def test_an_estimate_is_a_number_that_shows_its_floor():
    value = Estimate(3e-16, floor=1e-14, rank=9, error=2e-17)
    assert value + 1 == 1 + 3e-16
    assert value < 1e-3
    assert type(abs(value - 1e-3)) is float
    assert f"{value:.2g}" == "<1e-14"
    assert str(value) == "<1e-14"
    assert repr(value) == "Estimate(<1e-14, floor=1e-14, rank=9, error=2e-17)"
    assert f"{Estimate(0.25, floor=1e-14):.3f}" == "0.250"
    assert json.loads(json.dumps(value)) == 3e-16
    for twin in (copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert (twin, twin.floor, twin.rank, twin.error) == (3e-16, 1e-14, 9, 2e-17)
    assert f"{Estimate(math.nan, floor=math.nan):.1f}" == "nan"


# ---------------------------------------------------------------- invariances


@given(SEEDS, st.sampled_from([1e-30, 1e-3, 7.0, 1e30]))
@settings(deadline=None, max_examples=25)
def test_rotation_scale_order_and_names_change_nothing(seed, scale):
    features, labels, weight, bias = problem(seed, 40, 6, 4)
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    order, names = rng.permutation(40), rng.permutation(4)
    back = np.argsort(names)
    before = neural_collapse(features, labels, weight, bias)
    turned = scale * (features @ turn)[order]
    weight = (weight @ turn)[back] / scale
    after = neural_collapse(turned, names[labels][order], weight, bias[back])
    for name in ("nc1", "quotient", "cdnv", "nc3", "bias"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), rel=1e-9)
    assert after.nc4 == before.nc4
    for one, other in ((before.nc2, after.nc2), (before.nc2.classifier, after.nc2.classifier)):
        assert other.equinorm == pytest.approx(one.equinorm, rel=1e-9)
        assert other.equiangular == pytest.approx(one.equiangular, rel=1e-9)
        assert other.angle == pytest.approx(one.angle, rel=1e-9)
        assert other.etf == pytest.approx(one.etf, rel=1e-9)


@given(SEEDS, st.floats(-1e3, 1e3))
@settings(deadline=None, max_examples=25)
def test_an_offset_of_all_features_changes_nothing_but_the_bias(seed, offset):
    features, labels, weight, bias = problem(seed, 40, 6, 4)
    before = neural_collapse(features, labels, weight, bias)
    moved = bias - offset * weight.sum(axis=1)
    after = neural_collapse(features + offset, labels, weight, moved)
    assert after.nc1 == pytest.approx(before.nc1, rel=1e-8)
    assert after.quotient == pytest.approx(before.quotient, rel=1e-9)
    assert after.nc2.angle == pytest.approx(before.nc2.angle, rel=1e-8)
    assert after.nc3 == pytest.approx(before.nc3, rel=1e-9)
    assert after.bias == pytest.approx(before.bias, rel=1e-8, abs=1e-10)
    assert after.nc4 == before.nc4


# ---------------------------------------------------------------- probes


def many_classes(N=1500, d=80, C=60):
    rng = np.random.default_rng(9)
    labels = np.concatenate([np.arange(C), rng.integers(0, C, N - C)])
    return rng.standard_normal((C, d))[labels] + 0.3 * rng.standard_normal((N, d)), labels


@LIBRARIES
def test_probes_are_right_within_their_error(xp):
    features, labels = many_classes()
    exact = nc1(features, labels)
    given = in_library(xp, features, labels)
    for seed in range(1 if xp is array_api_strict else 4):
        found = nc1(*given, probes=16, seed=seed)
        assert 0 < found.error < 0.2 * exact
        assert abs(found - exact) < 3 * found.error
        assert (found.rank, found.floor) == (exact.rank, pytest.approx(exact.floor))


def test_probes_are_unbiased_and_their_error_is_the_spread():
    features, labels = many_classes(300, 20, 12)
    exact = nc1(features, labels)
    draws = [nc1(features, labels, probes=8, seed=seed) for seed in range(200)]
    spread = np.std(draws, ddof=1)
    assert np.mean(draws) == pytest.approx(exact, abs=3 * spread / math.sqrt(200))
    assert np.sqrt(np.mean([draw.error**2 for draw in draws])) == pytest.approx(spread, rel=0.2)
    assert draws[3] == nc1(features, labels, probes=8, seed=3)
    assert draws[3] != draws[4]


def test_probes_of_more_classes_than_numbers_and_of_one_direction():
    features, labels, _, _ = problem(10, 60, 3, 8)
    exact = nc1(features, labels)
    found = nc1(features, labels, probes=400)
    assert abs(found - exact) < 4 * found.error
    # one direction: every sign gives the trace
    features, labels, _, _ = problem(11, 30, 3, 2)
    found = nc1(features, labels, probes=2)
    assert found == pytest.approx(nc1(features, labels), rel=1e-12)
    assert found.error < 1e-12


# ---------------------------------------------------------------- rank and D_LR


@LIBRARIES
@pytest.mark.parametrize("shape", [(30, 5), (5, 30), (8, 8)])
def test_the_spectrum_is_that_of_centred_features(xp, shape):
    features = 2 + np.random.default_rng(12).standard_normal(shape)
    (given,) = in_library(xp, features)
    expected = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)
    found = np.from_dlpack(centred_spectrum(given))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-7 * expected[0])
    for k in (1, 3, 100):
        share = sum(expected[:k] ** 2) / sum(expected**2)
        assert top_energy(given, k) == pytest.approx(share, rel=1e-12)


def test_collapsed_features_have_one_direction_less_than_classes():
    features = 5 + etf(6, 9)[np.repeat(np.arange(6), 4)]
    assert top_energy(features, 5) == pytest.approx(1, abs=1e-14)
    assert top_energy(features, 4) == pytest.approx(0.8, rel=1e-12)
    values = centred_spectrum(features)
    assert values[5] / values[4] < 1e-7
    assert rank_of_spectrum(values) == pytest.approx(5, abs=1e-5)


def by_bases(features, logits, r):
    """D_LR with an orthonormal basis Q in hand."""
    h, outputs = features - features.mean(axis=0), logits - logits.mean(axis=0)
    basis = np.linalg.svd(outputs, full_matrices=False)[0][:, :r]
    inside = np.linalg.norm(basis.T @ h) ** 2
    return 1 - inside / (np.linalg.norm(h.T @ h) * math.sqrt(r))


@LIBRARIES
@pytest.mark.parametrize("shape", [(40, 6, 4), (10, 25, 4), (30, 3, 7)])
def test_d_lr_is_its_definition(xp, shape):
    N, d, C = shape
    rng = np.random.default_rng(13)
    features, logits = 1 + rng.standard_normal((N, d)), rng.standard_normal((N, C)) - 2
    found = d_lr(*in_library(xp, features, logits))
    assert found.rank == C
    assert found == pytest.approx(by_bases(features, logits, C), rel=1e-10)
    sizes = np.linalg.svd(logits - logits.mean(axis=0), compute_uv=False)
    cut = float((sizes[1] + sizes[2]) / 2 / sizes[0])
    found = d_lr(*in_library(xp, features, logits), cut=cut)
    assert found.rank == 2
    assert found == pytest.approx(by_bases(features, logits, 2), rel=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_d_lr_of_a_simplex_vanishes_without_its_null_direction(dtype):
    C = 10
    frame, labels = etf(C, 16), np.repeat(np.arange(C), 30)
    noise = np.random.default_rng(14).standard_normal((300, C))
    features = (0.5 + frame[labels]).astype(dtype)
    logits = (4 * (frame @ frame.T)[labels] + 1e-3 * noise).astype(dtype)
    found = d_lr(features, logits)
    assert found.rank == 9
    assert abs(found) < 1e-6
    kept = d_lr(features, logits, cut=0.0)
    assert kept.rank == 10
    assert kept == pytest.approx(1 - math.sqrt((C - 1) / C), abs=1e-5)


@given(SEEDS)
@settings(deadline=None, max_examples=25)
def test_d_lr_lies_between_0_and_1(seed):
    rng = np.random.default_rng(seed)
    features, logits = rng.standard_normal((12, 5)), rng.standard_normal((12, 3))
    assert -1e-12 < d_lr(features, logits, 0.0) < 1
    assert -1e-12 < d_lr(features @ rng.standard_normal((5, 2)), features) < 1


def test_features_that_do_not_vary_have_no_spectrum_measures():
    still, moving = np.ones((4, 3)), np.diag([1.0, 2.0, 3.0, 4.0])
    assert math.isnan(top_energy(still, 1))
    assert math.isnan(d_lr(still, moving))
    assert math.isnan(d_lr(moving, still))


# ---------------------------------------------------------------- streams


def close(one, other, rel=1e-9):
    assert one.classes == other.classes
    np.testing.assert_array_equal(one.counts, other.counts)
    np.testing.assert_allclose(one.means, other.means, rtol=rel, atol=1e-12)
    np.testing.assert_allclose(one.covariance, other.covariance, rtol=rel, atol=1e-11)
    np.testing.assert_allclose(one.variances, other.variances, rtol=rel)
    for name in ("nc1", "quotient", "cdnv"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=rel)


@LIBRARIES
@BOTH
@SIZES
def test_moments_of_one_update_are_the_definitions(xp, weighted, size):
    features, labels, _, _ = problem(15, *size)
    moments = ClassMoments(weighted=weighted)
    moments.update(*in_library(xp, features, labels))
    found, loops = moments.compute(), ByLoops(features, labels, weighted)
    np.testing.assert_allclose(np.from_dlpack(found.means), loops.mu, rtol=1e-12)
    np.testing.assert_allclose(
        np.from_dlpack(found.covariance), loops.within(), rtol=1e-11, atol=1e-14
    )
    for name, form in (("nc1", "projected"), ("quotient", "quotient"), ("cdnv", "cdnv")):
        assert getattr(found, name) == pytest.approx(loops.nc1(form), rel=1e-10)
        assert getattr(found, name).rank == nc1(features, labels, form, weighted=weighted).rank


@given(SEEDS, st.lists(st.integers(0, 60), max_size=6), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_chunks_merge_in_any_order_to_the_moments_of_the_whole(seed, cuts, random):
    features, labels, _, _ = problem(seed, 60, 5, 6)
    order = np.argsort(labels)  # most chunks then lack most classes
    features, labels = 10 + features[order], labels[order]
    whole = ClassMoments()
    whole.update(features, labels)
    parts = []
    for part in np.array_split(np.arange(60), sorted(cuts)):
        one = ClassMoments(6 if random.random() < 0.5 else None)
        if len(part):
            one.update(features[part], labels[part])
        parts.append(one)
    while len(parts) > 1:  # a random tree
        other = parts.pop(random.randrange(len(parts)))
        parts[random.randrange(len(parts))].merge(other)
    close(parts[0].compute(), whole.compute())


def test_a_stream_equals_two_passes_in_single_precision():
    """NC1 = 1e-8, chunks of uneven size."""
    features, labels = single_precision(0, 4e-4)
    moments = ClassMoments(10)
    for part in np.array_split(np.arange(len(labels)), [1, 2, 500, 517, 2900]):
        moments.update(features[part], labels[part])
    two_passes = nc1(features.astype(float), labels)
    assert 1e-9 < two_passes < 1e-7
    assert moments.compute().nc1 == pytest.approx(two_passes, rel=1e-6)
    assert nc1(features, labels) == pytest.approx(two_passes, rel=1e-6)
    assert moments.compute().nc1.floor == pytest.approx(nc1(features, labels).floor, rel=1e-5)


def test_an_accumulator_can_be_reset_and_is_not_changed_by_reading_or_by_errors():
    features, labels, _, _ = problem(16, 30, 4, 3)
    moments, other = ClassMoments(), ClassMoments()
    moments.update(features, labels)
    first = moments.compute()
    close(first, moments.compute(), rel=1e-15)
    other.merge(moments)
    other.update(features + 1, labels)
    close(first, moments.compute(), rel=1e-15)
    with pytest.raises(ValueError, match="features"):
        moments.update(np.full((2, 4), np.nan), [0, 1])
    with pytest.raises(ValueError, match="5 numbers cannot be added to those of 4"):
        moments.update(np.ones((2, 5)), [0, 1])
    close(first, moments.compute(), rel=1e-15)
    moments.reset()
    with pytest.raises(RuntimeError, match="before any update"):
        moments.compute()
    moments.update(features, labels)
    close(first, moments.compute(), rel=1e-15)


def test_an_accumulator_names_what_is_missing():
    with pytest.raises(RuntimeError, match="before any update"):
        ClassMoments().compute()
    empty = ClassMoments()
    empty.merge(ClassMoments())
    with pytest.raises(RuntimeError, match="before any update"):
        empty.compute()
    lonely = ClassMoments(5)
    lonely.update(np.ones((3, 2)), [4, 4, 4])
    with pytest.raises(ValueError, match=r"at least two classes, saw \[4\]"):
        lonely.compute()
    with pytest.raises(ValueError, match=r"labels must lie in 0 ... 5-1, found 0 ... 5"):
        lonely.update(np.ones((2, 2)), [0, 5])
    with pytest.raises(ValueError, match="n_classes must be at least 2, got 1"):
        ClassMoments(1)


def test_a_stream_knows_which_classes_occurred():
    features, labels, _, _ = problem(17, 30, 4, 3)
    moments = ClassMoments(100)
    moments.update(features, 7 * labels + 2)
    assert moments.compute().classes == (2, 9, 16)
    assert moments.compute().nc1 == pytest.approx(nc1(features, labels), rel=1e-12)


# ---------------------------------------------------------------- edges


def test_gaps_between_labels_and_large_labels_are_no_classes():
    features, labels, _, _ = problem(18, 30, 4, 3)
    for gaps in (np.array([0, 2, 5]), np.array([3, 7, 29]), np.array([5, 10**12, 10**9])):
        assert nc1(features, gaps[labels]) == pytest.approx(nc1(features, labels), rel=1e-12)


def test_classes_of_one_sample_have_no_variability():
    features = np.random.default_rng(19).standard_normal((5, 7))
    assert nc1(features, range(5)) < 1e-28
    assert nc1(features, range(5), "quotient") < 1e-28


def test_more_classes_than_are_sorted_by_radix():
    labels = np.repeat(np.arange(33_000), 2)
    sign = np.tile([1.0, -1.0], 33_000)[:, None]
    features = np.eye(2)[labels % 2] + 0.1 * sign * np.eye(2)[(labels + 1) % 2]
    assert nc1(features, labels, "quotient") == pytest.approx(0.01 / 0.5, rel=1e-10)
    # s = 1/2 in one direction, in which half of the noise lies
    assert nc1(features, labels) == pytest.approx(0.01 / 2 * 2 / 33_000, rel=1e-10)


def test_two_classes_with_one_mean_are_a_direction_less():
    frame = etf(4, 6)
    frame[3] = frame[2]
    sign = np.tile([1.0, -1.0], 8)[:, None]
    labels = np.repeat(np.arange(4), 4)
    features = frame[labels] + 0.1 * sign * frame[0]
    found = nc1(features, labels)
    assert found.rank == 2
    assert found == pytest.approx(ByLoops(features, labels).nc1("projected"), rel=1e-10)
    assert nc1(features.astype(np.float32) + 100, labels).rank == 2
    assert nc1(features, labels, "quotient").rank == 2
    assert nc1(features, labels, "cdnv") > 1e10


def test_where_all_means_coincide_nc1_is_infinite_or_unknown():
    features = np.array([[1.0, 2.0], [-1.0, -2.0]] * 2)
    labels, weight = [0, 0, 1, 1], np.eye(2)
    for form in ("projected", "quotient", "cdnv"):
        assert nc1(features, labels, form) == math.inf
        assert nc1(features, labels, form).rank == 0
        assert math.isnan(nc1(np.ones((4, 2)), labels, form))
    assert nc1(features, labels, probes=3) == math.inf
    found = neural_collapse(features, labels, weight, [0.0, 0.0])
    assert math.isnan(found.nc2.angle)
    assert math.isnan(found.nc3)
    assert found.nc4 == 0.5  # both means are nearest, the first is named
    assert math.isnan(nc3(np.eye(2), [0, 1], np.zeros((2, 2))))
    assert math.isnan(nc2(np.eye(2), [0, 1], [[1.0, 0.0], [0.0, 0.0]]).classifier.angle)


def test_tensors_with_gradients_are_read_without_them():
    features, labels, weight, bias = problem(20, 30, 4, 3)
    head = torch.nn.Linear(4, 3, dtype=torch.float64)
    with torch.no_grad():
        head.weight.copy_(torch.asarray(weight))
        head.bias.copy_(torch.asarray(bias))
    h = torch.asarray(features).requires_grad_()
    y = torch.asarray(labels)
    assert neural_collapse(h, y, head.weight, head.bias).nc3 == pytest.approx(
        nc3(features, labels, weight), rel=1e-12
    )
    assert nc4(h, y, head.weight, head.bias) == nc4(features, labels, weight, bias)
    assert top_energy(h, 2) == pytest.approx(top_energy(features, 2), rel=1e-12)
    assert d_lr(h, head(h)).rank == 3
    moments = ClassMoments()
    moments.update(h, y)
    assert not moments.compute().means.requires_grad


def test_labels_and_classifier_may_be_lists_and_features_integers():
    features = [[2, 0], [2, 1], [-2, 0], [-2, -1]]
    assert nc1(features, [0, 0, 1, 1]) == pytest.approx(
        ByLoops(np.array(features, float), np.array([0, 0, 1, 1])).nc1("projected"), rel=1e-12
    )
    assert nc4(features, (False, False, True, True), [[1, 0], [-1, 0]], [0, 0]) == 0
    assert nc1(torch.asarray(features), [0, 0, 1, 1]) == pytest.approx(nc1(features, [0, 0, 1, 1]))


def test_the_inputs_are_not_changed():
    given = problem(21, 30, 4, 3)
    before = copy.deepcopy(given)
    neural_collapse(*given, centre_weight=True)
    nc1(*given[:2], probes=3)
    moments = ClassMoments()
    moments.update(*given[:2])
    moments.compute().nc1  # noqa: B018
    d_lr(given[0], given[0])
    for array, was in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, was)


def test_the_public_names_are_those_of_the_design():
    features, labels, weight, bias = problem(22, 30, 4, 3)
    assert lw.measures.nc1(features, labels) < 10
    assert lw.measures.nc2(features, labels, weight).angle > 0
    assert lw.measures.nc3(features, labels, weight) > 0
    assert 0 <= lw.measures.nc4(features, labels, weight, bias) <= 1


# ---------------------------------------------------------------- errors

H, Y, W, B = np.arange(12.0).reshape(4, 3) ** 2, [0, 0, 1, 1], np.ones((2, 3)), np.zeros(2)
NAN = H.copy()
NAN[2, 1] = np.nan
INFINITE = H.copy()
INFINITE[1, 0], INFINITE[3, 2] = np.inf, -np.inf


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (H, [0, 0, 1], r"\(4, 3\) and \(3,\)"),
        (H, [[0, 0, 1, 1]], r"\(4, 3\) and \(1, 4\)"),
        (H[0], [0, 1, 1], r"two axes and not be empty, got \(3,\)"),
        (H[:0], [], r"not be empty, got \(0, 3\)"),
        (H[:, :0], Y, r"not be empty, got \(4, 0\)"),
        (H, [0, -1, 1, 1], r"0 ... C-1, found -1 ... 1"),
        (H, [3, 3, 3, 3], "at least two classes, found 1"),
        (NAN, Y, r"features must be finite, but features\[2, 1\] is nan"),
        (INFINITE, Y, r"features must be finite, but features\[1, 0\] is inf"),
    ],
)
def test_bad_features_and_labels_are_named(features, labels, message):
    labels = np.array(labels, dtype=int)
    with pytest.raises(ValueError, match=message):
        nc1(features, labels)
    message = message.replace("C-1", "2-1").replace(
        "at least two classes, found 1", "found 3 ... 3"
    )
    for measure, rest in (
        (nc2, [W]),
        (nc3, [W]),
        (nc3_zhu, [W]),
        (nc4, [W, B]),
        (neural_collapse, [W, B]),
    ):
        with pytest.raises(ValueError, match=message):
            measure(features, labels, *rest)


@pytest.mark.parametrize("xp", [torch, array_api_strict], ids=["torch", "strict"])
def test_the_first_bad_feature_is_named_in_every_library(xp):
    with pytest.raises(ValueError, match=r"features\[2, 1\] is"):
        nc1(xp.asarray(NAN.tolist(), dtype=xp.float32), xp.asarray(Y))


@pytest.mark.parametrize("measure", [nc2, nc3, nc3_zhu, nc4, neural_collapse, bias_collapse])
def test_a_bad_classifier_is_named(measure):
    bias = [B] if measure in (nc4, neural_collapse, bias_collapse) else []
    for weight in (np.ones((2, 4)), np.ones(3), np.ones((3, 2))):
        with pytest.raises(ValueError, match=r"weight must have the shape \(C, d\)") as error:
            measure(H, Y, weight, *bias)
        assert str(weight.shape) in str(error.value)
        assert "(4, 3)" in str(error.value)
    with pytest.raises(ValueError, match=r"weight\[1, 2\] is nan"):
        measure(H, Y, np.array([[1.0, 1, 1], [1, 1, np.nan]]), *bias)
    with pytest.raises(ValueError, match=r"labels must lie in 0 ... 2-1, found 0 ... 2"):
        measure(H, [0, 1, 2, 1], W, *bias)
    with pytest.raises(ValueError, match=r"classes without samples have no mean: \[1, 3\]"):
        measure(H, [0, 0, 2, 2], np.ones((4, 3)), *([np.zeros(4)] if bias else []))
    with pytest.raises(ValueError, match="at least two classes, found 1"):
        measure(H, [0, 0, 0, 0], np.ones((1, 3)), *([np.zeros(1)] if bias else []))
    if bias:
        with pytest.raises(ValueError, match=r"weight \(2, 3\), got \(3,\)"):
            measure(H, Y, W, np.zeros(3))
        with pytest.raises(ValueError, match=r"bias\[0\] is inf"):
            measure(H, Y, W, np.array([np.inf, 0]))


def test_labels_must_be_whole_numbers_and_libraries_one():
    with pytest.raises(TypeError, match="labels must be whole numbers, got dtype float64"):
        nc1(H, [0.0, 0.0, 1.0, 1.0])
    with pytest.raises(TypeError, match="real numbers, got dtype complex128"):
        nc1(1j * H, Y)
    with pytest.raises(TypeError, match="ultiple namespaces"):
        nc3(H, Y, torch.ones(2, 3))


def test_features_too_large_for_their_precision_are_an_error():
    with pytest.raises(ValueError, match="too large to be summed in"):
        nc1(np.float32([[3e38], [-3e38], [0], [1]]), Y)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="unknown form of NC1: 'trace'"):
        nc1(H, Y, "trace")
    with pytest.raises(ValueError, match="at least 2, got 1"):
        nc1(H, Y, probes=1)
    with pytest.raises(ValueError, match="got 4 for 'cdnv'"):
        nc1(H, Y, "cdnv", probes=4)
    with pytest.raises(ValueError, match="k >= 1 directions, got 0"):
        top_energy(H, 0)
    with pytest.raises(ValueError, match="cut must lie in"):
        d_lr(H, H, cut=1.0)
    with pytest.raises(ValueError, match=r"do not fit: \(4, 3\) and \(3, 3\)"):
        d_lr(H, H[:3])
    with pytest.raises(ValueError, match=r"features\[2, 1\] is nan"):
        top_energy(NAN, 1)
    with pytest.raises(ValueError, match=r"logits\[2, 1\] is nan"):
        d_lr(H, NAN)
    with pytest.raises(ValueError, match=r"C >= 2, got \(1, 3\)"):
        simplex(np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"vectors\[2, 1\] is nan"):
        simplex(NAN)
