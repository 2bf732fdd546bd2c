r"""Unconstrained features: a classifier W (C, d) and free features H (d, N), one column a sample.

**Cross-entropy** ``(1/N) sum_i CE(W h_i, y_i)``, C classes of n samples, N = n C, no bias, no
decay. On the simplex, unit vectors m_c of cosines -1/(C-1), the flow keeps ``w_c = a m_c``,
``h_i = b m_{y_i}``:

    a' = b/(e^x + C - 1),    b' = (a/n)/(e^x + C - 1),    x = a b C/(C-1),

x being the margin, the lead of the true logit; ``a^2 - n b^2`` is conserved. Balanced layers,
``a^2 = n b^2``, leave one equation, with an exponential integral as its clock:

    x' = (2/sqrt n) x/(e^x + C - 1),
    Ei(x) + (C-1) ln|x| = Ei(x_0) + (C-1) ln|x_0| + sign(x_0) 2 t/sqrt n.

A margin grows as ``e^{2t/(C sqrt n)}`` while it is small and as ln t in the end; x = 0 is a saddle,
and layers that point away from each other (x_0 < 0) decay to it.

Evaluation: in ``d = ln(x/x_0)`` the clock ``int_0^d (e^x + C - 1) ds`` is convex for x > 0, concave
for x < 0. Its tangent at the start overshoots both, and from there Newton's method is monotone; so
it is from ``x = ln A + ln(2 ln A)``, the nearer bound where x_0 > 0 and t is large, with
``A = max(e, e^{x_0}/x_0 if x_0 > 1) + 2t/sqrt n``. Short ways are summed by quadrature.

**Squared error** ``(1/2N) |W H - Y|^2 + (l/2)(|W|^2 + |H|^2)``, Y the one-hot labels (C, N): no law
of its own but on modes, see `features_modes`. The samples are one-hot inputs of variance 1/N to a
two-layer network,

    lw.Linear(w1=H, w2=W, cross=Y/N, input_cov=np.eye(N)/N, decay=l),

which `layerwise.solve` finds white, and balanced, with decay or aligned as the start is. Y has one
mode a class, of singular value ``sqrt(n_c)``. Aligned and of equal layers, its strength is

    z' = (2/N) z (s - z),    s = sqrt(n_c) - N l,

a sigmoid of exponent ``2 s t/N``. Large classes come first; those of ``sqrt(n_c) <= N l`` die.

>>> import layerwise as lw
>>> Y = np.repeat(np.eye(2), [4, 1], axis=1)  # a class of four and a class of one
>>> W, H = 0.1 * np.eye(2), 0.1 * Y / np.sqrt([[4], [1]])
>>> sol = lw.solve(lw.Linear(H, W, Y / 5, np.eye(5) / 5), [0.0, 6.0, 100.0])
>>> sol["modes"].round(3), sol.law
(array([[0.01 , 0.01 ],
       [0.758, 0.1  ],
       [2.   , 1.   ]]), 'modes')

Source: derived for this package; checked against 50-digit arithmetic.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expi

__all__ = ["layers", "margin", "margin_time"]

Array = npt.NDArray[np.float64]

LARGEST = 700.0  # beyond, no margin moves by a rounding within 1e280
GONE = -1500.0  # e^-1500 of whatever number is 0
TINY = 1e-20  # Ei(x) - ln|x| has its value at 0
NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)  # on [-1, 1]


def margin(
    start: npt.ArrayLike, n_classes: npt.ArrayLike, n_per_class: npt.ArrayLike, t: npt.ArrayLike
) -> Array:
    """Return the margin x(t) of balanced layers under cross-entropy; all arguments broadcast.

    Domain: a start x_0 of 0 or of a size in 1e-300 .. 1e300, C >= 2, n >= 1, 0 <= t <= 1e100.

    Examples
    --------
    >>> margin([0.1, -1.0, 0.0], n_classes=10, n_per_class=5, t=[[0.0], [25.0], [1e4]]).round(2)
    array([[ 0.1 , -1.  ,  0.  ],
           [ 0.85, -0.1 ,  0.  ],
           [11.43, -0.  ,  0.  ]])
    """
    x_0, others = np.asarray(start, dtype=float), np.asarray(n_classes, dtype=float) - 1
    way = np.sign(x_0) * (2 / np.sqrt(n_per_class) * np.asarray(t))
    x_0, others, way = np.broadcast_arrays(np.where(x_0 == 0, 1.0, x_0), others, way)
    with np.errstate(invalid="ignore"):  # of negative starts
        log = np.logaddexp(np.where(x_0 > 1, x_0 - np.log(x_0), 1.0), np.log(np.maximum(way, 1.0)))
        late = np.where(x_0 > 0, np.log(log + np.log(2 * log)) - np.log(x_0), 0.0)
    d = np.clip(way / _speed(x_0, others), GONE, late)
    for _ in range(20):
        x = x_0 * np.exp(d)
        step = (_clock(x_0, x, d, others) - way) / _speed(x, others)
        before, d = d, np.maximum(d - step, GONE)
        if np.max(np.abs(d - before), initial=0.0) < 1e-9:  # steps square: the next is rounding
            break
    return np.asarray(np.where(way == 0, start, x_0 * np.exp(d)))


def margin_time(
    start: npt.ArrayLike, level: npt.ArrayLike, n_classes: npt.ArrayLike, n_per_class: npt.ArrayLike
) -> Array:
    """Return the time at which the margin equals `level`; infinity if it never does.

    The inverse of `margin`. Levels beyond 700 take longer than 1e300 and count as never reached.

    Examples
    --------
    >>> margin_time(0.01, [1.0, 3.0, 9.0, -1.0], n_classes=10, n_per_class=5).round(1)
    array([  52.9,   73. , 1233.3,    inf])
    """
    x_0, x = np.broadcast_arrays(np.asarray(start, dtype=float), np.asarray(level, dtype=float))
    ahead = np.where(x_0 > 0, (x >= x_0) & (x <= LARGEST), (x < 0) & (x >= x_0))
    x_0, x = np.where(ahead, x_0, 1.0), np.where(ahead, x, 1.0)
    gap = np.maximum((x - x_0) / x_0, -0.5)
    d = np.where(gap > -0.5, np.log1p(gap), np.log(np.abs(x)) - np.log(np.abs(x_0)))
    clock = _clock(x_0, x, d, np.asarray(n_classes, dtype=float) - 1)
    times = np.sqrt(n_per_class) / 2 * np.abs(clock)
    return np.asarray(np.where(np.equal(start, level), 0.0, np.where(ahead, times, np.inf)))


def layers(
    margin: npt.ArrayLike, n_classes: npt.ArrayLike, n_per_class: npt.ArrayLike
) -> tuple[Array, Array]:
    """Return the balanced layers of a margin, ``a = sqrt(n) |b|`` and ``b`` of the margin's sign.

    Examples
    --------
    >>> a, b = layers(3.0, n_classes=4, n_per_class=9)
    >>> float(a.round(4)), float(b.round(4))
    (2.5981, 0.866)
    """
    x, C = np.asarray(margin, dtype=float), np.asarray(n_classes, dtype=float)
    root = np.sqrt(np.sqrt(n_per_class))
    size = np.sqrt(np.abs(x) * ((C - 1) / C))
    return np.asarray(size * root), np.asarray(np.copysign(size / root, x))


def _speed(x: Array, others: Array) -> Array:
    return np.exp(np.minimum(x, LARGEST)) + others


def _clock(start: Array, x: Array, d: Array, others: Array) -> Array:
    """Return ``int_0^d (e^{start e^s} + C - 1) ds``, where ``x = start e^d``."""
    near = (np.abs(x - start) < 1) & (np.abs(d) < 1)
    short = np.where(near, d, 0.0)
    path = start[..., None] * np.exp(short[..., None] * ((NODES + 1) / 2))
    integral = short / 2 * (np.exp(np.minimum(path, LARGEST)) @ WEIGHTS)
    return np.where(near, integral, d + _regular(x) - _regular(start)) + others * d


def _regular(x: Array) -> Array:
    """Return ``Ei(x) - ln|x|``, which is smooth at 0."""
    tiny = np.abs(x) < TINY
    x = np.where(tiny, 1.0, np.minimum(x, LARGEST))
    return np.where(tiny, np.euler_gamma, expi(x) - np.log(np.abs(x)))
