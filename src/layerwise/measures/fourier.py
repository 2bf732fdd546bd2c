"""How periodic weights are over the tokens: the structure behind modular arithmetic."""

from __future__ import annotations

from layerwise.measures.arrays import Array, as_arrays, need

__all__ = ["fourier_concentration"]


def fourier_concentration(w: Array, axis: int = -1) -> Array:
    """Return ``sum_i max_k P_ik / sum_ik P_ik``: how far each neuron sees a single frequency.

    P_ik is the power of neuron i at frequency k, cosine and sine together, of its weights over p
    tokens, for k = 1, ..., floor(p/2). Their mean over the tokens, frequency 0, does not count.
    The ratio is the mean over neurons of the share of its strongest frequency, each weighted by
    its power: a neuron that has died does not count.

    Parameters
    ----------
    w
        Weights, shape (..., neurons, p), or (..., p, neurons) with ``axis=-2``; at least three
        tokens. Leading axes may be times.
    axis
        Which of the last two axes is that of the tokens.

    Returns
    -------
    Array
        Shape (...), from 1/floor(p/2) to 1. NaN where the weights are constant over the tokens,
        or one of them is not finite.

    Notes
    -----
    Independent Gaussian weights over an odd number of tokens have ``(1 + 1/2 + ... + 1/m)/m`` on
    average, ``m = (p - 1)/2``: 0.275 for p = 23, 0.162 for p = 47.

    References
    ----------
    Nanda et al. 2023, arXiv 2301.05217; Gromov 2023, arXiv 2301.02679.

    Examples
    --------
    >>> import numpy as np
    >>> tokens = 2 * np.pi * np.arange(7) / 7
    >>> wave, other = np.cos(2 * tokens + 1), np.sin(3 * tokens)
    >>> float(fourier_concentration([wave, 5 * other]).round(12))
    1.0
    >>> float(fourier_concentration([wave + other / 2]).round(12))
    0.8
    """
    xp, w = as_arrays(w)
    need(axis in (-1, -2), f"axis must be -1 or -2, got {axis}")
    need(
        w.ndim >= 2 and w.shape[axis] >= 3 and 0 not in w.shape[-2:],
        "weights must be (..., neurons, tokens), some neurons and three tokens at least, got "
        f"{tuple(w.shape)} with tokens along {axis}",
    )
    w = xp.moveaxis(w, axis, -1)
    known = xp.all(xp.isfinite(w), axis=(-2, -1))
    w = xp.where(known[..., None, None], w, xp.zeros_like(w))
    size = xp.max(xp.abs(w), axis=(-2, -1), keepdims=True)
    w = w / xp.where(size > 0, size, xp.ones_like(size))  # powers neither overflow nor vanish
    centred = w - xp.mean(w, axis=-1, keepdims=True)
    tiny = 4 * float(xp.finfo(w.dtype).eps)  # what the mean of equal weights rounds to is no wave
    centred = xp.where(xp.abs(centred) > tiny, centred, xp.zeros_like(centred))
    waves = xp.fft.rfft(centred, axis=-1)[..., 1:]
    power = xp.real(waves) ** 2 + xp.imag(waves) ** 2
    if w.shape[-1] % 2 == 0:  # the last frequency is its own negative: no second half
        power = xp.concat([power[..., :-1], power[..., -1:] / 2], axis=-1)
    total = xp.sum(power, axis=(-2, -1))
    largest = xp.sum(xp.max(power, axis=-1), axis=-1)
    share = largest / xp.where(total > 0, total, xp.ones_like(total))
    return xp.where(known & (total > 0), share, xp.full_like(share, float("nan")))
