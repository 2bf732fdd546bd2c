"""Multitask sparse parity: many skills, each the parity of a few bits, some asked for rarely."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

__all__ = ["Parity"]

Samples = tuple[np.ndarray, np.ndarray]

WORD = np.dtype("<u8")  # the bits of a row, packed; little-endian, so that bit i is in byte i // 8
WORD_BITS = 64


@final
@dataclass(frozen=True)
class Parity:
    """Sparse parity of `n_skills` skills, drawn with power-law frequency.

    An input is a one-hot control part, which names the skill, followed by `n_bits` uniform bits.
    Skill k (counted from 1) is the parity of `skill_bits` bits of its own: bits (k-1)m to km-1.

    * feature: ``g_k(x)`` is +1 for odd parity, -1 for even, 0 unless control bit k is on;
    * target: ``y = sum_k S_k g_k(x)`` with ``S_k = target k^(-target_exponent)``;
    * frequency: ``P_k = A k^-(alpha+1)``, summing to one, so that ``E[g_k g_l] = P_k delta_kl``.

    Parameters
    ----------
    n_skills
        Number of skills, at least one.
    skill_bits
        Bits m of each skill, at least one; the bits of different skills are disjoint.
    n_bits
        Data bits, from ``n_skills * skill_bits`` up to 64.
    alpha
        Exponent of the frequencies less one, positive.
    target
        Size S of the first skill's target, positive.
    target_exponent
        How fast target sizes fall with rank; 0 for equal sizes, negative for growing ones.

    Raises
    ------
    ValueError
        For sizes that do not fit or numbers outside these ranges.

    Notes
    -----
    The task of arXiv 2404.17563. Bits come from one random 64-bit word a row, so that every byte is
    possible and all bits are independent; the published generator never draws the byte 255.

    Examples
    --------
    >>> task = Parity(n_skills=2, skill_bits=2, n_bits=6)
    >>> x, y = task.sample(4, np.random.default_rng(0))
    >>> x.shape, y.shape
    ((4, 8), (4, 1))
    >>> bool(np.all(y == task.features(x) @ task.targets[:, None]))
    True
    >>> Parity().frequencies.round(4)
    array([0.5927, 0.1955, 0.1022, 0.0645, 0.0451])
    """

    n_skills: int = 5
    skill_bits: int = 3
    n_bits: int = 32
    alpha: float = 0.6
    target: float = 5.0
    target_exponent: float = 0.0

    def __post_init__(self) -> None:
        for name in ("n_skills", "skill_bits", "n_bits"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.n_skills * self.skill_bits > self.n_bits:
            raise ValueError(
                f"more skill bits than there are: {self.n_skills} skills of {self.skill_bits} bits "
                f"need {self.n_skills * self.skill_bits}, n_bits is {self.n_bits}"
            )
        if self.n_bits > WORD_BITS:
            raise ValueError(f"n_bits must be at most {WORD_BITS}, got {self.n_bits}")
        for name in ("alpha", "target"):
            value = getattr(self, name)
            if not math.isfinite(value) or value <= 0:
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if not math.isfinite(self.target_exponent):
            raise ValueError(f"target_exponent must be finite, got {self.target_exponent}")

    @property
    def inputs(self) -> int:
        """Number of inputs, control bits and data bits."""
        return self.n_skills + self.n_bits

    @property
    def frequencies(self) -> np.ndarray:
        """How often each skill is asked for, P_k, shape (n_skills,), summing to one."""
        weights = np.arange(1, self.n_skills + 1) ** -(self.alpha + 1.0)
        return weights / weights.sum()

    @property
    def targets(self) -> np.ndarray:
        """Target sizes S_k, shape (n_skills,)."""
        return self.target * np.arange(1, self.n_skills + 1) ** -float(self.target_exponent)

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        """Return fresh inputs (n, inputs) and targets (n, 1), both float32."""
        below = np.cumsum(self.frequencies)[:-1]
        # inverse distribution function by counting: of few skills, faster than any search
        skill = (rng.random(n) >= below[:, None]).sum(axis=0, dtype=np.uint8)
        return self._asked(skill.astype(np.intp), rng)

    def fixed(self, n: int, seed: int) -> Samples:
        """Return a data set of `n` samples that depends on `seed` alone, as `sample` does."""
        return self.sample(n, _stream(seed, 0))

    def evaluation(self, per_skill: int, seed: int) -> Samples:
        """Return held-out samples, `per_skill` rows of the first skill, then of the second, ...

        They come from a random stream of their own, which is that of no training data.
        """
        return self._asked(np.repeat(np.arange(self.n_skills), per_skill), _stream(seed, 1))

    def features(self, x: np.ndarray) -> np.ndarray:
        """Return the skill functions ``g_k(x)`` of inputs (n, inputs), shape (n, n_skills)."""
        if x.ndim != 2 or x.shape[1] != self.inputs:
            raise ValueError(f"inputs must be (n, {self.inputs}), got {x.shape}")
        control, bits = x[:, : self.n_skills], x[:, self.n_skills :]
        own = bits[:, : self.n_skills * self.skill_bits]
        odd = own.reshape(len(x), self.n_skills, self.skill_bits).sum(axis=2) % 2
        return np.where(control > 0, 2.0 * odd - 1.0, 0.0).astype(np.float32)

    def _asked(self, skill: np.ndarray, rng: np.random.Generator) -> Samples:
        """Return samples of the given skills, shape (n,), their bits drawn from `rng`."""
        n, m = len(skill), self.skill_bits
        words = rng.integers(0, 2**64, n, dtype=np.uint64).astype(WORD, copy=False)
        x = np.zeros((n, self.inputs), dtype=np.float32)
        x[np.arange(n), skill] = 1.0
        bits = np.unpackbits(words.view(np.uint8), bitorder="little").reshape(n, WORD_BITS)
        x[:, self.n_skills :] = bits[:, : self.n_bits]
        masks = np.array([(2**m - 1) << (m * k) for k in range(self.n_skills)], dtype=np.uint64)
        odd = np.bitwise_count(words & masks[skill]) & 1
        y = (2.0 * odd - 1.0) * self.targets[skill]
        return x, y[:, None].astype(np.float32)


def _stream(seed: int, use: int) -> np.random.Generator:
    # spawned from the seed: never a stream that `default_rng([seed, k])` gives to training
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(use,)))
