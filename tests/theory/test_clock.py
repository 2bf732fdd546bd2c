"""The clocks of grokking: closed formulas, their stated errors, and the exact crossings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import besselk, findroot, mp, mpf
from mpmath import sqrt as root
from scipy.integrate import solve_ivp

import layerwise as lw
from layerwise.theory import clock

RATIOS = (3.0, 10.0, 30.0, 100.0)


def balanced(ratio, **numbers):
    """Return a network with Theta_0 = 0 and Sigma_0 = ratio, for a unit output scale."""
    size = np.sqrt(np.asarray(ratio)[..., None] / 2)
    return lw.Scalar(1.0, size * [1, 1], size * [1, -1], **numbers)


def integrated(model, level):
    """Return the crossings by an event search on the weights themselves, an oracle."""
    S = float(model.target)

    def parts(w):
        a, b = np.split(w, 2)
        theta, size = a @ b / model.scale, (a @ a + b @ b) / (2 * model.scale)
        return float(theta), float(size)

    def fitted(t, w):
        return abs(S - parts(w)[0]) - level * abs(S)

    def rich(t, w):
        theta, size = parts(w)
        return np.sign(S) * theta / size - np.sqrt(0.5)

    fitted.direction, rich.direction = -1, 1
    found = solve_ivp(
        lambda t, w: model.velocity(w),
        (0, 60 / float(model.decay)),
        model.start,
        method="DOP853",
        events=(fitted, rich),
        rtol=1e-12,
        atol=1e-14,
    )
    first, last = found.t_events
    if not len(last) and rich(0.0, model.start) >= 0:
        last = [0.0]
    return (first[0] if len(first) else np.inf), (last[-1] if len(last) else np.inf)


def test_the_table_of_the_two_clocks():
    net = balanced(RATIOS, decay=0.01)
    np.testing.assert_allclose(
        clock.rich_time(net).value, [55.4, 115.6, 170.6, 230.8], rtol=0, atol=0.051
    )
    np.testing.assert_allclose(
        clock.crossings(net).rich, [55.3, 115.5, 170.4, 230.6], rtol=0, atol=0.051
    )
    np.testing.assert_allclose(
        clock.fit_time(net, 0.1).value, np.log(10) / (2 * np.array(RATIOS)), rtol=1e-13
    )


@pytest.mark.parametrize(
    "model",
    [
        lw.Scalar(1.0, [1.5, 1.0], [-1.0, 1.2], decay=0.1),
        lw.Scalar(-0.7, [1.5, 1.0], [1.0, 1.2], scale=2.0, rate=1.7, decay=0.05),
        lw.Scalar(1.0, [3.0, 0.2], [0.1, 0.0], decay=0.1),
        lw.Scalar(1.0, [0.01, 0.02], [0.03, -0.01], decay=0.1),
        lw.Scalar(2.0, [3.0, 2.0], [3.0, 2.1], rate=0.5, decay=0.1),
        lw.Scalar(0.3, [0.5, 1.0], [1.0, -0.5], decay=0.25),
    ],
    ids=["lazy", "negative target", "one layer", "small", "above its target", "strong decay"],
)
@pytest.mark.parametrize("level", [0.05, 0.3])
def test_crossings_are_those_of_the_weights(model, level):
    fit, rich = integrated(model, level)
    found = clock.crossings(model, level)
    assert float(found.fit) == pytest.approx(fit, rel=1e-8)
    assert float(found.rich) == pytest.approx(rich, rel=1e-8)


def test_the_time_to_become_rich_is_a_ratio_of_bessel_functions():
    # a start long forgotten leaves K_{nu+1}(x)/K_nu(x) = e^phi, and rich is sinh(phi) = 1
    for share in (0.02, 0.1, 0.3, 0.5, 0.8):
        with mp.workdps(25):
            nu = (1 / mpf(share) - 1) / 2

            def off(x, nu=nu):
                return besselk(nu + 1, x) - (1 + root(2)) * besselk(nu, x)

            guess = (1 - share / 1.42) / (2 * share)
            size = float(2 * share * findroot(off, (guess, 1.01 * guess)))
        net = balanced(300.0, decay=share)
        expected = np.log(300 / size) / (2 * share)
        assert float(clock.crossings(net).rich) == pytest.approx(expected, rel=1e-10)
        estimate = clock.rich_time(net)
        late = float(estimate.value) - expected
        assert 0.3 * float(estimate.error) < late < float(estimate.error)


SIGNS = st.sampled_from([-1.0, 1.0])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(0.1, 3),
    st.floats(-1.8, -0.1),
    SIGNS,
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.sampled_from([0.01, 0.1, 0.3]),
)
def test_the_errors_are_bounds(seed, log_ratio, log_share, sign, log_rate, log_scale, level):
    rng = np.random.default_rng(seed)
    S, rate, scale = sign * 10 ** rng.uniform(-1, 1), 10**log_rate, 10**log_scale
    h = int(rng.choice([1, 2, 5, 30]))
    a, b = rng.standard_normal((2, h)) * np.sqrt(10**log_ratio * abs(S) * scale / h)
    decay = 10**log_share * rate * abs(S) / scale
    model = lw.Scalar(S, a, b * rng.uniform(0.1, 1), scale, rate, decay)
    exact = clock.crossings(model, level)
    for estimate, time in (
        (clock.fit_time(model, level), exact.fit),
        (clock.rich_time(model), exact.rich),
        (clock.delay(model, level), np.maximum(exact.delay, 0.0)),
    ):
        if np.isfinite(estimate.error):
            rounding = 1e-12 * abs(time)
            assert abs(time - estimate.value) <= estimate.error + rounding


def test_the_errors_are_small_where_the_start_is_lazy_and_decay_weak():
    net = balanced([30.0, 100.0, 1000.0], decay=1e-4)
    assert np.all(clock.fit_time(net).error < 2e-3 * clock.fit_time(net).value)
    assert np.all(clock.rich_time(net).error < 1e-5 * clock.rich_time(net).value)


def test_the_delay_grows_like_the_logarithm_of_the_initial_scale():
    scales = np.array([10.0, 20.0, 40.0, 80.0])
    delays = clock.crossings(balanced(scales**2, decay=0.02), 0.1).delay
    np.testing.assert_allclose(np.diff(delays), np.log(2) / 0.02, rtol=1e-3)
    estimates = clock.delay(balanced(scales**2, decay=0.02), 0.1)
    assert np.all(np.abs(estimates.value - delays) <= estimates.error)


def test_what_never_comes_takes_for_ever():
    dies = clock.crossings(balanced(30.0, decay=1.5))
    assert (float(dies.fit), float(dies.rich)) == (np.inf, np.inf)
    assert clock.rich_time(balanced(30.0, decay=1.5)).value == np.inf
    for net in (
        lw.Scalar(1.0, 0.0, 0.0, decay=0.1),
        lw.Scalar(0.0, 1.0, 2.0, decay=0.1),
        lw.Scalar(1.0, 1.0, 2.0, rate=0.0, decay=0.1),
        lw.Scalar(1.0, [2.0, 1.0], [-2.0, -1.0], decay=0.1),
    ):
        found = clock.crossings(net)
        assert (float(found.fit), float(found.rich)) == (np.inf, np.inf)
        assert np.isnan(found.delay)
        for estimate in (clock.fit_time(net), clock.rich_time(net)):
            assert estimate.value == np.inf or estimate.error == np.inf
    assert clock.fit_time(balanced(3.0, decay=0.5)).error == np.inf  # held off its target


def test_without_decay_only_small_starts_become_rich():
    small, large = balanced(0.1), balanced(10.0)
    assert clock.crossings(large).rich == clock.rich_time(large).value == np.inf
    found = clock.crossings(small, 0.01)
    # Theta = C = Sigma_0 there
    assert float(found.rich) == pytest.approx(float(lw.time_to(small, level=0.1)), rel=1e-9)
    assert float(found.fit) == pytest.approx(float(lw.time_to(small, error=0.01)), rel=1e-9)
    assert clock.rich_time(small).value == 0
    assert clock.rich_time(small).error == np.inf


def test_an_aligned_start_is_rich_and_a_fitted_one_fitted():
    aligned = lw.Scalar(1.0, [2.0, 1.0], [2.0, 1.0], decay=0.1)
    assert clock.crossings(aligned).rich == 0
    fitted = lw.Scalar(1.0, [2.0, 1.0], [0.3, 0.401], decay=0.1)
    assert clock.crossings(fitted).fit == clock.fit_time(fitted).value == 0


def test_a_batch_is_its_parts():
    rng = np.random.default_rng(0)
    batch = lw.Scalar([1.0, -2.0, 0.5], *rng.standard_normal((2, 3, 4)), decay=[0.0, 0.1, 0.2])
    whole = clock.crossings(batch), clock.fit_time(batch), clock.rich_time(batch)
    for k, part in enumerate(batch.parts()):
        one = clock.crossings(part)
        assert (one.fit, one.rich) == (whole[0].fit[k], whole[0].rich[k])
        assert clock.fit_time(part).value == whole[1].value[k]
        assert clock.rich_time(part).error == whole[2].error[k]


def test_bad_input_is_refused():
    net = balanced(3.0, decay=0.1)
    for call in (clock.fit_time, clock.crossings, clock.delay):
        with pytest.raises(ValueError, match=r"level must lie between 0 and 1, got 1\.5"):
            call(net, 1.5)
    for call in (clock.fit_time, clock.rich_time, clock.crossings, clock.delay):
        with pytest.raises(TypeError, match="the clock is that of a Scalar, got Diagonal"):
            call(lw.Diagonal(1.0, 0.1, 0.1))
