"""Reference answers in many digits, written from the theory and not from the package.

Each takes floats, works in mpmath, and rounds its answer to float64 at the very end.
"""

from mpmath import besseli, besselk, ceil, exp, expm1, hypot, log, mp, mpf, quad, sqrt, tanh
from numpy import array

# tanh loses what lies below its last digit: e^{-2x} and (S, C, U)'s disparity must fit in here
TANH_DIGITS = 200
DIGITS = 80


def one_h_one(a, b, target, scale, rate, t, *, printed=False):
    """Return a, b (T, h) and Theta (T,) of ``f = (x/Z) sum a_i b_i`` in the tanh form.

    `printed` takes the exponent of the published theorem 3, which is twice too large (E1).
    """
    with mp.workdps(TANH_DIGITS):
        a, b = _mp(a), _mp(b)
        S, Z, s = mpf(float(target)), mpf(float(scale)), mpf(float(rate))
        u = [p + q for p, q in zip(a, b, strict=True)]
        v = [p - q for p, q in zip(a, b, strict=True)]
        U, V = sum(x * x for x in u) / (4 * Z), sum(x * x for x in v) / (4 * Z)
        R = sqrt(S * S + 4 * U * V)
        states = []
        for time in _mp(t):
            h = tanh((2 if printed else 1) * s * R * time / Z)
            over = R + (S + 2 * V) * h if R else 1 + 2 * V * s * time / Z
            under = R + (2 * U - S) * h if R else 1 + 2 * U * s * time / Z
            # each vanishes only for weights that start, and stay, on a saddle's manifold
            grow = sqrt(over / under) if under else mpf(0)
            fall = sqrt(under / over) if over else mpf(0)
            states.append(_units(u, v, grow, fall, Z))
        return _rounded(states)


def pair(a, b, target, rate, t):
    """Return a, b (T, 1) and u = a b (T,) of one pair, in the eigenvector form."""
    with mp.workdps(DIGITS):
        a, b, S, xi = (mpf(float(x)) for x in (a, b, target, rate))
        half = (b * b - a * a) / 2
        w = hypot(S, half)
        va, vb = (S, w + half) if half >= 0 else (w - half, S)
        norm = hypot(va, vb)
        va, vb = (va / norm, vb / norm) if norm else (mpf(1), mpf(0))
        plus, minus = va * a + vb * b, vb * a - va * b
        states = []
        for time in _mp(t):
            fade = exp(-2 * w * xi * time)
            spread = (1 - fade) / (2 * w) if w else xi * time
            radicand = fade * (1 + minus**2 * spread) + plus**2 * spread
            r = 1 / sqrt(radicand)
            p, q = r * (va * plus + vb * fade * minus), r * (vb * plus - va * fade * minus)
            states.append(([p], [q], p * q))
        return _rounded(states)


def decayed(a, b, target, scale, rate, decay, t, *, series=False):
    """Return a, b (T, h) and Theta (T,) under weight decay: Bessel functions, no restart.

    `series` sums power series instead: for orders so large that mpmath does not converge.
    """
    with mp.workdps(DIGITS):
        a, b = _mp(a), _mp(b)
        S, Z, s, lam = (mpf(float(x)) for x in (target, scale, rate, decay))
        u = [p + q for p, q in zip(a, b, strict=True)]
        v = [p - q for p, q in zip(a, b, strict=True)]
        U, V = sum(x * x for x in u) / (4 * Z), sum(x * x for x in v) / (4 * Z)
        states = []
        for time in _mp(t):
            y = (_series if series else _bessel)(U, V, S, s / Z, lam, time)
            tau = exp(-2 * lam * time)
            states.append(_units(u, v, sqrt(y * tau), sqrt(tau / y), Z))
        return _rounded(states)


def time_to(a, b, target, scale, rate, error):
    """Return when S - Theta has come down to `error`, by quadrature of the scalar law.

    ``Theta' = (2 s/Z) sqrt(C^2 + Theta^2) (S - Theta)``, with ``p = ln |S - Theta|`` as variable.
    """
    with mp.workdps(40):
        a, b = _mp(a), _mp(b)
        S, Z, s, left = (mpf(float(x)) for x in (target, scale, rate, error))
        theta = sum(p * q for p, q in zip(a, b, strict=True)) / Z
        sigma = sum(p * p + q * q for p, q in zip(a, b, strict=True)) / (2 * Z)
        C2, sign = sigma**2 - theta**2, (1 if left > 0 else -1)
        first, last = log(abs(S - theta)), log(abs(left))
        # the integrand peaks where Theta = 0, over a width of C/|S|
        cuts = [first, last]
        if S * sign > 0 and last < log(abs(S)) < first:
            middle = log(abs(S))
            widths = [mpf(10) ** -k for k in range(25)]
            cuts += [middle, *(middle + w for w in widths), *(middle - w for w in widths)]
        cuts = sorted((p for p in cuts if last <= p <= first), reverse=True)
        inverse_speed = quad(lambda p: 1 / sqrt(C2 + (S - sign * exp(p)) ** 2), cuts)
        return float(-Z / (2 * s) * inverse_speed)


def _bessel(U, V, S, k, lam, t):
    if S < 0:
        return 1 / _bessel(V, U, -S, k, lam, t)
    if V == 0 or U == 0:
        return _logistic(U, V, S, k, lam, t)
    nu = (k * S / lam - 1) / 2
    z, q = k * sqrt(U * V) / lam, sqrt(V / U)
    x = z * exp(-2 * lam * t)
    I0z, I1z, K0z, K1z = _orders(nu, z)
    I0x, I1x, K0x, K1x = _orders(nu, x)
    X1, X2 = I0z * K1x + K0z * I1x, I1z * K1x - K1z * I1x
    X3, X4 = K1z * I0x + I1z * K0x, I0z * K0x - K0z * I0x
    return q * (X1 + q * X2) / (q * X3 + X4)


def _series(U, V, S, k, lam, t):
    """Return y = N/D of the linear system behind the equation, in powers of w = 1 - e^{-2 lam t}.

    With K = k/lam, ``(1 - w) N' = K (S N + (1 - w) V D)`` and ``D' = K U N``: for S >= 0 all terms
    are positive. The time is cut into pieces over which both series are short.
    """
    if S < 0:
        return 1 / _series(V, U, -S, k, lam, t)
    pieces = int(ceil(k * (S + 2 * sqrt(U * V)) * t / 4 + 4 * lam * t)) + 1
    w, K, y = -expm1(-2 * lam * t / pieces), k / lam, mpf(1)
    for _ in range(pieces):
        n = d = N = D = past = mpf(1)
        j = 0
        while n > N * mp.eps or d > D * mp.eps or j < 3:
            j += 1
            n, d = K * w * (S * past + V * d) / j, K * w * U * n / j
            past = w * past + n
            N, D = N + n, D + d
        step = N / D
        y, U, V = y * step, U * step * (1 - w), V * (1 - w) / step
    return y


def _orders(nu, x):
    return besseli(nu, x), besseli(nu + 1, x), besselk(nu, x), besselk(nu + 1, x)


def _logistic(U, V, S, k, lam, t):
    # one of U, V is 0: with tau y U (or tau V/y) as variable the equation is Bernoulli's
    tau = exp(-2 * lam * t)
    growth, pull = (k * S - lam, k * U) if U else (-k * S - lam, k * V)
    G = exp(2 * growth * t)
    size = G / (1 + pull * (G - 1) / growth) if growth else 1 / (1 + 2 * pull * t)
    return size / tau if U else tau / size


def _units(u, v, grow, fall, Z):
    a = [(p * grow + q * fall) / 2 for p, q in zip(u, v, strict=True)]
    b = [(p * grow - q * fall) / 2 for p, q in zip(u, v, strict=True)]
    return a, b, sum(p * q for p, q in zip(a, b, strict=True)) / Z


def _mp(values):
    return [mpf(float(x)) for x in values]


def _rounded(states):
    return tuple(array(column, dtype=float) for column in zip(*states, strict=True))
