"""Which runs lazy and rich need at each size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from layerwise.names import nearest
from layerwise.phenomena import base
from layerwise.phenomena.base import SIZES, Experiment, Run, Study
from layerwise.phenomena.lazy_rich.cnn import Convolution
from layerwise.phenomena.lazy_rich.dial import Dial
from layerwise.phenomena.lazy_rich.funnel import Funnel
from layerwise.phenomena.lazy_rich.linear import Limits, TwoNumber
from layerwise.phenomena.lazy_rich.maps import BalancedMap, UnbalancedMap
from layerwise.phenomena.lazy_rich.results import Results
from layerwise.phenomena.lazy_rich.study import study
from layerwise.phenomena.lazy_rich.upstream import LinearUpstream

__all__ = ["Plan", "plan"]


@dataclass(frozen=True)
class Plan(base.Plan):
    """The experiments of one size, by their role; each is run once per seed.

    Attributes
    ----------
    balanced, unbalanced
        The two phase maps.
    funnel, antifunnel
        Networks of unequal sizes.
    two_number, limits
        Linear networks on images, beside the two numbers and the two limits that decide.
    upstream, even, downstream
        The CNN from the same function: early layers small, as large as the late ones, large.
    linear
        A linear network and a ReLU network of the same weights, from the same three starts.
    dials
        Networks between linear and ReLU.
    """

    balanced: BalancedMap
    unbalanced: UnbalancedMap
    funnel: Funnel
    antifunnel: Funnel
    two_number: TwoNumber
    limits: Limits
    upstream: Convolution
    even: Convolution
    downstream: Convolution
    linear: LinearUpstream
    dials: tuple[Dial, ...]

    @property
    def data(self) -> str:
        return self.even.data

    def describe(self) -> str:
        return (
            f"two phase maps of {self.balanced.points}x{self.balanced.points} linear networks, "
            f"linear networks on {self.data}, and a CNN on {self.even.train_size} images of "
            f"{self.data} from three starts"
        )

    @property
    def convolutions(self) -> dict[str, Convolution]:
        """The three starts of the CNN by name, the order being that of learning early layers."""
        return {
            "upstream": self.upstream, "balanced": self.even, "downstream": self.downstream
        }  # fmt: skip

    def roles(self) -> tuple[Experiment, ...]:
        return (
            self.balanced, self.unbalanced, self.funnel, self.antifunnel, self.two_number,
            self.limits, self.linear, *self.dials, *self.convolutions.values(),
        )  # fmt: skip

    def study(self, size: str, seeds: int, runs: Iterable[Run]) -> Study:
        return study(Results.of(self, size, seeds, runs))


def plan(size: str, data: str) -> Plan:
    """Return the experiments of a size: ``"smoke"``, ``"laptop"`` or ``"paper"``.

    * smoke: small maps, 384 digits, seconds;
    * laptop: maps of 41x41, the CNN for 1200 steps on 1500 images;
    * paper: the same maps, finer funnels and two-number widths, the CNN for 12 000 steps on as many
      images as there are, up to 10 000.
    """
    dials = (0.0, 0.25, 0.5, 0.75, 1.0)
    match size:
        case "smoke":
            points, even = 11, Convolution(data=data, train_size=384, steps=200, points=6)
            funnel = Funnel(points=3, end=1000.0, learning_rate=0.04, looks=12)
            two_number = TwoNumber(data=data, widths=(64, 256, 1024))
            dial, linear = Dial(data=data, samples=400, time=40.0), LinearUpstream(data=data)
        case "laptop":
            points, even = 41, Convolution(data=data)
            funnel = Funnel(points=11, learning_rate=0.04)
            two_number = TwoNumber(data=data)
            dial, linear = Dial(data=data), LinearUpstream(data=data)
        case "paper":
            points = 41
            even = Convolution(data=data, train_size=10_000, test_size=10_000, steps=12_000)
            if data == "digits":
                even = replace(even, train_size=1500, test_size=297)
            funnel = Funnel(points=41)
            two_number = TwoNumber(data=data, widths=(64, 256, 1024, 4096, 16384, 65536))
            dial = Dial(data=data, samples=1500, hidden=64)
            linear = LinearUpstream(data=data, train_size=1024, width=256)
        case _:
            raise ValueError(nearest(size, SIZES, kind="size"))
    return Plan(
        balanced=BalancedMap(points=points, published=True),
        unbalanced=UnbalancedMap(points=points),
        funnel=funnel,
        antifunnel=replace(funnel, inputs=funnel.outputs, outputs=funnel.inputs),
        two_number=two_number,
        limits=Limits(data=data),
        upstream=replace(even, a=0.1),
        even=even,
        downstream=replace(even, a=10.0),
        linear=linear,
        dials=tuple(replace(dial, k=k) for k in dials),
    )
