"""How far two states of a network are apart: in its weights, its outputs, its activation signs.

Each compares whole arrays and returns one number; take the arrays layer by layer.
"""

from __future__ import annotations

from layerwise.measures.arrays import Array, as_arrays, need

__all__ = ["linearised_gap", "relative_motion", "sign_distance"]


def relative_motion(start: Array, now: Array) -> Array:
    """Return ``|x_t - x_0| / |x_0|`` of weights or features, in the Frobenius norm.

    It depends on the overall scale of the start: the same motion is large from small weights. 0
    where nothing moved, infinite where all of a start at zero lies behind.

    Examples
    --------
    >>> float(relative_motion([3.0, 4.0], [3.0, 5.0]))
    0.2
    """
    xp, start, now = _alike(start, now, "start and now")
    return _ratio(xp, now - start, start)


def linearised_gap(f0: Array, ft: Array, jvp: Array) -> Array:
    """Return ``|f_t - f_0 - J_0 (theta_t - theta_0)| / |f_t - f_0|``: 0 in lazy training.

    The share of what the outputs changed that the network linearised at its start does not
    explain. It is no share of the loss, and may exceed 1.

    Parameters
    ----------
    f0, ft
        Outputs at the start and now, of one shape.
    jvp
        ``J_0 (theta_t - theta_0)``, the product of the Jacobian at the start and the motion of the
        weights, of that shape: one forward-mode product.

    Returns
    -------
    Array
        One number; for outputs that have not changed, 0 if the product is zero as well (the limit
        of small motion), else infinite.

    References
    ----------
    Chizat, Oyallon and Bach 2019 (arXiv 1812.07956).

    Examples
    --------
    >>> round(float(linearised_gap([0.0, 0.0], [2.0, 0.0], [1.5, 0.0])), 12)
    0.25
    """
    xp, f0, ft = _alike(f0, ft, "f0 and ft")
    _, ft, jvp = _alike(ft, jvp, "ft and jvp")
    change = ft - f0
    return _ratio(xp, change - jvp, change)


def sign_distance(pre0: Array, pret: Array) -> Array:
    """Return the share of (input, unit) pairs whose ReLU is on in one state and off in the other.

    The Hamming distance of activation patterns over their number, so between 0 and 1; unrelated
    symmetric patterns are 1/2 apart. A unit is on where its input exceeds 0.

    Parameters
    ----------
    pre0, pret
        What the activations of one layer are applied to, on the same inputs in both states, of one
        shape: (n, h), or (n, c, height, width). What comes out of a ReLU serves as well.

    Returns
    -------
    Array
        One number; NaN where a value is.

    References
    ----------
    Kunin et al. 2024 (arXiv 2406.06158), whose code sums over units.

    Examples
    --------
    >>> float(sign_distance([[1.0, -1.0], [2.0, 3.0]], [[0.5, 1.0], [2.0, 9.0]]))
    0.25
    """
    xp, pre0, pret = _alike(pre0, pret, "pre0 and pret")
    both = pre0 + pret
    turned = xp.astype((pre0 > 0) != (pret > 0), both.dtype)
    return xp.mean(xp.where(both == both, turned, both))  # a NaN stays one


def _alike(first: Array, second: Array, names: str) -> tuple[Array, Array, Array]:
    """Return ``(xp, first, second)``, two arrays of one shape that are not empty."""
    xp, first, second = as_arrays(first, second)
    need(
        first.shape == second.shape and 0 not in first.shape,
        f"{names} must have one shape and not be empty, got {tuple(first.shape)} and "
        f"{tuple(second.shape)}",
    )
    return xp, first, second


def _ratio(xp: Array, part: Array, whole: Array) -> Array:
    """Return ``|part| / |whole|``; for a whole of zero, infinity, or 0 where the part is zero."""
    size, part = xp.sqrt(xp.sum(whole * whole)), xp.sqrt(xp.sum(part * part))
    other = xp.where(part > 0, xp.full_like(part, float("inf")), part)  # a NaN stays one
    return xp.where(size == 0, other, part / xp.where(size == 0, xp.ones_like(size), size))
