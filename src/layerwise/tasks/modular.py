"""Arithmetic modulo a number: the whole table of an operation, a share of it to train on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

__all__ = ["Modular", "PairSplit"]

OPERATIONS = ("+", "-", "*", "/", "table")


@final
@dataclass(frozen=True)
class PairSplit:
    """A table of pairs in two parts.

    Attributes
    ----------
    train, test
        Pairs ``(a, b)``, int64 (n, 2); the training pairs in random order, the others sorted.
    train_labels, test_labels
        Their results, int64 (n,), from 0 to the modulus less one.
    mirrored
        Of each test pair whether its mirror ``(b, a)`` is a training pair, bool (n,).
    """

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    mirrored: np.ndarray


@final
@dataclass(frozen=True)
class Modular:
    """The table of ``a o b mod p`` over all pairs, of which a random share is for training.

    Parameters
    ----------
    operation
        ``"+"``, ``"-"``, ``"*"``, ``"/"`` (a times the inverse of b, all b but 0) or ``"table"``:
        p^2 random results, in which there is nothing to be understood, as a control.
    modulus
        The number p of tokens, at least 2; a prime for division.
    fraction
        Share of the pairs that is for training; it must leave at least one pair in each part.
    split_by
        What is drawn: ``"ordered"`` pairs, as published, or ``"unordered"`` ones, which keeps
        ``(a, b)`` and ``(b, a)`` in the same part, so that no test pair can be read off its mirror.

    Raises
    ------
    ValueError
        For an unknown operation or split, a modulus below 2 or, for division, a composite one,
        and for a fraction that leaves a part empty.

    References
    ----------
    Power et al. 2022, arXiv 2201.02177.

    Examples
    --------
    >>> task = Modular("+", modulus=5, fraction=0.4)
    >>> parts = task.split(seed=0)
    >>> parts.train.shape, parts.test.shape
    ((10, 2), (15, 2))
    >>> bool(np.all(parts.test_labels == parts.test.sum(axis=1) % 5))
    True
    >>> task.one_hot(np.array([[3, 1]]))
    array([[0., 0., 0., 1., 0., 0., 1., 0., 0., 0.]], dtype=float32)
    """

    operation: Literal["+", "-", "*", "/", "table"] = "+"
    modulus: int = 23
    fraction: float = 0.5
    split_by: Literal["ordered", "unordered"] = "ordered"

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise ValueError(f"operation must be one of {OPERATIONS}, got {self.operation!r}")
        if self.split_by not in ("ordered", "unordered"):
            raise ValueError(f"split_by must be ordered or unordered, got {self.split_by!r}")
        p = self.modulus
        if p < 2:
            raise ValueError(f"modulus must be at least 2, got {p}")
        factor = next((k for k in range(2, int(p**0.5) + 1) if p % k == 0), None)
        if self.operation == "/" and factor:
            raise ValueError(
                f"division needs a prime modulus, got {p} = {factor} x {p // factor}: there "
                f"{factor} has no inverse"
            )
        if not math.isfinite(self.fraction):
            raise ValueError(f"fraction must be finite, got {self.fraction}")
        drawn = self._draws()
        n = int(drawn.max()) + 1
        if not 0 < self._drawn(n) < n:
            raise ValueError(
                f"fraction must leave {self.split_by} pairs to train and to test on: "
                f"{self.fraction} of {n} are {self.fraction * n:g}"
            )

    @property
    def formula(self) -> str:
        """What is computed, in words: ``"a + b mod 23"``."""
        what = "random table" if self.operation == "table" else f"a {self.operation} b"
        return f"{what} mod {self.modulus}"

    @property
    def inputs(self) -> int:
        """Number of inputs in one-hot form, twice the modulus."""
        return 2 * self.modulus

    @property
    def pairs(self) -> np.ndarray:
        """Every pair (a, b) of the table, sorted, int64 (n, 2)."""
        p = self.modulus
        a, b = np.divmod(np.arange(p * p), p)
        return np.stack([a, b], axis=1)[(b > 0) | (self.operation != "/")]

    @property
    def cycle(self) -> np.ndarray:
        """The tokens in the order in which the operation goes round, int64 (n,).

        0, 1, ..., p - 1; for multiplication and division modulo a prime the powers of the least
        primitive root, without 0: there the operation is addition or subtraction of exponents.
        """
        p = self.modulus
        if self.operation in ("*", "/"):
            for root in range(1, p):
                powers = [pow(root, k, p) for k in range(p - 1)]
                if sorted(powers) == list(range(1, p)):
                    return np.array(powers)
        return np.arange(p)

    def labels(self, pairs: np.ndarray, seed: int = 0) -> np.ndarray:
        """Return the results of `pairs` (n, 2), int64 (n,); the random table is that of `seed`."""
        p, (a, b) = self.modulus, self._sound(pairs).T
        match self.operation:
            case "+":
                return (a + b) % p
            case "-":
                return (a - b) % p
            case "*":
                return a * b % p
            case "/":
                if np.any(b == 0):
                    raise ValueError("0 has no inverse: leave pairs (a, 0) out")
                inverse = np.array([0, *(pow(k, -1, p) for k in range(1, p))])
                return a * inverse[b] % p
            case _:
                # spawned from the seed: a stream apart from that of the split
                stream = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
                return stream.integers(0, p, (p, p))[a, b]

    def split(self, seed: int) -> PairSplit:
        """Return the table in two parts, drawn by `seed` alone."""
        pairs, group = self.pairs, self._draws()
        order = np.random.default_rng(seed).permutation(group.max() + 1)
        rank = np.argsort(order)[group]  # of each pair, when what it belongs to was drawn
        first = np.argsort(rank, kind="stable")
        chosen = rank[first] < self._drawn(len(order))
        train, test = pairs[first[chosen]], pairs[np.sort(first[~chosen])]
        known = np.zeros((self.modulus, self.modulus), dtype=bool)
        known[tuple(train.T)] = True
        mirrored = known[tuple(test.T[::-1])]
        return PairSplit(train, self.labels(train, seed), test, self.labels(test, seed), mirrored)

    def one_hot(self, pairs: np.ndarray) -> np.ndarray:
        """Return pairs (n, 2) as float32 (n, 2p): one of the first p for a, of the others for b."""
        eye = np.eye(self.modulus, dtype=np.float32)
        return eye[self._sound(pairs)].reshape(len(pairs), self.inputs)

    def _sound(self, pairs: np.ndarray) -> np.ndarray:
        pairs = np.asarray(pairs)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"pairs must be (n, 2), got {pairs.shape}")
        if pairs.size and not 0 <= pairs.min() <= pairs.max() < self.modulus:
            raise ValueError(
                f"tokens must be from 0 to {self.modulus - 1}, got {pairs.min()} to {pairs.max()}"
            )
        return pairs

    def _draws(self) -> np.ndarray:
        """Return which draw each pair belongs to, numbers from 0 on."""
        pairs = self.pairs
        if self.split_by == "ordered":
            return np.arange(len(pairs))
        return np.unique(np.sort(pairs, axis=1), axis=0, return_inverse=True)[1].reshape(-1)

    def _drawn(self, n: int) -> int:
        return round(self.fraction * n)
