"""Power-law skills: strengths, times and stages, against many digits and against the flow."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from mpmath import zeta as mp_zeta

import layerwise as lw
from layerwise.theory.laws import shares
from layerwise.theory.models import Deep

from . import depth_oracles

DEPTHS = (1, 1.5, 2, 3, 8, 64, math.inf)
STARTS = (1e-12, 1e-3, 0.3)


def frequency(alpha, k):
    """Return P_k of infinitely many skills, by mpmath."""
    with mp.workdps(30):
        return mpf(k) ** -(mpf(alpha) + 1) / mp_zeta(mpf(alpha) + 1)


# --- frequencies, targets, starts ---------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 5, 1000, 1001, 100_000])
@pytest.mark.parametrize("alpha", [0.2, 0.6, 2.0])
def test_frequencies_sum_to_one(alpha, n):
    skills = lw.Skills(alpha, n)
    P = skills.frequencies(skills.ranks)
    assert math.fsum(P) == pytest.approx(1, abs=1e-13)
    assert np.all(np.diff(P) < 0)
    assert P[0] / P[-1] == pytest.approx(n ** (alpha + 1), rel=1e-13)


def test_frequencies_of_the_standard_problem():
    P = lw.Skills(0.6, 5).frequencies([1, 2, 3, 4, 5])
    np.testing.assert_allclose(P, [0.5927, 0.1955, 0.1022, 0.0645, 0.0451], atol=5e-5)


@pytest.mark.parametrize("alpha", [0.2, 0.6, 2.0])
def test_infinitely_many_skills_have_zeta_as_their_sum(alpha):
    k = [1.0, 2.5, 1e6, 1e30]
    expected = [float(frequency(alpha, x)) for x in k]
    np.testing.assert_allclose(lw.Skills(alpha).frequencies(k), expected, rtol=1e-13)


def test_skills_whose_targets_vary_start_at_one_share():
    skills = lw.Skills(0.6, 4, target=2.0, start=0.02, target_exponent=0.3, depth=3)
    k = skills.ranks
    np.testing.assert_allclose(skills.targets(k), 2 * k**-0.3)
    np.testing.assert_allclose(skills.starts(k) / skills.targets(k), 0.01)
    np.testing.assert_allclose(
        skills.paces(k), skills.frequencies(k) * skills.targets(k) ** (4 / 3)
    )


# --- curves and times ---------------------------------------------------------------------------


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_curves_equal_many_digits(depth, start):
    alpha, target, k = 0.6, 5.0, 7.0
    skills = lw.Skills(alpha, start=start * target, target=target, depth=depth, rate=0.5)
    t = float(skills.half_times(k)) * np.array([0.0, 0.1, 0.9, 1.02, 2.0, 1e6])
    rate = 0.5 * frequency(alpha, k)
    u, error = depth_oracles.product(start * target, target, depth, rate, t)
    # the escape time is relative to rounding, and with it the place on the front
    steep = 1e-15 * float(skills.half_times(k) / skills.widths(k))
    np.testing.assert_allclose(skills.strengths(k, t), u, rtol=1e-11 + 30 * steep, atol=0)
    early = t < 3 * skills.half_times(k)
    found = skills.errors(k, t)
    np.testing.assert_allclose(found[early], np.array(error)[early], rtol=1e-11 + 30 * steep)
    assert np.all(found[~early] >= 0)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("alpha", [0.2, 0.6, 2.0])
def test_half_times_and_widths_equal_quadrature(alpha, depth, start):
    k, target = 3.0, 2.0
    skills = lw.Skills(alpha, start=start * target, target=target, depth=depth)
    rate = frequency(alpha, k)

    def quadrature(first, last):  # a time of the bare equation, from share to share
        times = depth_oracles.time_to(first * target, target, depth, rate, (1 - last) * target)
        return float(times)

    assert skills.half_times(k) == pytest.approx(quadrature(start, 0.5), rel=1e-11)
    assert skills.time_to(k, 0.9) == pytest.approx(quadrature(start, 0.9), rel=1e-11)
    width = quadrature(max(start, 0.1), 0.9)
    assert skills.widths(k) == pytest.approx(width, rel=1e-11)
    last = quadrature(max(start, 0.05), 0.95)
    assert skills.saturation_times(k, 0.05) == pytest.approx(last, rel=1e-11)


@given(
    st.floats(0.2, 2),
    st.sampled_from(DEPTHS),
    st.floats(1e-12, 0.5),
    st.floats(0.01, 0.99),
    st.floats(1, 1e12),
)
@settings(deadline=None, max_examples=150)
def test_time_to_is_the_inverse_of_the_strength(alpha, depth, start, share, k):
    skills = lw.Skills(alpha, start=start, depth=depth)
    t = float(skills.time_to(k, share))
    if share <= start:
        assert t == 0
        return
    reached = float(skills.strengths(k, t))
    slope = share ** (1 - 2 / depth) * (1 if depth == math.inf else depth) * skills.paces(k) * t
    assert reached == pytest.approx(share, rel=1e-12 + 1e-14 * float(slope))


@given(st.floats(0.2, 2), st.sampled_from(DEPTHS), st.floats(1e-12, 0.04))
@settings(deadline=None, max_examples=50)
def test_rarer_skills_do_the_same_later(alpha, depth, start):
    skills = lw.Skills(alpha, start=start, depth=depth)
    k = np.array([1.0, 2.0, 30.0])
    for times in (skills.half_times, skills.widths, skills.emergence_times):
        np.testing.assert_allclose(times(k) / times(1), k ** (alpha + 1), rtol=1e-12)


def test_the_sigmoid_of_depth_two():
    skills = lw.Skills(0.6, 5, target=5.0, start=5 / (1.8e5 + 1), rate=2 * 0.02, rate_divisor=22)
    k, c = skills.ranks, 1.8e5
    # 4 lr S P/kappa: the loss without the 1/2 makes a 4 of the 2
    unit = 22 / (4 * 0.02 * 5 * skills.frequencies(k))
    np.testing.assert_allclose(skills.half_times(k), unit * np.log(c), rtol=1e-13)
    np.testing.assert_allclose(skills.half_times(k), [1123, 3404, 6513, 10319, 14747], atol=1)
    np.testing.assert_allclose(skills.widths(k), unit * np.log(81), rtol=1e-13)
    eps = 0.05
    emerges = unit * np.log(c / (1 / eps - 1))
    np.testing.assert_allclose(skills.emergence_times(k, eps), emerges, rtol=1e-13)
    np.testing.assert_allclose(
        skills.saturation_times(k, eps), 2 * unit * np.log(1 / eps - 1), rtol=1e-13
    )
    expected = (skills.saturation_times(k, eps)[:-1]) < np.diff(emerges)
    np.testing.assert_array_equal(skills.resolved(eps), expected)


def test_linear_skills_rise_at_once():
    skills = lw.Skills(0.6, 5, target=2.0, start=1e-4, depth=4, rate=0.3).linear()
    assert (skills.depth, float(skills.initial)) == (1, 0)
    k, t = skills.ranks, np.array([0.0, 1e-9, 1.0, 30.0])
    rates = 0.3 * skills.frequencies(k)
    rise = -2 * np.expm1(-rates * t[:, None])
    np.testing.assert_allclose(skills.strengths(k, t), rise, rtol=1e-14)
    np.testing.assert_allclose(skills.half_times(k), math.log(2) / rates, rtol=1e-14)
    ratio = skills.widths(k) / skills.half_times(k)
    np.testing.assert_allclose(ratio, math.log(9) / math.log(2), rtol=1e-14)
    assert not np.any(skills.resolved())


@pytest.mark.parametrize(
    ("depth", "half", "ratio"),
    [
        (2, 4.6, 0.477),
        (3, 20.7, 0.0971),
        (4, 49.7, 0.0362),
        (5, 83.7, 0.0193),
        (6, 116, 0.0125),
        (8, 167, None),
        (16, 226, None),
        (64, 121, 0.0016),
    ],
)
def test_known_times_and_sharpness_over_depth(depth, half, ratio):
    one = lw.Skills(0.6, 1, start=1e-4, depth=depth)
    assert one.half_times(1) == pytest.approx(half, rel=6e-3)
    if ratio:
        assert one.widths(1) / one.half_times(1) == pytest.approx(ratio, rel=0.03)


@pytest.mark.parametrize(
    ("depth", "ratios"),
    [
        (2, [1.90, 0.956, 0.627, 0.477]),
        (3, [0.824, 0.220, 0.0619, 0.0203]),
        (4, [0.343, 0.0362, 3.2e-3, 3.6e-4]),
        (5, [0.132, 4.8e-3, 1.3e-4, 4.8e-6]),
    ],
)
def test_known_sharpness_from_equal_weights(depth, ratios):
    for weight, known in zip([0.3, 0.1, 0.03, 0.01], ratios, strict=True):
        one = lw.Skills(0.6, 1, start=weight**depth, depth=depth)
        assert one.widths(1) / one.half_times(1) == pytest.approx(known, rel=0.02)


def test_widths_keep_their_digits_where_times_are_long():
    # 1/(eta P S^{2-2/L}) is 1, and the width does not see the start
    deep = [lw.Skills(0.6, 1, start=start, depth=8) for start in (1e-24, 1e-3)]
    late, early = (float(one.widths(1)) for one in deep)
    assert late == pytest.approx(early, rel=1e-14)
    difference = deep[0].time_to(1, 0.9) - deep[0].time_to(1, 0.1)
    assert abs(difference / late - 1) > 1e-4  # what a difference of times would have given


@pytest.mark.parametrize(("start", "stages"), [(1e-2, 1.7), (1e-4, 3.4), (1e-6, 5.0)])
def test_stages_of_depth_two(start, stages):
    assert lw.Skills(0.6, start=start).stages == pytest.approx(stages, abs=0.06)


@pytest.mark.parametrize(("depth", "stages"), [(2, 3.4), (3, 16.5), (4, 44)])
def test_deeper_products_come_in_more_stages(depth, stages):
    skills = lw.Skills(0.6, start=1e-4, depth=depth)
    assert skills.stages == pytest.approx(stages, rel=0.02)
    found = skills.resolved(0.1, np.arange(1.0, 200.0))
    assert abs(np.sum(found) - stages) < 1 + 0.2 * stages  # the criterion and its estimate agree
    assert np.all(np.diff(found.astype(int)) <= 0)


def test_shares_of_a_start_ahead():
    skills = lw.Skills(0.6, start=0.2)
    assert skills.time_to(1, [0.1, 0.2, 0.3])[:2].tolist() == [0, 0]
    # from where the skill starts, if that is later
    assert skills.saturation_times(1, 0.05) == pytest.approx(skills.time_to(1, 0.95), rel=1e-14)


def test_time_between_is_additive():
    y = np.array([-20.0, -3.0, 0.5, 8.0])
    for depth in DEPTHS:
        steps = shares.time_between(y[:-1], y[1:], depth)
        assert np.sum(steps) == pytest.approx(shares.time_between(y[0], y[-1], depth), rel=1e-13)


# --- as a model ---------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 1.5, 2, 3, 8])
def test_solutions_equal_the_flow(depth):
    skills = lw.Skills(0.6, 4, target=2.0, start=0.1, rate=0.7, depth=depth, target_exponent=0.2)
    t = np.linspace(0, 20, 9)
    exact, flow = lw.solve(skills, t), lw.solve(skills, t, "flow")
    assert (exact.method, exact.law, flow.method) == ("exact", "skills", "flow")
    for name in skills.quantities:
        np.testing.assert_allclose(exact[name], flow[name], rtol=1e-9, atol=4e-9)
    assert exact["map"].shape == (9, 4)
    assert exact["loss"].shape == (9,)
    P, S = skills.frequencies(skills.ranks), skills.targets(skills.ranks)
    loss = np.sum(P * (S - flow["map"]) ** 2, axis=1) / 2  # with P, and not with rate P
    np.testing.assert_allclose(exact["loss"], loss, rtol=1e-9, atol=1e-12)
    assert exact.residual() < 1e-12
    np.testing.assert_allclose(exact.weights()[0] ** depth, exact["map"], rtol=1e-11)


def test_descent_follows_the_flow():
    skills = lw.Skills(0.6, 3, start=0.1)
    found = lw.solve(skills, [1.0, 5.0], "descent")
    np.testing.assert_allclose(found["map"], skills.strengths([1, 2, 3], found.t), atol=0.02)


def test_solutions_say_when_skills_emerge():
    skills = lw.Skills(0.6, 6, start=[0.1, 0.01, 0.02, 0.3, 0.6, 0.01], depth=3)
    solution = lw.solve(skills, [0.0, 5.0])
    np.testing.assert_allclose(solution["emergence_times"], skills.half_times(skills.ranks))
    np.testing.assert_allclose(solution.emergence_times(0.8), skills.time_to(skills.ranks, 0.8))
    np.testing.assert_allclose(
        lw.time_to(skills, level=0.5), lw.time_to(skills.network, level=0.5), rtol=1e-15
    )
    assert skills.half_times(5) == 0
    assert solution.regime().by_mode.shape == (6,)
    assert isinstance(skills.network, Deep)


def test_starts_given_one_by_one_are_those_of_the_skills():
    starts = [0.1, 0.01, 0.2]
    skills = lw.Skills(0.6, 3, start=starts, depth=3)
    np.testing.assert_allclose(lw.solve(skills, [0.0])["map"][0], starts)
    alone = lw.Deep(1.0, weight=0.2 ** (1 / 3), depth=3, rate=skills.frequencies(3))
    np.testing.assert_allclose(
        skills.strengths([3], [1.0, 9.0]), lw.solve(alone, [1.0, 9.0])["map"][:, None], rtol=1e-12
    )
    with pytest.raises(ValueError, match="whole numbers"):
        skills.strengths(1.5, 1.0)


def test_infinitely_many_skills_have_a_loss_and_no_map():
    skills = lw.Skills(0.6)
    solution = lw.solve(skills, [0.0, 10.0, 1e6])
    assert np.all(np.diff(solution["loss"]) < 0)
    for name in ("map", "error", "conserved"):
        with pytest.raises(lw.NotSolvable, match=r"strengths\(k, t\)"):
            solution[name]
    with pytest.raises(lw.NotSolvable, match="strengths"):
        lw.solve(skills, [1.0], "flow")["loss"]
    trace = solution.trace()
    assert list(trace.series) == ["loss"]
    assert trace.provenance.config["n_skills"] == "infinite"


def test_infinite_depth_has_a_map_and_no_weights():
    skills = lw.Skills(0.6, 3, start=0.1, depth=math.inf)
    solution = lw.solve(skills, [0.0, 10.0, 1e4])
    np.testing.assert_allclose(solution["map"][[0, -1]], [[0.1] * 3, [1.0] * 3])
    np.testing.assert_allclose(solution["error"], 1 - solution["map"], atol=1e-15)
    with pytest.raises(lw.NotSolvable, match="no weights"):
        solution["conserved"]
    assert set(solution.trace().series) == {"error", "loss", "map"}


def test_traces_and_citations_are_there():
    solution = lw.solve(lw.Skills(0.6, 3), [0.0, 1.0])
    assert solution.trace().provenance.config["model"] == "Skills"
    assert "2404.17563" in solution.cite()
    again = pickle.loads(pickle.dumps(solution.model))
    np.testing.assert_array_equal(again.strengths(2, 1.0), solution.model.strengths(2, 1.0))


@pytest.mark.parametrize("depth", DEPTHS)
def test_extremes_neither_overflow_nor_warn(depth):
    for alpha in (0.2, 2.0):
        skills = lw.Skills(alpha, start=1e-12, depth=depth)
        found = skills.strengths([1, 1e3, 1e12, 1e30], [0.0, 1e-12, 1.0, 1e6, 1e12])
        assert np.all((found >= 1e-12 * (1 - 1e-12)) & (found <= 1))
        assert np.all(np.diff(found, axis=0) >= -1e-15)
        assert np.all(np.diff(found, axis=1) <= 1e-15)
        assert np.all(np.isfinite(skills.half_times([1, 1e30])))


def test_shapes_are_those_of_t_and_k():
    skills = lw.Skills(0.6)
    assert skills.strengths(3, 2.0).shape == ()
    assert skills.strengths([[1, 2, 3]], [0.0, 1.0]).shape == (2, 1, 3)
    assert skills.errors([1, 2], 1.0).shape == (2,)
    assert skills.time_to([[1], [2]], [0.1, 0.5, 0.9]).shape == (2, 3)
    unsorted = skills.strengths(1, [5.0, 1.0, 5.0])
    assert unsorted[0] == unsorted[2] > unsorted[1]


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.0}, "alpha must be positive, got 0"),
        ({"alpha": -1.0}, "alpha must be positive"),
        ({"alpha": math.nan}, "alpha must be finite"),
        ({"n_skills": 0}, "n_skills must be a whole number >= 1, or infinity, got 0"),
        ({"n_skills": 2.5}, "n_skills must be a whole number"),
        ({"n_skills": -math.inf}, "n_skills must be finite"),
        ({"target": 0.0}, "target must be positive"),
        ({"target": -1.0}, "target must be positive"),
        ({"target": math.inf}, "target must be finite"),
        ({"start": 0.0}, r"start outside \(0, target\): 0, target 1; only depth 1 leaves 0"),
        ({"start": 1.0}, r"start outside \(0, target\): 1, target 1"),
        ({"start": -0.1}, r"start outside \(0, target\)"),
        ({"start": math.nan}, r"start outside \(0, target\)"),
        ({"start": -0.1, "depth": 1}, r"start outside \(0, target\)"),
        ({"start": [0.1, 0.1]}, "start must be a number, or one for each of finitely many"),
        ({"start": [0.1, 0.1], "n_skills": 3}, "start must be a number, or one for each"),
        ({"start": [0.1, 0.9], "n_skills": 2, "target_exponent": 1}, r"0\.9, target 0\.5"),
        ({"rate": 0.0}, "rate must be positive"),
        ({"rate": math.inf}, "rate must be finite"),
        ({"depth": 0.5}, r"depth must be at least 1, got 0\.5"),
        ({"depth": math.nan}, "depth must be finite"),
        ({"target_exponent": -0.3}, r"must be above -alpha/2 = -0\.3 for infinitely many"),
        ({"target_exponent": -5.0, "depth": 64}, "must be above -alpha/2"),
        ({"rate_divisor": 0.0}, "rate_divisor must be positive"),
    ],
)
def test_bad_skills_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        lw.Skills(**{"alpha": 0.6, **arguments})


def test_numbers_are_numbers():
    with pytest.raises(TypeError, match="alpha must be a number, got 'steep'"):
        lw.Skills("steep")


def test_finitely_many_skills_may_have_any_targets():
    skills = lw.Skills(0.6, 5, target_exponent=-2.0)
    assert np.all(np.diff(skills.targets(skills.ranks)) > 0)
    assert lw.solve(skills, [0.0, 1.0])["loss"].shape == (2,)


@pytest.mark.parametrize("k", [0, -1, 6, math.nan, math.inf])
def test_skills_that_are_not_there_are_refused(k):
    with pytest.raises(ValueError, match=r"there is no skill .* of 5"):
        lw.Skills(0.6, 5).half_times(k)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, math.nan])
def test_shares_outside_0_1_are_refused(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        lw.Skills(0.6).time_to(1, share)


@pytest.mark.parametrize("t", [-1.0, math.nan, math.inf])
def test_bad_times_are_refused(t):
    with pytest.raises(ValueError, match="finite and not negative"):
        lw.Skills(0.6).strengths(1, t)
