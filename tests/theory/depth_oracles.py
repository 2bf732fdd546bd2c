"""The depth law in many digits, written from the equation of motion and not from the package.

For ``u' = L u^{2-2/L} (S - u)`` the time at which u > 0 is reached is an incomplete beta function
(m = 1 - 2/L). It is inverted by bisection and Newton. Numbers enter as the floats they are, and
answers are rounded to float64 at the very end.
"""

from mpmath import euler, exp, hyp2f1, isinf, log, log1p, mp, mpf, psi, quad

DIGITS = 50
# from here on y grows at a constant speed, to 26 digits
STEADY = 60


def product(start, target, depth, rate, t):
    """Return u and S - u at the times t; `depth` may be infinite (clock T = L t)."""
    with mp.workdps(DIGITS):
        motion = _Motion(mpf(float(start)), target, depth, rate)
        states = [motion.state(mpf(float(time))) for time in t]
        return tuple([float(x) for x in column] for column in zip(*states, strict=True))


def weights(weight, target, depth, rate, t):
    """Return w at the times t, from w > 0 whose power may be too small for a float."""
    with mp.workdps(DIGITS):
        L = mpf(float(depth))
        motion = _Motion(mpf(float(weight)) ** L, target, depth, rate)
        return [float(motion.state(mpf(float(time)))[0] ** (1 / L)) for time in t]


def time_to(start, target, depth, rate, error):
    """Return the time from u = start to S - u = error, by quadrature of ``dt = dy/y'``."""
    with mp.workdps(25):
        motion = _Motion(mpf(float(start)), target, depth, rate)
        first, last = motion.place(motion.u0), motion.place(motion.S - mpf(float(error)))
        pieces = 1 + int(abs(last - first) / 3)
        cuts = [first + (last - first) * k / pieces for k in range(pieces + 1)]
        return float(quad(lambda y: 1 / motion.speed(y), cuts, method="gauss-legendre"))


def extinction(weight, target, depth, rate):
    """Return when w > 0 reaches 0, for 1 < L < 2 and S < 0, by quadrature of ``dt = dw/w'``."""
    with mp.workdps(25):
        w, S, L = mpf(float(weight)), mpf(float(target)), mpf(float(depth))
        return float(quad(lambda x: x ** (1 - L) / (x**L - S), [0, w]) / mpf(float(rate)))


class _Motion:
    """u from u0 > 0 as a function of y: ln(u/(S - u)), ln(S/(u - S)) or -ln u."""

    def __init__(self, u0, target, depth, rate):
        self.u0, self.S, L = u0, mpf(float(target)), mpf(float(depth))
        self.m = 1 - 2 / L
        self.pace = mpf(float(rate)) * (1 if isinf(L) else L)
        self.side = -1 if self.S <= 0 or u0 > self.S else 1

    def state(self, t):
        """Return u and S - u."""
        u0, S = self.u0, self.S
        if t == 0 or u0 in (0, S) or not self.pace:
            return u0, S - u0
        end = self.reading(self.place(u0)) + self.pace * t
        if S < 0 and self.m < 0 and end >= 0:  # the reading is 0 at u = 0: extinct
            return mpf(0), S
        low = self.place(u0)
        if S > 0 and self.reading(mpf(STEADY)) < end and low < STEADY:
            y = STEADY + (end - self.reading(mpf(STEADY))) * S ** (1 + self.m)
            return self.at(y)
        high, step = low + mpf(1) / 64, mpf(1) / 32
        while self.reading(high) < end:
            low, high, step = high, high + step, 2 * step
        while high - low > mpf(1) / 64:
            middle = (low + high) / 2
            low, high = (middle, high) if self.reading(middle) < end else (low, middle)
        y = low
        for _ in range(6):
            y -= (self.reading(y) - end) * self.speed(y) / self.pace
        return self.at(y)

    def place(self, u):
        if self.S <= 0:
            return -log(u)
        return log(u / (self.S - u)) if self.side > 0 else log(self.S / (u - self.S))

    def at(self, y):
        """Return u and S - u."""
        S, e = self.S, exp(-y)
        if S <= 0:
            return e, S - e
        return (S / (1 + e), S * e / (1 + e)) if self.side > 0 else (S * (1 + e), -S * e)

    def speed(self, y):
        """Return dy/dt."""
        u, error = self.at(y)
        slope = abs(error) * min(u / self.S, 1) if self.S > 0 else u  # |du/dy|
        return self.pace * u ** (1 + self.m) * abs(error) / slope

    def reading(self, y):
        """Return an antiderivative of ``1/|u^{1+m} (S - u)|`` along the way."""
        S, m = self.S, self.m
        u, error = self.at(y)
        if S == 0:
            return -log(u) if m == -1 else u ** (-1 - m) / (1 + m)
        if S > 0 and self.side > 0:
            return S ** (-1 - m) * _beta(u / S, error / S, -m)
        if S > 0:
            return S ** (-1 - m) * _beta(S / u, -error / u, 1 + m)
        v = u / -S
        if m == 1:
            value = 1 / v - log1p(1 / v)
        elif m == 0:
            value = log1p(1 / v)
        else:
            value = v**-m / m * hyp2f1(1, -m, 1 - m, -v)
        return (-S) ** (-1 - m) * value


def _beta(z, rest, q):
    """Return an antiderivative of ``z^{q-1}/(1 - z)``, with ``rest = 1 - z`` given apart."""
    if q in (0, -1):
        return log(z / rest) + (q / z if q else 0)
    total, power, n = mpf(0), mpf(1), 0
    if 2 * z < 1:
        while power > mp.eps * mp.eps:
            total, power, n = total + power / (n + q), power * z, n + 1
        return z**q * total
    while abs(power) > mp.eps:
        n += 1
        power *= rest * (n - q) / n
        total += power / n
    return -log(rest) - euler - psi(0, q) - total
