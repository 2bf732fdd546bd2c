"""Scaling laws: sums against brute force and many digits, laws against quadrature."""

import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from scipy.integrate import quad, solve_ivp
from scipy.special import zeta
from scipy.stats import binom

import layerwise as lw
from layerwise.theory import scaling
from layerwise.theory.laws import shares
from layerwise.theory.scaling import sums

DEPTHS = (1, 1.5, 2, 3, 8, 64, math.inf)
ALPHAS = (0.2, 0.6, 2.0)


def brute(skills, t):
    """Return the loss at every time by a sum over all skills."""
    k = skills.ranks
    pace, weight = skills.paces(k), skills.frequencies(k) * skills.targets(k) ** 2 / 2
    left = [shares.left(skills.share, skills.depth, pace * time) for time in t]
    return np.array([math.fsum(weight * one**2) for one in left])


def spread(skills, last=None):
    """Return times from before the first skill to after the last."""
    n = last or skills.n_skills
    first = float(skills.half_times(1))
    return np.concatenate([[0.0], first * np.geomspace(0.3, 5 * n**skills.clock_exponent, 9)])


# --- sums ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [*DEPTHS, 1.05, 2.05])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_panels_equal_the_full_sum(alpha, depth):
    for start in (1e-12, 1e-3, 0.3, 0.9):
        skills = lw.Skills(alpha, 20_011, start=start, depth=depth, target=3.0)
        t = spread(skills)
        found, full = scaling.time_loss(skills, t), brute(skills, t)
        assert found.method == "panels"
        wrong = np.abs(found.value - full)
        assert np.all(wrong <= found.error + 1e-300)
        early = full > 1e-6 * full[0]
        assert np.max(wrong[early] / full[early]) < 1e-13
        assert np.max(found.error[early] / full[early]) < 1e-10


@pytest.mark.parametrize(("alpha", "depth", "start"), [(0.3, 2, 1e-3), (0.6, 3, 1e-2)])
def test_panels_equal_the_full_sum_of_a_million(alpha, depth, start):
    skills = lw.Skills(alpha, 1_000_000, start=start, depth=depth)
    t = spread(skills)[3::3]
    found, full = scaling.time_loss(skills, t), brute(skills, t)
    np.testing.assert_array_less(np.abs(found.value - full), found.error)
    np.testing.assert_allclose(found.value, full, rtol=1e-13)


@given(
    st.floats(0.2, 2),
    st.sampled_from(DEPTHS),
    st.floats(-12, -0.1),
    st.integers(1001, 30_000),
    st.floats(-2, 6),
    st.floats(-0.08, 0.5),
)
@settings(deadline=None, max_examples=60)
def test_the_estimate_bounds_the_error(alpha, depth, log_start, n, log_time, falls):
    skills = lw.Skills(alpha, n, start=10**log_start, depth=depth, target_exponent=falls)
    t = skills.half_times(1) * 10**log_time * np.ones(1)
    found, full = scaling.time_loss(skills, t), brute(skills, t)
    assert abs(found.value[0] - full[0]) <= found.error[0] + 1e-300


@pytest.mark.parametrize("depth", DEPTHS)
def test_few_skills_are_added_one_by_one(depth):
    skills = lw.Skills(0.6, 40, start=1e-6, depth=depth, target_exponent=0.1)
    t = spread(skills)
    found = scaling.time_loss(skills, t)
    assert found.method == "exact sum"
    np.testing.assert_allclose(found.value, brute(skills, t), rtol=1e-12)
    np.testing.assert_allclose(lw.solve(skills, t)["loss"], found.value, rtol=0)
    single = lw.Skills(0.6, 40, start=skills.starts(skills.ranks), depth=depth, target_exponent=0.1)
    other = scaling.time_loss(single, t)
    assert np.all(np.abs(other.value - found.value) <= other.error + found.error)


def test_many_skills_with_starts_of_their_own_are_added_in_blocks(monkeypatch):
    starts = np.linspace(0.1, 0.2, 3000)
    t = np.array([0.0, 3.0, 50.0])
    at_once = scaling.time_loss(lw.Skills(0.6, 3000, start=starts), t)
    monkeypatch.setattr(scaling.time, "BLOCK", 1000)
    in_blocks = scaling.time_loss(lw.Skills(0.6, 3000, start=starts), t)
    np.testing.assert_allclose(in_blocks.value, at_once.value, rtol=1e-14)


def by_euler_maclaurin(alpha, start, t, first=2000):
    """Return the loss of infinitely many skills of depth 2, by mpmath."""
    with mp.workdps(25):
        alpha, start, t = mpf(alpha), mpf(start), mpf(t)
        A, c = 1 / mpmath.zeta(alpha + 1), (1 - start) / start

        def term(k):
            P = A * k ** -(alpha + 1)
            return P / 2 * (c / (c + mpmath.exp(2 * P * t))) ** 2

        begin, end = mpmath.log(first), mpmath.log(first) + 40
        body = mpmath.quad(
            lambda v: term(mpmath.exp(v)) * mpmath.exp(v), mpmath.linspace(begin, end, 41)
        )
        tail = A / 2 * (c / (c + 1)) ** 2 * mpmath.exp(end) ** -alpha / alpha
        head = mpmath.fsum(term(mpf(k)) for k in range(1, first)) + term(mpf(first)) / 2
        slopes = [mpmath.diff(term, first, n) for n in (1, 3, 5)]
        ends = -slopes[0] / 12 + slopes[1] / 720 - slopes[2] / 30240
        return float(head + body + tail + ends)


@pytest.mark.parametrize(
    ("alpha", "start", "t"),
    [(0.2, 1e-3, 300.0), (0.6, 1e-12, 3e3), (0.6, 0.3, 1e5), (2.0, 1e-3, 1e6)],
)
def test_the_infinite_sum_equals_many_digits(alpha, start, t):
    found = scaling.time_loss(lw.Skills(alpha, start=start), t)
    expected = by_euler_maclaurin(alpha, start, t)
    assert abs(float(found.value) - expected) <= found.error
    assert float(found.value) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("alpha", [0.6, 2.0])
def test_the_infinite_sum_is_a_finite_one_and_a_tail(alpha, depth):
    """Beyond 2e5 skills nothing has been learned: to rounding they cost what they did."""
    skills = lw.Skills(alpha, start=1e-3, depth=depth)
    n, t = 200_000.0, spread(skills, 30)
    P = skills.scale * np.arange(1.0, n + 1) ** -(alpha + 1)
    left = [shares.left(1e-3, depth, P * time) for time in t]
    whole = np.array([math.fsum(P / 2 * one**2) for one in left])
    learned = skills.strengths([n + 1], t)[:, 0]
    whole += skills.scale / 2 * zeta(alpha + 1, n + 1) * (1 - 1e-3) ** 2
    assert np.max(learned) < 1.01e-3 or depth < 2  # 1, 1.5: told by the tolerance below
    clock = skills.paces(n) * t * (1 if depth >= 2 else 1e3)
    tail = skills.scale * n**-alpha / alpha
    wrong = np.abs(scaling.time_loss(skills, t).value - whole)
    assert np.all(wrong < 1e-13 * whole + tail * clock)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("start", [1e-12, 0.5])
def test_extremes_neither_overflow_nor_warn(depth, start):
    t = np.concatenate([[0.0], np.geomspace(1e-6, 1e12, 40)])
    for alpha in ALPHAS:
        for n in (math.inf, 3, 1e8, 1e15):
            found = scaling.time_loss(lw.Skills(alpha, n, start=start, depth=depth), t)
            assert np.all(np.diff(found.value) <= found.error[1:] + found.error[:-1])
            assert found.value[0] == pytest.approx((1 - start) ** 2 / 2, rel=1e-13)
            alive = found.value > 1e-6 * found.value[0]
            assert np.max(found.error[alive] / found.value[alive]) < 1e-10 or start < 1e-6


def test_rules_for_sums_are_exact_for_polynomials():
    for level in (0, 1, 3, 40, 60, 200):
        offsets, weights = (rule[level] for rule in sums._rules(sums.POINTS))
        n = sums.POINTS * 2.0**level
        assert np.sum(weights) == pytest.approx(n, rel=1e-13)
        assert np.sum(weights * offsets) == pytest.approx(n * (n - 1) / 2, rel=1e-13)
        cubes = (n * (n - 1) / 2) ** 2
        assert np.sum(weights * offsets**3) == pytest.approx(cubes, rel=1e-13)
    assert np.all(np.diff(sums._rules(sums.POINTS)[0][0]) == 1)


@pytest.mark.parametrize("last", [1, 15, 16, 17, 100, 1001, 12_345, 10**9 + 7, 2**60 + 4096])
def test_panels_cover_every_rank_once(last):
    first, level = sums._roots(float(last))
    length = sums.POINTS * 2.0**level
    assert first[0] == 1
    np.testing.assert_array_equal(first[1:], (first + length)[:-1])
    assert np.all(np.diff(length[:-1]) >= 0) or last > sums.POINTS
    assert 0 <= first[-1] + length[-1] - 1 - last < sums.POINTS
    assert np.all(length <= np.maximum(first, sums.POINTS))


def test_shapes_are_those_of_the_times():
    skills = lw.Skills(0.6)
    assert scaling.time_loss(skills, 3.0).value.shape == ()
    assert scaling.time_loss(skills, np.ones((2, 3))).error.shape == (2, 3)
    assert scaling.time_loss(skills, []).value.shape == (0,)
    many = scaling.time_loss(skills, np.geomspace(1, 1e6, 1000))  # more than one chunk
    assert np.all(np.diff(many.value) < 0)


# --- the law of time ----------------------------------------------------------------------------


def moment(depth, start, s):
    """Return ``int u^{s-1} phi^2 du`` by an ODE along ``x = ln(y - y_0)``, y the share's logit."""
    m = 1 - 2 / depth
    layers = 1 if depth == math.inf else depth
    y0, first = math.log(start / (1 - start)), -40.0

    def velocity(x, state):
        share = 1 / (1 + math.exp(-y0 - math.exp(x)))
        du = math.exp(x) / (layers * share**m)
        left = 1 / (1 + math.exp(y0 + math.exp(x)))
        return [du, state[0] ** (s - 1) * left**2 * du]

    u = math.exp(first) / (layers * start**m)
    begin = [u, u**s / s * (1 - start) ** 2]
    end = math.log(max(-y0, 0) + 30)
    run = solve_ivp(velocity, (first, end), begin, "DOP853", rtol=1e-12, atol=1e-300)
    return run.y[1, -1]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_prefactors_equal_quadrature(alpha, depth):
    for start in (1e-12, 1e-2, 0.3):
        skills = lw.Skills(alpha, target=3.0, start=3.0 * start, rate=0.2, depth=depth)
        law, s = scaling.time_law(skills), alpha / (alpha + 1)
        A = 1 / zeta(alpha + 1)
        clock = 0.2 * A * 3.0 ** (2 - 2 / depth)
        expected = A * 4.5 / (alpha + 1) * clock**-s * moment(depth, start, s)
        assert law.prefactor == pytest.approx(expected, rel=1e-9)
        assert law.exponent == pytest.approx(-s, rel=1e-14)


@pytest.mark.parametrize(("alpha", "printed"), [(0.3, 1.2906), (0.6, 1.2001), (0.9, 1.0607)])
def test_known_constants_of_the_time_law(alpha, printed):
    assert 2 * scaling.time_law(lw.Skills(alpha)).prefactor == pytest.approx(printed, abs=6e-5)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_linear_law_has_gamma_as_its_constant(alpha):
    skills = lw.Skills(alpha, target=2.0, rate=0.3).linear()
    s = alpha / (alpha + 1)
    expected = 2 * skills.scale ** (1 / (alpha + 1)) / (alpha + 1) * math.gamma(s) * 0.6**-s
    assert scaling.time_law(skills).prefactor == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(("alpha", "falls"), [(0.3, 0.0), (0.6, 0.3), (0.9, -0.3)])
def test_infinite_sums_tend_to_their_law(alpha, falls, depth):
    """Faster than any power: the front is then many skills wide."""
    skills = lw.Skills(alpha, start=1e-2, depth=depth, target_exponent=falls)
    t = skills.half_times(1) * np.array([1e7, 1e9])
    law = scaling.time_law(skills)
    np.testing.assert_allclose(scaling.time_loss(skills, t).value, law(t), rtol=1e-12)
    expected = -(alpha + 2 * falls) / (alpha + 1 + falls * (2 - 2 / depth))
    assert law.exponent == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3, math.inf])
@pytest.mark.parametrize("alpha", [0.3, 0.6, 0.9])
def test_fitted_exponents_of_infinite_sums(alpha, depth):
    skills = lw.Skills(alpha, depth=depth, start=1e-2)
    window = 1e3, 1e6
    t = skills.half_times(1) * np.geomspace(*window, 100)
    loss = scaling.time_loss(skills, t).value
    found = scaling.fit_exponent(t, loss, (t[0], t[-1]), skills)
    assert found.slope == pytest.approx(-alpha / (alpha + 1), abs=1e-3)
    assert found.prefactor == pytest.approx(scaling.time_law(skills).prefactor, rel=1e-2)
    assert (found.points, found.completed) == (100, False)


def test_where_targets_vary_exponents_tell_depths_apart():
    known = {(0.6, 0.3): (-0.75, -0.6316), (0.9, -0.3): (-0.1579, -0.1875)}
    for (alpha, falls), slopes in known.items():
        layered = lw.Skills(alpha, target_exponent=falls)
        for skills, slope in zip([layered.linear(), layered], slopes, strict=True):
            assert scaling.time_law(skills).exponent == pytest.approx(slope, abs=5e-5)


# --- finitely many skills -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "known"),
    [(0.3, [-0.250, -0.266, -0.299]), (0.6, [-0.377, -0.380, -0.386]), (0.9, [-0.474] * 3)],
)
def test_raw_slopes_of_a_hundred_thousand_skills(alpha, known):
    skills = lw.Skills(alpha, 100_000)
    for first, slope in zip([1e2, 1e3, 1e4], known, strict=True):
        t = np.geomspace(first, 10 * first, 60)
        loss = scaling.time_loss(skills, t).value
        raw = scaling.fit_exponent(t, loss, (t[0], t[-1]), skills, raw=True)
        assert raw.slope == pytest.approx(slope, abs=1.5e-3)
        whole = scaling.fit_exponent(t, loss, (t[0], t[-1]), skills)
        assert whole.completed
        assert whole.slope == pytest.approx(-alpha / (alpha + 1), abs=2e-3)


@pytest.mark.parametrize(
    ("alpha", "raw", "completed"),
    [(0.3, -0.79, -0.230), (0.6, -0.76, -0.371), (0.9, -0.74, -0.461)],
)
def test_twelve_skills_show_their_truncation_unless_completed(alpha, raw, completed):
    skills = lw.Skills(alpha, 12, target=5.0, start=5 / (1.8e5 + 1))
    first, last = 1.3 * float(skills.half_times(1)), float(skills.half_times(12))
    t = np.geomspace(first, last, 400)
    loss = scaling.time_loss(skills, t).value
    found = scaling.fit_exponent(t, loss, (first, 0.6 * last), skills, raw=True)
    assert found.slope == pytest.approx(raw, abs=0.01)
    found = scaling.fit_exponent(t, loss, (first, 0.9 * last), skills)
    assert found.slope == pytest.approx(completed, abs=0.004)


@pytest.mark.parametrize(("alpha", "within"), [(0.3, 1e-2), (0.6, 1e-3), (0.9, 1e-4)])
def test_completed_losses_follow_the_law_of_infinitely_many(alpha, within):
    skills = lw.Skills(alpha, 100_000, start=1e-6)
    t = skills.half_times(1) * np.geomspace(1e3, 1e4, 5)
    found = scaling.completed(skills, scaling.time_loss(skills, t).value)
    np.testing.assert_allclose(found, scaling.time_law(skills)(t), rtol=within)


@pytest.mark.parametrize("falls", [0.0, 0.4, -0.2])
def test_the_unseen_loss_is_that_of_all_later_ranks(falls):
    skills = lw.Skills(0.6, 50, target=3.0, target_exponent=falls)
    k = np.arange(51.0, 2_000_001)
    p = 1.6 + 2 * falls
    rest = np.sum(k[::-1] ** -p) + zeta(p, k[-1] + 1)
    assert scaling.unseen_loss(skills) == pytest.approx(4.5 * skills.scale * rest, rel=1e-12)
    assert scaling.unseen_loss(lw.Skills(0.6)) == 0


# --- data ---------------------------------------------------------------------------------------


def test_shot_models_differ_as_their_names_say():
    P, D, shots = np.array([0.5, 0.1, 0.05, 0.001]), 4000, 400
    np.testing.assert_array_equal(scaling.hard(P, D, shots), [1, 1, 0, 0])
    np.testing.assert_allclose(scaling.linear(P, D, shots), [1, 1, 0.5, 0.01])
    np.testing.assert_allclose(
        scaling.square_root(P, D, shots), [1, 1, 1 - math.sqrt(0.5), 1 - math.sqrt(0.99)]
    )
    np.testing.assert_allclose(scaling.one_shot(P, 10), 1 - (1 - P) ** 10, rtol=1e-13)
    np.testing.assert_allclose(scaling.one_shot(1e-12, 3.0), 3e-12, rtol=1e-11)
    np.testing.assert_allclose(
        scaling.binomial(P, D, shots), binom.sf(shots - 1, D, P), rtol=1e-10, atol=1e-300
    )
    np.testing.assert_array_equal(scaling.binomial(P, [0, 399, 399.0, 0], shots), 0)
    np.testing.assert_allclose(scaling.binomial(P, 50, 1), scaling.one_shot(P, 50), rtol=1e-12)
    assert scaling.one_shot(1.0, [0, 1]).tolist() == [0, 1]


def test_the_published_strength_is_not_the_projection():
    assert float(scaling.linear(0.5, 800, 800)) == pytest.approx(0.5)
    assert float(scaling.square_root(0.5, 800, 800)) == pytest.approx(0.293, abs=1e-3)
    skills = lw.Skills(0.6, 5)
    D = [10.0, 1000.0, 3000.0]
    same = [scaling.data_loss(skills, D, rule, 800).value for rule in ("linear", "square-root")]
    np.testing.assert_allclose(same[0], same[1], rtol=1e-13)


@pytest.mark.parametrize("n", [7, 20_011])
@pytest.mark.parametrize(
    ("rule", "shots"),
    [
        ("one-shot", 1),
        ("hard", 30),
        ("binomial", 1),
        ("binomial", 30),
        ("linear", 30),
        ("square-root", 30),
    ],
)
def test_data_losses_equal_sums_over_all_skills(rule, shots, n):
    for alpha, falls in ((0.3, 0.0), (0.9, 0.4)):
        skills = lw.Skills(alpha, n, target=2.0, target_exponent=falls)
        D = np.array([0.0, 3.0, 100.0, 1e4, 1e6, 1e8])
        k = skills.ranks
        share = scaling.data_shares(skills, k, D[:, None], rule, shots)
        lost = (1 - share) ** 2 if rule == "square-root" else 1 - share
        if rule in ("one-shot", "binomial"):
            lost = binom.cdf(shots - 1, D[:, None], skills.frequencies(k))
        full = np.sum(skills.frequencies(k) * skills.targets(k) ** 2 / 2 * lost, axis=1)
        found = scaling.data_loss(skills, D, rule, shots)
        tails = 1e-8 if rule == "binomial" else 1e-12  # those of scipy's distribution
        rough = np.where(full < 1e-2 * full[0], tails, 1e-12)
        assert np.all(np.abs(found.value - full) <= found.error + rough * full)


@pytest.mark.parametrize(
    ("rule", "shots"), [("one-shot", 1), ("hard", 5), ("binomial", 5), ("linear", 5)]
)
@pytest.mark.parametrize(("alpha", "falls"), [(0.3, 0.0), (0.9, 0.0), (0.6, 0.2)])
def test_data_losses_tend_to_their_law(alpha, falls, rule, shots):
    skills = lw.Skills(alpha, target=2.0, target_exponent=falls)
    law = scaling.data_law(skills, rule, shots)
    D = np.geomspace(1e8, 1e11, 4)
    loss = scaling.data_loss(skills, D, rule, shots)
    # a hard threshold is a staircase
    rough = {"hard": 1.0, "linear": 1e-2}.get(rule, 1e-3)
    steps = rough * (skills.scale * D / shots) ** (-1 / (alpha + 1))
    assert np.all(np.abs(loss.value / law(D) - 1) < 1e-6 + steps)
    expected = (alpha + 2 * falls) / (alpha + 1)
    assert law.exponent == pytest.approx(-expected, rel=1e-13)

    s, r = expected, alpha + 1
    lost = {
        "one-shot": lambda u: math.exp(-u),
        "hard": lambda u: float(u < shots),
        "binomial": lambda u: math.exp(-u) * sum(u**j / math.factorial(j) for j in range(shots)),
        "linear": lambda u: max(1 - u / shots, 0.0),
    }[rule]
    # u = v^{1/s} takes the singularity away
    cut = float(shots) ** s
    integral = sum(
        quad(lambda v: lost(v ** (1 / s)) / s, *ends, epsabs=1e-12, limit=200)[0]
        for ends in ((0, cut), (cut, 60**s))
    )
    constant = 2 * skills.scale / r * skills.scale**-s * integral
    assert law.prefactor == pytest.approx(constant, rel=1e-8)


def test_published_rule_has_the_law_of_the_projection():
    laws = [scaling.data_law(lw.Skills(0.6), rule, 800) for rule in ("linear", "square-root")]
    assert laws[0] == laws[1]


# --- parameters ---------------------------------------------------------------------------------


def test_units_ramp_as_published():
    for units in (1, 4):
        for N in range(1, 14):
            q = (N - 1) // units + 1
            r = N - (q - 1) * units
            k = np.arange(1, 8)
            expected = np.where(k < q, 1.0, np.where(k == q, r / units, 0.0))
            np.testing.assert_allclose(scaling.parameter_shares(k, N, units), expected)
    assert scaling.parameter_shares(1, 0) == 0


@pytest.mark.parametrize("n", [7, 20_011, math.inf])
def test_parameter_losses_are_those_of_the_ramp(n):
    skills = lw.Skills(0.6, n, target=2.0, target_exponent=0.1)
    N = np.array([0, 1, 2, 3, 9, 10, 25, 30, 1e4])
    k = np.arange(1.0, min(n, 300_000) + 1)
    share = scaling.parameter_shares(k, N[:, None], 4)
    full = np.sum(skills.frequencies(k) * skills.targets(k) ** 2 / 2 * (1 - share) ** 2, axis=1)
    if n == math.inf:
        full += 2 * skills.scale * zeta(1.8, 300_001)
    found = scaling.parameter_loss(skills, N, 4)
    np.testing.assert_allclose(found.value, full, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("alpha", [0.3, 0.6, 0.9])
def test_parameter_losses_tend_to_their_law(alpha):
    skills = lw.Skills(alpha, target=2.0)
    law = scaling.parameter_law(skills)
    N = np.array([1e3, 1e6])
    found = scaling.parameter_loss(skills, N).value
    assert np.all(np.abs(found / law(N + 0.5) - 1) < 1 / N**2)
    assert law.exponent == pytest.approx(-alpha, rel=1e-14)
    assert scaling.parameter_law(skills, 4)(4 * N) == pytest.approx(law(N), rel=1e-13)


# --- compute ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "n", "share"), [(0.3, 0.430, 0.26), (0.6, 0.593, 0.23), (0.9, 0.695, 0.21)]
)
def test_the_front_is_that_of_brute_force(alpha, n, share):
    skills = lw.Skills(alpha)
    front = scaling.compute_front(skills, np.array([1e9, 1e10]))
    assert front.n == pytest.approx(n, abs=5e-4)
    assert front.last_share == pytest.approx(share, abs=6e-3)
    assert front.law.exponent == pytest.approx(-alpha / (alpha + 2), rel=1e-13)
    np.testing.assert_allclose(front.parameters * front.time, front.compute, rtol=1e-13)
    for C, loss, parameters in zip(front.compute, front.loss, front.parameters, strict=True):
        N = np.unique(np.round(parameters * np.geomspace(0.8, 1.25, 61)))
        tried = scaling.compute_loss(skills, N, C / N).value
        assert loss == pytest.approx(np.min(tried), rel=1e-3)
        assert N[np.argmin(tried)] == pytest.approx(parameters, rel=0.02)


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_front_is_the_minimum_of_its_constant(depth):
    for start in (1e-12, 1e-2, 0.5):
        skills = lw.Skills(0.6, start=start, depth=depth, target_exponent=0.1)
        front = scaling.compute_front(skills, 1e6)
        around = scaling.front_constant(skills, front.n * np.array([0.999, 1.0, 1.001]))
        assert around[1] == pytest.approx(front.law.prefactor, rel=1e-11)
        assert np.all(around[[0, 2]] > around[1])
        curvature = (around[0] + around[2] - 2 * around[1]) / 2
        if start > 1e-3:  # else the front is narrower than these steps
            assert abs(around[2] - around[0]) < 0.1 * curvature


def test_the_constant_equals_quadrature():
    alpha, n, c = 0.6, 0.8, 99.0
    skills = lw.Skills(alpha)

    def learned(y):
        clock = 2 * skills.scale * y ** -(alpha + 1) * n ** -(alpha + 2)
        return y ** -(alpha + 1) * (c / (c + math.exp(min(clock, 600)))) ** 2

    integral = quad(learned, 0, 1, epsabs=1e-13)[0]
    expected = skills.scale / 2 * n**-alpha * (1 / alpha + integral)
    assert scaling.front_constant(skills, n) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("alpha", "known"), [(0.3, 0.981), (0.6, 0.789), (0.9, 0.646)])
def test_published_constants_of_the_compute_law_are_not_these(alpha, known):
    skills = lw.Skills(alpha, 50_000, target=5.0, start=0.01)
    constant = scaling.compute_front(skills, 1e6).law.prefactor / 12.5
    assert constant == pytest.approx(known, abs=6e-4)


def test_compute_losses_are_sums_cut_at_the_parameters():
    for skills in (lw.Skills(0.6), lw.Skills(0.6, 30_000), lw.Skills(0.6, 200)):
        N, t = np.array([1.0, 37.0, 150.0, 5000.0, 20_000.0]), 50.0
        k = np.arange(1.0, min(skills.n_skills, 1e6) + 1)
        left = np.where(k <= N[:, None], skills.errors(k, t), 1.0)
        full = np.sum(skills.frequencies(k) * left**2, axis=1) / 2
        if skills.n_skills == math.inf:
            full += skills.scale / 2 * zeta(1.6, 1e6 + 1)
        found = scaling.compute_loss(skills, N, t)
        np.testing.assert_allclose(found.value, full, rtol=1e-12)
        assert np.all(np.abs(found.value - full) <= found.error + 1e-14 * full)
    whole = scaling.compute_loss(lw.Skills(0.6), math.inf, [1.0, 50.0])
    np.testing.assert_array_equal(whole.value, scaling.time_loss(lw.Skills(0.6), [1.0, 50.0]).value)


# --- bad input ----------------------------------------------------------------------------------


GOOD = np.geomspace(1, 1e4, 50)
FEW = lw.Skills(0.6, 12, start=1e-5)


@pytest.mark.parametrize(
    ("window", "arguments", "message"),
    [
        ((10.0, 50.0), {"raw": True}, r"0\.70 decades of time, and an exponent needs 1: to 100"),
        ((10.0, 500.0), {}, r"say over which .* or ask for the slope as it is by raw=True"),
        ((10.0, 5.0), {"raw": True}, "first < last"),
        ((0.0, 5.0), {"raw": True}, "0 < first"),
        ((10.0, math.inf), {"raw": True}, "first < last"),
        ((2e4, 3e5), {"raw": True}, "holds 0 of the 50 times; it needs 3"),
        ((1.0, 40.0), {"skills": FEW}, "half times of 2 skills, and an exponent needs 5"),
        ((1.0, 40.0), {"skills": FEW, "raw": True}, "half times of 2 skills"),
        ((1.0, 500.0), {"skills": FEW}, "outside which the completed loss follows no power law"),
        ((20.0, 5e3), {"skills": FEW}, "leaves the half times of the first and the last"),
    ],
)
def test_windows_that_show_no_exponent_are_refused(window, arguments, message):
    with pytest.raises(ValueError, match=message):
        scaling.fit_exponent(GOOD, 1 / GOOD, window, **arguments)


def test_losses_that_are_no_power_law_are_refused():
    with pytest.raises(ValueError, match="positive and finite"):
        scaling.fit_exponent(GOOD, -GOOD, (1.0, 1e3), raw=True)
    with pytest.raises(ValueError, match=r"one shape \(T,\)"):
        scaling.fit_exponent(GOOD, GOOD[1:], (1.0, 1e3), raw=True)


def test_a_raw_fit_needs_no_skills():
    found = scaling.fit_exponent(GOOD, 3 * GOOD**-0.7, (2.0, 3e3), raw=True)
    assert found.slope == pytest.approx(-0.7, rel=1e-13)
    assert found.prefactor == pytest.approx(3, rel=1e-12)
    assert not found.completed
    assert 2 <= found.window[0] < found.window[1] <= 3e3


def test_skills_with_starts_of_their_own_have_no_law_but_may_be_fitted():
    skills = lw.Skills(0.6, 12, start=np.linspace(1e-5, 2e-5, 12))
    for law in (scaling.time_law, lambda one: scaling.compute_front(one, 1e6)):
        with pytest.raises(ValueError, match="share no curve"):
            law(skills)
    window = 1.3 * float(skills.half_times(1)), 0.9 * float(skills.half_times(12))
    t = np.geomspace(*window, 100)
    found = scaling.fit_exponent(t, scaling.time_loss(skills, t).value, window, skills)
    assert found.slope == pytest.approx(-0.375, abs=0.02)


def test_rising_targets_have_no_law():
    rising = lw.Skills(0.6, 5000, target_exponent=-1.0)
    refusals = [
        lambda: scaling.time_law(rising),
        lambda: scaling.unseen_loss(rising),
        lambda: scaling.data_law(rising),
        lambda: scaling.data_loss(rising, 10),
        lambda: scaling.parameter_law(rising),
        lambda: scaling.compute_front(rising, 1e6),
        lambda: scaling.front_constant(rising, 1.0),
    ]
    for refused in refusals:
        with pytest.raises(ValueError, match="infinite loss, and no power law"):
            refused()
    assert scaling.time_loss(rising, 1.0).value > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: scaling.time_loss(s, -1.0), "t must be finite and not negative, got -1"),
        (lambda s: scaling.time_loss(s, math.nan), "t must be finite"),
        (lambda s: scaling.data_loss(s, -1.0), "samples must be finite and not negative"),
        (lambda s: scaling.data_loss(s, 10, "lineal"), "did you mean 'linear'"),
        (lambda s: scaling.data_law(s, "soft"), "unknown shot model 'soft'"),
        (lambda s: scaling.data_loss(s, 10, "one-shot", 3), "one shot is 1"),
        (lambda s: scaling.data_law(s, "one-shot", 3), "one shot is 1"),
        (lambda s: scaling.data_loss(s, 10, "binomial", 2.5), "shots must be a whole number"),
        (lambda s: scaling.data_loss(s, 10, "hard", 0), "shots must be positive"),
        (lambda s: scaling.data_law(s, "linear", -1), "shots must be positive"),
        (lambda s: scaling.parameter_loss(s, -1), "parameters must be finite and not negative"),
        (lambda s: scaling.parameter_loss(s, 5, 0), "units_per_skill must be positive"),
        (lambda s: scaling.compute_front(s, -1), "compute must be finite and not negative"),
        (lambda s: scaling.front_constant(s, 0.0), "n must be positive"),
        (lambda s: scaling.compute_loss(s, 2.5, 1.0), "whole numbers >= 1"),
        (lambda s: scaling.compute_loss(s, 0, 1.0), "whole numbers >= 1"),
        (lambda s: scaling.compute_loss(s, 3, -1.0), "t must be finite"),
    ],
)
def test_bad_input_is_refused(call, message):
    for skills in (lw.Skills(0.6), lw.Skills(0.6, 5)):
        with pytest.raises(ValueError, match=message):
            call(skills)


def test_results_are_frozen():
    law = scaling.PowerLaw(-1.0, 2.0)
    assert replace(law, prefactor=1.0)(4.0) == 0.25
