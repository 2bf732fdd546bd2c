"""When a curve reaches a level: crossing times, delays and sharpness."""

from __future__ import annotations

from layerwise.measures.arrays import Array, as_arrays, need

__all__ = ["crossing_time", "delay_ratio", "first_reached", "sharpness"]


def first_reached(clock: Array, values: Array, level: float) -> Array:
    """Return the first logged time at which ``values >= level``; infinity if there is none.

    This is the definition behind ``t_fit`` (train accuracy >= 0.99) and ``t85`` (test accuracy
    >= 0.85). It is known to the resolution of the grid only.

    Parameters
    ----------
    clock
        Shape (T,), increasing.
    values
        Shape (T, ...). NaN counts as not reached.

    Returns
    -------
    Array
        Shape of one value of the series, in units of the clock.

    Examples
    --------
    >>> float(first_reached([0, 10, 100], [0.1, 0.9, 1.0], 0.85))
    10.0
    """
    xp, clock, values = _curve(clock, values)
    column = xp.reshape(clock, (-1,) + (1,) * (values.ndim - 1))
    times = xp.where(values >= level, column, xp.full_like(column * values, float("inf")))
    return xp.min(times, axis=0)


def crossing_time(clock: Array, values: Array, level: float) -> Array:
    """Return the first time at which the curve crosses `level`, linear between logged times.

    Rising and falling curves alike: the first grid interval whose ends lie on either side of the
    level (or at it). Infinity if there is none. Shapes as in `first_reached`.

    Examples
    --------
    >>> float(crossing_time([0.0, 1.0, 2.0], [1.0, 0.5, 0.0], 0.25))
    1.5
    """
    xp, clock, values = _curve(clock, values)
    column = xp.reshape(clock, (-1,) + (1,) * (values.ndim - 1))
    here, after = values[:-1, ...] - level, values[1:, ...] - level
    start, width = column[:-1, ...], column[1:, ...] - column[:-1, ...]
    step = here - after
    share = xp.where(step == 0, xp.zeros_like(step), here / xp.where(step == 0, 1 + 0 * step, step))
    inside = ((here <= 0) & (after >= 0)) | ((here >= 0) & (after <= 0))
    never = xp.full_like(values[:1, ...], float("inf"))
    times = xp.where(inside, start + width * share, xp.full_like(share, float("inf")))
    return xp.min(xp.concat([times, never], axis=0), axis=0)


def delay_ratio(
    clock: Array, fitted: Array, generalised: Array, levels: tuple[float, float]
) -> Array:
    """Return ``t_generalised / t_fit``, the delay of grokking; above 1 generalisation comes late.

    Parameters
    ----------
    clock
        Shape (T,).
    fitted, generalised
        Train and test accuracy, shape (T, ...).
    levels
        The two levels, e.g. ``(0.99, 0.85)``.

    Returns
    -------
    Array
        Infinite where generalisation never comes; NaN where the fit never comes.

    Examples
    --------
    >>> float(delay_ratio([0, 10, 100], [0.1, 1, 1], [0.1, 0.3, 0.9], (0.99, 0.85)))
    10.0
    """
    fit = first_reached(clock, fitted, levels[0])
    late = first_reached(clock, generalised, levels[1])
    xp, fit, late = as_arrays(fit, late)
    known = (fit > 0) & (fit < float("inf"))
    one = xp.ones_like(fit)
    return xp.where(known, late / xp.where(known, fit, one), xp.full_like(one, float("nan")))


def sharpness(clock: Array, values: Array, final: float) -> Array:
    """Return ``(t90 - t10) / t50``: times to 90, 10 and 50 % of `final`. Small is step-like.

    Shapes as in `first_reached`; the times are those of `crossing_time`. NaN where one of them is
    never reached, or t50 is 0.

    Examples
    --------
    >>> round(float(sharpness([0.0, 1.0], [0.0, 1.0], 1.0)), 3)
    1.6
    """
    t10, t50, t90 = (crossing_time(clock, values, share * final) for share in (0.1, 0.5, 0.9))
    xp, t10, t50, t90 = as_arrays(t10, t50, t90)
    known = (t10 < float("inf")) & (t50 < float("inf")) & (t90 < float("inf")) & (t50 > 0)
    one = xp.ones_like(t50)
    early, half, late = (xp.where(known, time, one) for time in (t10, t50, t90))
    return xp.where(known, (late - early) / half, xp.full_like(one, float("nan")))


def _curve(clock: Array, values: Array) -> tuple[Array, Array, Array]:
    xp, clock, values = as_arrays(clock, values)
    need(
        clock.ndim == 1 and values.ndim >= 1 and values.shape[0] == clock.shape[0] > 0,
        f"the clock (T,) and the values (T, ...) do not fit: {tuple(clock.shape)} and "
        f"{tuple(values.shape)}",
    )
    need(bool(xp.all(clock[1:] > clock[:-1])), "the clock must increase strictly")
    return xp, clock, values
