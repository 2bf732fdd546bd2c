"""The labelled runs: how each is made, and what a diagnosis of it must, may and must not say.

A label says what was done to a run, not what was seen of it. Rules were written with the runs of
`FIRST` alone and then judged by those of `SECOND`, of other data, sizes, rates, strengths and
seeds. What was wrong there changed the rules; they are judged by the runs of `DRAWN`. Each group
was written before one of its runs was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from drawn import HEAVY, PLAIN, drawn
from training import Setting

# What a diagnosis has to say of a run with this label, and what it may say besides: a start too
# large is one cause of a delay.
LABELS = {
    "sound": ((), ()),
    "scale": (("lazy by scale",), ("decay too weak",)),
    "imbalance": (("lazy by imbalance",), ()),
    "waiting": (("memorised and waiting",), ("lazy by scale",)),
    "no decay": (("decay too weak",), ("lazy by scale",)),
    "label noise": (("fits noise",), ()),
    "minority": (("minority below the threshold",), ()),
    "detached": (("idle layer",), ()),
    "rewritten": (("broken conservation",), ()),
}


@dataclass(frozen=True)
class Labelled:
    """A run with its label, and the group that it belongs to."""

    label: str
    setting: Setting
    group: str

    @property
    def name(self) -> str:
        one = self.setting
        return f"{self.label.replace(' ', '-')}-{one.network}-{one.data}-{self.group}-{one.seed}"

    @property
    def must(self) -> tuple[str, ...]:
        return LABELS[self.label][0]

    @property
    def may(self) -> tuple[str, ...]:
        return LABELS[self.label][1]


TANH = {"activation": "tanh", "target": 3.0}
LARGE = {**TANH, "weights": 5.0, "depth": 4, "width": 200}
PAIRS = {"data": "modular", "train": 47, "width": 128, "batch": 1105, "loss": "ce", "rate": 2e-3}
FASHION = {"data": "fashion-mnist"}
DIGITS = {"data": "digits"}


def _first() -> Iterator[tuple[str, Setting]]:
    mlp, cnn, former = (partial(Setting, name) for name in ("mlp", "cnn", "transformer"))
    large = {**LARGE, "depth": 3, "weights": 7.0}
    yield "sound", mlp()
    yield "sound", mlp(**PLAIN, rate=0.05, decay=1e-3, steps=1500, seed=1)
    yield "scale", mlp(centred=True, output=30.0, rate=1e-4, steps=1500)
    yield "scale", mlp(**PLAIN, centred=True, output=30.0, rate=3e-5, steps=2000, seed=1)
    yield "imbalance", mlp(**PLAIN, alpha=6.0, rate=1e-3, steps=2000)
    yield "imbalance", mlp(**PLAIN, alpha=10.0, depth=2, rate=5e-4, steps=2000, seed=1)
    yield "waiting", mlp(**LARGE, decay=0.5, steps=500, later=4000)
    yield "waiting", mlp(**large, decay=1.0, steps=600, later=3000, seed=1)
    yield "no decay", mlp(**LARGE, steps=1000, later=4000)
    yield "no decay", mlp(**large, decay=1e-3, steps=1000, later=4000, seed=1)
    yield "label noise", mlp(noise=0.4, steps=1500)
    yield "label noise", mlp(noise=0.3, noisy_test=True, loss="ce", steps=1500, seed=1)
    yield "minority", mlp(**HEAVY, rare=6, rate=0.03, decay=1e-2, steps=1500)
    yield "minority", mlp(**HEAVY, rare=10, rate=0.02, decay=2e-2, steps=1500, seed=1)
    yield "detached", mlp(fault="detached")
    yield "rewritten", mlp(**PLAIN, fault="rewrite", rate=0.03, seed=1)

    large = {**TANH, "weights": 7.0, "train": 500, "rate": 5e-3}
    yield "sound", cnn(**HEAVY, loss="ce", rate=0.03, decay=1e-3, steps=600)
    yield "scale", cnn(centred=True, output=30.0, rate=1e-4)
    yield "imbalance", cnn(**PLAIN, alpha=6.0, rate=1e-3, steps=1500)
    yield "waiting", cnn(**large, decay=0.3, steps=600, later=2500)
    yield "no decay", cnn(**large, steps=1000, later=4000)
    yield "label noise", cnn(noise=0.4, steps=1500)
    yield "minority", cnn(**HEAVY, rare=6, rate=0.03, decay=1e-2)
    yield "detached", cnn(fault="detached", steps=600)
    yield "rewritten", cnn(**PLAIN, fault="rewrite", rate=0.03, steps=600)

    yield "sound", former(train=3000, loss="ce", rate=2e-3, steps=1200)
    yield "sound", former(**HEAVY, train=3000, loss="ce", rate=3e-3, decay=1e-3, steps=1500, seed=1)
    yield "scale", former(train=3000, centred=True, output=30.0, rate=1e-4, steps=1500)
    yield "waiting", former(**PAIRS, decay=1.0, steps=200, later=2000)
    yield "no decay", former(**PAIRS, steps=400, later=3000)
    yield "label noise", former(noise=0.4, rate=2e-3, steps=1500)
    yield "minority", former(**HEAVY, rare=6, rate=3e-3, decay=1e-2, steps=1500)
    yield "detached", former(train=3000, rate=2e-3, fault="detached", steps=600)
    yield "rewritten", former(**PLAIN, train=3000, fault="rewrite", rate=5e-3, steps=800)


def _second() -> Iterator[tuple[str, Setting]]:
    mlp, cnn, former = (partial(Setting, name) for name in ("mlp", "cnn", "transformer"))
    large = {**TANH, "weights": 8.0, "width": 150}
    small = {**TANH, **DIGITS, "train": 200, "weights": 6.0, "depth": 4}
    yield "sound", mlp(**FASHION, loss="ce", width=200, steps=800, seed=10)
    yield "sound", mlp(**DIGITS, **HEAVY, depth=4, width=60, rate=0.02, decay=1e-4, steps=1500,
                       seed=11)  # fmt: skip
    yield "scale", mlp(**FASHION, centred=True, output=50.0, width=150, rate=6e-5, steps=2000,
                       seed=12)  # fmt: skip
    yield "scale", mlp(**DIGITS, **PLAIN, centred=True, weights=2.0, output=5.0, rate=6e-5,
                       steps=2500, seed=13)  # fmt: skip
    yield "imbalance", mlp(**FASHION, **PLAIN, alpha=8.0, depth=4, rate=3e-4, steps=3000, seed=14)
    yield "imbalance", mlp(**DIGITS, **PLAIN, alpha=12.0, width=60, rate=2e-4, steps=3000, seed=15)
    yield "waiting", mlp(**large, decay=0.8, steps=800, later=4000, seed=16)
    yield "waiting", mlp(**small, decay=0.6, steps=500, later=5000, seed=17)
    yield "no decay", mlp(**large, steps=1500, later=5000, seed=18)
    yield "no decay", mlp(**small, decay=1e-4, steps=1000, later=5000, seed=19)
    yield "label noise", mlp(**FASHION, noise=0.35, noisy_test=True, steps=2000, seed=20)
    yield "label noise", mlp(**DIGITS, noise=0.5, loss="ce", steps=1500, seed=21)
    yield "minority", mlp(**FASHION, **HEAVY, rare=4, rate=0.01, decay=1.5e-2, steps=2000, seed=22)
    yield "minority", mlp(**DIGITS, **HEAVY, train=600, rare=3, rate=0.02, decay=1e-2, steps=1500,
                          seed=23)  # fmt: skip
    yield "detached", mlp(**DIGITS, depth=5, fault="detached", steps=800, seed=24)
    yield "rewritten", mlp(**FASHION, **PLAIN, depth=4, fault="rewrite", rate=0.01, steps=800,
                           seed=25)  # fmt: skip

    large = {**TANH, **DIGITS, "weights": 6.0, "width": 140}
    yield "sound", cnn(**DIGITS, width=160, steps=600, seed=26)
    yield "scale", cnn(**FASHION, centred=True, output=50.0, rate=6e-5, seed=27)
    yield "imbalance", cnn(**DIGITS, **PLAIN, alpha=8.0, rate=5e-4, steps=2000, seed=28)
    yield "waiting", cnn(**large, train=150, rate=5e-3, decay=0.3, steps=600, later=4000, seed=29)
    yield "no decay", cnn(**large, train=200, rate=4e-3, steps=1200, later=5000, seed=30)
    yield "label noise", cnn(**FASHION, noise=0.45, loss="ce", steps=1500, seed=31)
    yield "minority", cnn(**FASHION, **HEAVY, rare=5, rate=0.01, decay=1.5e-2, steps=1500, seed=32)
    yield "detached", cnn(**FASHION, loss="ce", fault="detached", steps=500, seed=33)
    yield "rewritten", cnn(**DIGITS, **PLAIN, fault="rewrite", rate=0.03, steps=800, seed=34)

    pairs = {**PAIRS, "batch": 2000}
    yield "sound", former(**FASHION, train=4000, steps=1500, seed=35)
    yield "sound", former(**DIGITS, **HEAVY, loss="ce", rate=3e-3, steps=1500, seed=36)
    yield "scale", former(**DIGITS, centred=True, output=60.0, rate=5e-5, steps=2000, seed=37)
    yield "waiting", former(**pairs | {"train": 43, "width": 160}, decay=0.7, steps=250, later=3000,
                            seed=38)  # fmt: skip
    yield "no decay", former(**pairs | {"train": 53}, decay=1e-3, steps=500, later=3000, seed=39)
    yield "label noise", former(**DIGITS, noise=0.4, rate=2e-3, steps=1500, seed=40)
    yield "minority", former(**FASHION, **HEAVY, rare=5, rate=3e-3, decay=1.5e-2, steps=1500,
                             seed=41)  # fmt: skip
    yield "detached", former(**DIGITS, fault="detached", steps=600, seed=42)
    yield "rewritten", former(**FASHION, **PLAIN, train=2000, fault="rewrite", rate=4e-3, steps=800,
                              seed=43)  # fmt: skip


FIRST = tuple(Labelled(label, setting, "first") for label, setting in _first())
SECOND = tuple(Labelled(label, setting, "second") for label, setting in _second())
DRAWN = tuple(Labelled(label, setting, "drawn") for label, setting in drawn())
