"""Each formula in the errata: as printed it fails, and what the package uses instead holds."""

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.linalg import expm, polar, sqrtm
from scipy.optimize import minimize_scalar
from scipy.special import zeta

import layerwise as lw
from layerwise.measures import drift, gain, gamma_plus, imbalance
from layerwise.theory.errata import ERRATA, erratum
from layerwise.theory.laws.depth import product
from layerwise.theory.starts import balanced

from . import oracles

NAMED = [item for item in ERRATA if item.test is not None]


# --- the table -------------------------------------------------------------------------------


def test_the_keys_are_in_order():
    assert [item.key for item in ERRATA] == [f"E{n}" for n in range(1, 39)]


@pytest.mark.parametrize("item", ERRATA, ids=lambda item: item.key)
def test_every_erratum_says_what_it_should(item):
    for text in (item.where, item.printed, item.correct, item.evidence, item.library):
        assert text.strip() == text != ""
        assert text.count("`") % 2 == 0
    assert erratum(item.key) is item


@pytest.mark.parametrize("item", NAMED, ids=lambda item: item.key)
def test_every_test_that_is_named_exists(item):
    assert item.test.startswith(f"test_{item.key.lower()}_")
    assert callable(globals()[item.test])


def test_no_test_of_an_erratum_goes_unnamed():
    known = {item.test for item in NAMED}
    found = {name for name in globals() if name.startswith("test_e") and name[6].isdigit()}
    assert found == known


def test_an_unknown_key_is_refused_with_the_known_ones():
    with pytest.raises(KeyError, match=r"unknown erratum 'E39'.*Known: E1, "):
        erratum("E39")


# --- references that owe nothing to the package ----------------------------------------------


def flow(w1, w2, cross, t, method="DOP853"):
    """Return the weights (T, h, i), (T, o, h) of ``f(x) = W2 W1 x``, white inputs, by integration.

    The tolerances are those of a reference; the stiff solver is for long lazy runs.
    """
    (h, i), o = w1.shape, len(w2)

    def velocity(_, state):
        first, second = state[: h * i].reshape(h, i), state[h * i :].reshape(o, h)
        error = cross - second @ first
        return np.concatenate([(second.T @ error).ravel(), (error @ first.T).ravel()])

    start = np.concatenate([w1.ravel(), w2.ravel()])
    rtol = 3e-14 if method == "DOP853" else 1e-10
    found = solve_ivp(velocity, (0, t[-1]), start, method, t_eval=t, rtol=rtol, atol=rtol * 1e-3)
    assert found.success
    states = found.y.T
    return states[:, : h * i].reshape(-1, h, i), states[:, h * i :].reshape(-1, o, h)


def hidden_flow(a, b, target, scale, t, x=(1.0,)):
    """Return a, b (T, h) of ``f = (x/Z) sum a_i b_i`` trained on the samples x with y = S x."""
    x, h = np.asarray(x), len(a)

    def velocity(_, state):
        p, q = state[:h], state[h:]
        push = np.mean((target * x - x * (p @ q) / scale) * x / scale)
        return np.concatenate([push * q, push * p])

    start = np.concatenate([a, b])
    found = solve_ivp(velocity, (0, t[-1]), start, "DOP853", t_eval=t, rtol=3e-14, atol=1e-17)
    assert found.success
    return found.y[:h].T, found.y[h:].T


def orthonormal(rng, rows, columns):
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


def blocks(w1, w2, cross, lam):
    """Return ``Q = [W1^T; W2]`` and F of ``(Q Q^T)' = F Q Q^T + Q Q^T F - (Q Q^T)^2``."""
    o, i = cross.shape
    F = np.block([[-lam / 2 * np.eye(i), cross.T], [cross, lam / 2 * np.eye(o)]])
    return np.concatenate([w1.T, w2]), F


def printed_riccati(w1, w2, cross, lam, t):
    """Return the map at t from the solution of the Riccati equation, evaluated as printed.

    NaN where the matrix in the middle comes out as singular.
    """
    Q, F = blocks(w1, w2, cross, lam)
    inverse = np.linalg.inv(F)
    with np.errstate(all="ignore"):
        grown = expm(F * t)
        inner = np.eye(Q.shape[1]) + Q.T @ (grown @ inverse @ grown - inverse) @ Q / 2
        try:
            whole = grown @ Q @ np.linalg.inv(inner) @ Q.T @ grown
        except np.linalg.LinAlgError:
            return np.full(cross.shape, np.nan)
    i = w1.shape[1]
    return whole[i:, :i]


def distance(before, after):
    """Return the kernel distance of arXiv 2502.21009, plain."""
    return 1 - np.sum(before * after) / (np.linalg.norm(before) * np.linalg.norm(after))


# --- the position paper ----------------------------------------------------------------------

UNITS = {"a": np.array([0.1, -0.3, 0.4]), "b": np.array([0.3, 0.2, -0.1])}


def test_e1_exponent_of_theorem_3():
    t = np.linspace(0, 10, 21)
    a, b = hidden_flow(**UNITS, target=2.0, scale=2.0, t=t)
    printed = oracles.one_h_one(*UNITS.values(), 2.0, 2.0, 1.0, t, printed=True)
    assert np.max(np.abs(printed[0] - a)) > 0.1
    found = lw.solve(lw.Scalar(2.0, **UNITS, scale=2.0), t).weights()
    np.testing.assert_allclose(found, (a, b), rtol=0, atol=1e-12)
    # the limit does not tell the two apart
    late = oracles.one_h_one(*UNITS.values(), 2.0, 2.0, 1.0, [1e3], printed=True)
    np.testing.assert_allclose(late[:2], (a[-1:], b[-1:]), rtol=1e-7)


def test_e2_pieces_of_the_proof_of_theorem_3():
    t = np.linspace(0, 4, 41)
    a, b = hidden_flow(**UNITS, target=2.0, scale=1.0, t=t)
    gamma = ((a + b) / (a + b)[0]) ** 2
    np.testing.assert_allclose(gamma, gamma[:, :1] * np.ones(3), rtol=1e-11)
    gamma, theta = gamma[:, 0], np.sum(a * b, axis=1)
    assert gamma[0] == 1  # printed: 0
    sums, differences = (np.sum((a[0] + k * b[0]) ** 2) / 4 for k in (1, -1))
    # eq. 86, with the second sum over differences
    np.testing.assert_allclose(gamma * sums - differences / gamma, theta, atol=1e-11)
    assert np.max(np.abs(gamma * sums - sums / gamma - theta)) > 0.01
    # the middle of eq. 89
    sigma0, theta0 = sums + differences, sums - differences
    plus, minus = (gamma + 1 / gamma) / 2, (gamma - 1 / gamma) / 2
    np.testing.assert_allclose(theta0 * plus + sigma0 * minus, theta, atol=1e-11)
    assert np.max(np.abs(theta0 * minus + sigma0 * plus - theta)) > 0.1


@pytest.mark.parametrize(("share", "concave"), [(0.9, True), (1.1, False)])
def test_remark_4_concludes_rightly(share, concave):
    a, b = UNITS.values()
    theta0, sigma0 = a @ b, (a @ a + b @ b) / 2
    target = share * (theta0 + sigma0)
    first, second = lw.solve(lw.Scalar(target, a, b), np.linspace(0, 5, 201)).weights()
    gamma = ((first + second)[:, 0] / (a + b)[0]) ** 2
    assert bool(np.all(np.diff(gamma, 2) < 0)) is concave


@pytest.mark.parametrize(
    ("inputs", "outputs", "lazy"), [(8, 3, 20.0), (3, 8, -20.0)], ids=["funnel", "anti-funnel"]
)
def test_e3_which_sign_of_lambda_is_lazy_in_a_funnel(inputs, outputs, lazy):
    rng = np.random.default_rng(3)
    t = np.array([0.0, 4000.0])
    U, V = orthonormal(rng, outputs, 3), orthonormal(rng, inputs, 3)
    cross = U @ np.diag([2.0, 1.5, 1.0]) @ V.T
    moved = {}
    for lam in (lazy, -lazy):
        w1, w2 = balanced((inputs, 3, outputs), lam, 0.1, seed=rng)
        first, second = flow(w1, w2, cross, t, method="LSODA")
        # the kernel of white inputs, one entry for each pair of inputs and pair of outputs
        kernels = [
            np.kron(np.eye(outputs), p.T @ p) + np.kron(q @ q.T, np.eye(inputs))
            for p, q in zip(first, second, strict=True)
        ]
        moved[lam] = distance(*kernels)
        grams = lw.solve(lw.Linear(w1, w2, cross), t)
        np.testing.assert_allclose(grams["gram_in"][-1], first[-1].T @ first[-1], atol=1e-6)
        np.testing.assert_allclose(grams["gram_out"][-1], second[-1] @ second[-1].T, atol=1e-6)
    assert moved[lazy] < 1e-4 < 0.1 < moved[-lazy]


def test_e4_the_balance_of_the_other_notation_is_not_conserved():
    rng = np.random.default_rng(4)
    w1, w2, cross = rng.standard_normal((3, 3, 3))
    first, second = flow(w1, w2, cross, np.linspace(0, 3, 7))
    assert drift(imbalance(first, second)) < 1e-12
    other = np.stack([q @ q.T - p.T @ p for p, q in zip(first, second, strict=True)])
    assert drift(other) > 0.1
    # in its own notation, x^T V1 V2, it is the same matrix
    v1, v2 = w1.T, w2.T
    np.testing.assert_array_equal(v2 @ v2.T - v1.T @ v1, imbalance(w1, w2))


@pytest.mark.parametrize(
    ("variance", "linear", "logistic"), [(0.5, 0.30, 0.70), (0.2, 0.12, 0.28), (0.1, 0.06, 0.14)]
)
def test_e5_rates_of_figure_3(variance, linear, logistic):
    t, x = np.linspace(0, 99, 12), np.sqrt(variance) * np.array([1.0, -1.0])
    a, b = hidden_flow(np.array([1e-5**0.5]), np.array([1e-5**0.5]), 1.0, 1.0, t, x)
    u = (a * b)[:, 0]
    rising = u < 0.99
    rate = np.polyfit(t[rising], np.log(u[rising] / (1 - u[rising])), 1)[0]
    assert rate == pytest.approx(2 * variance, rel=1e-8)
    assert abs(rate / logistic - 1) > 0.4
    np.testing.assert_allclose(lw.solve(lw.Diagonal(1.0, a[0], b[0], variance), t)["map"][:, 0], u)
    error = lw.solve(lw.Shallow(1.0, rate=variance), t)["error"]
    np.testing.assert_allclose(error, np.exp(-variance * t), atol=1e-15)
    assert np.max(np.abs(np.exp(-linear * t) - error)) > 0.05


@pytest.mark.parametrize("lam", [-9.0, 0.0, 0.5])
@pytest.mark.parametrize("scale", [0.1, 5.0, 20.0])
def test_e6_scale_of_figure_6_is_not_the_norm_of_the_product(lam, scale):
    def strength(square):
        root = np.sqrt(lam**2 + 4 * square)
        return np.sqrt((root + lam) / 2) * np.sqrt((root - lam) / 2)

    printed, meant = strength(scale), strength(scale**2)
    assert meant == pytest.approx(scale, rel=1e-9)
    assert printed == pytest.approx(scale**0.5, rel=1e-9)
    assert abs(printed / scale - 1) > 0.5
    assert printed / (1 / scale) == pytest.approx(scale**1.5)


@pytest.mark.parametrize("variance", [0.3, 3.0])
def test_e9_the_input_variance_multiplies_time(variance):
    t, x = np.linspace(0, 5, 11), np.sqrt(variance) * np.array([1.0, -1.0, 1.0])
    a, b = hidden_flow(**UNITS, target=2.0, scale=2.0, t=t, x=x)
    printed = oracles.one_h_one(*UNITS.values(), 2.0, 2.0, 1.0, t)
    assert np.max(np.abs(printed[0] - a)) > 0.1
    found = lw.solve(lw.Scalar(2.0, **UNITS, scale=2.0, rate=variance), t).weights()
    np.testing.assert_allclose(found, (a, b), rtol=0, atol=1e-12)


def test_e10_the_map_learns_the_transpose_of_e_x_y():
    rng = np.random.default_rng(10)
    x, noise = np.sqrt(40) * orthonormal(rng, 40, 3).T, rng.standard_normal((3, 40))
    y = rng.standard_normal((3, 3)) @ x + 0.1 * noise  # x x^T/40 = I
    cross = y @ x.T / 40
    w1, w2 = 0.3 * rng.standard_normal((2, 3, 3))
    first, second = flow(w1, w2, cross, np.array([0.0, 300.0]), method="LSODA")
    learned = second[-1] @ first[-1]
    np.testing.assert_allclose(learned, (x @ y.T / 40).T, atol=1e-7)
    assert np.max(np.abs(learned - x @ y.T / 40)) > 0.1
    U, s, Vt = np.linalg.svd(cross)
    np.testing.assert_allclose(x @ y.T / 40, Vt.T @ np.diag(s) @ U.T, atol=1e-14)


def test_e13_gamma_plus_is_a_factor_of_squares():
    a, b = hidden_flow(**UNITS, target=2.0, scale=2.0, t=np.array([0.0, 60.0]))
    grown = (a + b)[-1] / (a + b)[0]
    factor = float(gamma_plus(*UNITS.values(), 2.0, 2.0))
    np.testing.assert_allclose(grown**2, factor, rtol=1e-10)
    np.testing.assert_allclose(grown, float(gain(*UNITS.values(), 2.0, 2.0)), rtol=1e-10)
    assert np.min(np.abs(factor / grown - 1)) > 1
    shrunk = (a - b)[-1] / (a - b)[0]
    np.testing.assert_allclose(shrunk**2 * factor, 1, rtol=1e-8)


# --- the emergence paper ---------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_e12_skill_strength_from_few_samples_is_a_projection(share):
    rng, features, draws = np.random.default_rng(12), 200, 10
    skill = np.ones(features) / np.sqrt(features)
    strengths, losses = [], []
    for _ in range(draws):
        samples = rng.standard_normal((int(share * features), features))
        fitted = np.linalg.lstsq(samples, samples @ skill)[0]  # of least norm
        strengths.append(fitted @ skill)
        losses.append(np.sum((fitted - skill) ** 2))
    assert np.mean(strengths) == pytest.approx(share, abs=0.03)
    assert np.mean(losses) == pytest.approx(1 - share, abs=0.03)  # the loss that is printed too
    assert abs(np.mean(strengths) - (1 - np.sqrt(1 - share))) > 0.08


def test_e14_a_loss_without_the_half_doubles_the_rate():
    rate, target, share, steps = 1e-4, 5.0, 0.2, 2000
    skill = np.array([1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert np.mean(skill**2) == share

    def exponent(half):
        a = b = 0.01
        for _ in range(steps):
            push = (0.5 if half else 1.0) * 2 * np.mean((target - a * b) * skill**2)
            a, b = a + rate * push * b, b + rate * push * a
        u, u0 = a * b / target, 1e-4 / target
        return np.log(u / (1 - u) * (1 - u0) / u0) / (rate * target * share * steps)

    assert exponent(half=True) == pytest.approx(2, rel=1e-3)
    assert exponent(half=False) == pytest.approx(4, rel=1e-3)


def compute_constant(alpha, start=0.01, target=5.0, skills=50_000):
    """Return the prefactor of the compute front of infinitely many skills, in units S^2/2."""
    c = target / start - 1
    A = 1 / np.sum(np.arange(1.0, skills + 1) ** -(alpha + 1))

    def loss(log_n):
        n = np.exp(log_n)

        def skill(y):
            p = y ** -(alpha + 1)
            left = 1 / (1 + np.exp(min(2 * target * A * p * n ** -(alpha + 2), 600.0)) / c)
            return A * n**-alpha * p * left**2

        return A * n**-alpha / alpha + quad(skill, 0, 1, epsabs=1e-12)[0]

    return minimize_scalar(loss, bounds=(-3, 2), method="bounded").fun


def time_constant(alpha, start=0.01):
    """Return the prefactor of the time law of infinitely many skills, in units S^2/2, S = 1."""
    c, A = 1 / start - 1, 1 / zeta(alpha + 1)
    power = (alpha + 1) / alpha

    def smooth(v):  # u = v^power takes the singularity at 0 away
        return power * (1 / (1 + np.exp(min(v**power, 600.0)) / c)) ** 2

    integral = quad(smooth, 0, 20, epsabs=1e-12)[0]
    return A ** (1 / (alpha + 1)) / (alpha + 1) * 2 ** (-alpha / (alpha + 1)) * integral


@pytest.mark.parametrize(
    ("alpha", "printed", "compute", "time"),
    [(0.3, 0.68, 0.981, 1.2906), (0.6, 0.70, 0.789, 1.2001), (0.9, 0.64, 0.646, 1.0607)],
)
def test_e17_constants_of_the_compute_and_time_laws(alpha, printed, compute, time):
    found = compute_constant(alpha)
    assert found == pytest.approx(compute, abs=6e-4)
    assert abs(found - printed) > 0.005
    assert time_constant(alpha) == pytest.approx(time, abs=6e-5)  # those are right


def test_e21_the_exponent_in_time_does_not_depend_on_depth():
    alpha, t = 0.9, np.geomspace(1e3, 1e4, 5)
    frequency = np.arange(1.0, 100_001) ** -(alpha + 1) / zeta(alpha + 1)
    start, target = np.array(0.01), np.array(1.0)
    losses = {}
    for depth in (1, 2, 3):
        left = product(start, target, depth, frequency, t)[1]
        losses[depth] = np.sum(frequency * left**2, axis=-1) / 2
    for loss in losses.values():
        slope = np.polyfit(np.log(t), np.log(loss), 1)[0]
        assert slope == pytest.approx(-alpha / (alpha + 1), abs=0.01)
    # what does tell them apart: the constant, and how abruptly one skill comes
    assert losses[2][0] / losses[1][0] > 1.5
    late, half = (lw.time_to(lw.Diagonal(1.0, 0.1, 0.1), level=level) for level in (0.9, 0.5))
    assert (late - lw.time_to(lw.Diagonal(1.0, 0.1, 0.1), level=0.1)) / half < 1


def test_e22_finite_sums_have_no_exponent_until_completed():
    alpha, skills, c = 0.3, 100_000, 99.0
    frequency = np.arange(1.0, skills + 1) ** -(alpha + 1)
    A = 1 / np.sum(frequency)
    t = np.geomspace(1e4, 1e5, 8)
    pace = np.minimum(2 * A * frequency * t[:, None], 600.0)
    loss = np.sum(A * frequency * (c / (c + np.exp(pace))) ** 2, axis=1) / 2
    whole = loss + A * zeta(alpha + 1, skills + 1) / 2
    found = lw.Skills(alpha, skills)
    np.testing.assert_allclose(lw.theory.scaling.time_loss(found, t).value, loss, rtol=1e-12)
    np.testing.assert_allclose(lw.theory.scaling.completed(found, loss), whole, rtol=1e-12)
    raw, completed = (np.polyfit(np.log(t), np.log(y), 1)[0] for y in (loss, whole))
    assert raw == pytest.approx(-0.299, abs=2e-3)
    assert completed == pytest.approx(-alpha / (alpha + 1), abs=2e-3)


# --- conventions, and evaluations in print -----------------------------------------------------


def test_e30_the_uncentred_kernel_distance_understates_motion():
    rng = np.random.default_rng(30)
    before, after = 3 + rng.standard_normal((2, 60, 40))  # features with a large common mean
    kernels = before @ before.T, after @ after.T
    plain = lw.measures.kernel_distance(*kernels, centred=False)
    centred = lw.measures.kernel_distance(*kernels)
    assert plain == pytest.approx(distance(*kernels), abs=1e-14)
    middle = np.eye(60) - 1 / 60
    assert centred == pytest.approx(distance(*(middle @ k @ middle for k in kernels)), abs=1e-12)
    assert plain < centred / 5


def ordinary_problem(seed):
    rng = np.random.default_rng(seed)
    lam, d = (0.0, 0.5, -0.5)[seed % 3], int(rng.integers(3, 8))
    w1, w2 = balanced((d, d, d), lam, 0.3, seed=rng)
    return w1, w2, rng.standard_normal((d, d)), lam


def test_e32_the_riccati_solution_evaluated_as_printed():
    problems, t = 24, np.array([0.0, 2.0, 5.0, 8.0])
    errors = np.empty(problems)
    for seed in range(problems):
        w1, w2, cross, lam = ordinary_problem(seed)
        maps = np.matmul(*flow(w1, w2, cross, t)[::-1])
        found = lw.solve(lw.Linear(w1, w2, cross), t, method="exact")["map"]
        np.testing.assert_allclose(found, maps, rtol=0, atol=1e-9)
        errors[seed] = np.max(
            [
                np.abs(printed_riccati(w1, w2, cross, lam, time) - map)
                for time, map in zip(t, maps, strict=True)
            ]
        )
    lost = np.isnan(errors)
    assert np.any(lost)
    assert np.sum(lost | (errors > 1e-9)) > problems / 2
    assert np.max(errors[~lost]) > 0.1


def test_e33_half_of_all_balanced_starts_miss_a_mode():
    rng, starts = np.random.default_rng(33), 200
    missed = counted = 0
    for _ in range(starts):
        w1, w2 = balanced((3, 3, 3), seed=rng)
        cross = rng.standard_normal((3, 3))
        opposed = np.linalg.det(w2 @ w1) * np.linalg.det(cross) < 0
        sol = lw.solve(lw.Linear(w1, w2, cross), [0.0, 1e8])
        left = np.linalg.svd(cross - sol["map"][-1], compute_uv=False)[0]
        weakest = np.linalg.svd(cross, compute_uv=False)[-1]
        # the flow stops short of its target by the weakest mode, and by no other
        assert left == pytest.approx(weakest if opposed else 0.0, abs=1e-10)
        missed, counted = missed + opposed, counted + sol.unexcited_modes
    assert counted == missed
    assert 0.4 < missed / starts < 0.6


def test_e34_division_by_lambda_loses_digits_near_zero():
    rng, t = np.random.default_rng(34), np.array([0.0, 1.0])
    cross = np.outer(rng.standard_normal(3), rng.standard_normal(4))  # unequal sizes, rank 1
    for lam in (0.0, 1e-9, 1e-6):
        w1, w2 = balanced((4, 2, 3), lam, 0.5, seed=rng)
        truth = np.matmul(*flow(w1, w2, cross, t)[::-1])[-1]
        found = lw.solve(lw.Linear(w1, w2, cross), t, method="exact")["map"][-1]
        np.testing.assert_allclose(found, truth, rtol=0, atol=1e-12)
        if lam:
            assert np.max(np.abs(printed_riccati(w1, w2, cross, lam, 1.0) - truth)) > 1e-7
        else:
            with pytest.raises(np.linalg.LinAlgError):
                printed_riccati(w1, w2, cross, lam, 1.0)
    # 'always the positive root' is wrong until the weight has crossed the axis
    a, b = lw.solve(lw.Diagonal(1.0, a=-0.5, b=1.0), [0.0, 0.1, 5.0]).weights()
    lam = b[0] ** 2 - a[0] ** 2
    root = np.sqrt((np.hypot(lam, 2 * a * b) - lam) / 2)
    np.testing.assert_allclose(root * np.sign(a), a, rtol=1e-12)
    np.testing.assert_array_equal(np.sign(a), [-1, -1, 1])


def test_e35_the_closed_form_gives_grams_and_not_weights():
    rng, time = np.random.default_rng(35), 1.0
    w1, w2 = balanced((3, 3, 3), 0.5, 0.5, seed=rng)
    cross = rng.standard_normal((3, 3))
    first, second = flow(w1, w2, cross, np.array([0.0, time]))
    true = np.concatenate([first[-1].T, second[-1]])
    Q, F = blocks(w1, w2, cross, 0.5)
    grown, inverse = expm(F * time), np.linalg.inv(F)
    M = np.eye(3) + Q.T @ (grown @ inverse @ grown - inverse) @ Q / 2
    printed = grown @ Q @ np.linalg.inv(sqrtm(M))
    np.testing.assert_allclose(printed @ printed.T, true @ true.T, atol=1e-10)
    assert np.max(np.abs(printed - true)) > 0.01
    # a rotation of the hidden space is all that lies between them
    turn = polar(printed.T @ true)[0]
    np.testing.assert_allclose(printed @ turn, true, atol=1e-10)
    # here they come from the one linear equation that is left
    found = lw.solve(lw.Linear(w1, w2, cross), [0.0, time], method="exact").weights()
    np.testing.assert_allclose(found[0][-1], first[-1], atol=1e-10)
    np.testing.assert_allclose(found[1][-1], second[-1], atol=1e-10)
