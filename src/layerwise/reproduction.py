"""`reproduce`: carry out phenomena, judge their claims, write the report."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from layerwise.files import write_file
from layerwise.names import nearest
from layerwise.phenomena import clock, collapse, depth, emergence, grokking, lazy_rich, modular
from layerwise.phenomena.base import SIZES, Experiment, Plan, Run, run
from layerwise.phenomena.claim import Claim
from layerwise.show import report
from layerwise.show.progress import Runs, Work
from layerwise.tasks import images

__all__ = ["PHENOMENA", "OutputFolderError", "plan_of", "reproduce"]

PHENOMENA = ("emergence", "depth", "collapse", "lazy-rich", "clock", "grokking", "modular")
GROKKED = ("mnist", "fashion-mnist", "digits")  # images on which grokking can be shown
MARKER = "reproduction.json"
NEEDED = (("torch", "torch"), ("matplotlib", "plot"), ("sklearn", "data"))  # and their extras

Say = Callable[[str], None]


class OutputFolderError(FileExistsError):
    """The output folder holds something else, or cannot be written."""


def reproduce(
    phenomenon: str | Sequence[str] = PHENOMENA,
    *,
    size: str = "laptop",
    seeds: int = 3,
    data: str | None = None,
    device: str = "cpu",
    out: str | Path = "runs",
    force: bool = False,
    quiet: bool = False,
) -> list[Claim]:
    """Reproduce phenomena with real networks beside their exact theory; return the claims.

    Parameters
    ----------
    phenomenon
        One name or several of ``"emergence"``, ``"depth"``, ``"collapse"``, ``"lazy-rich"``,
        ``"clock"``, ``"grokking"`` and ``"modular"``; all of them by default.
    size
        ``"smoke"`` (seconds; images: 8x8 digits), ``"laptop"`` (minutes; MNIST) or ``"paper"``
        (the published settings, up to hours on a CPU).
    seeds
        Number of seeds, 0, 1, ...; fewer than three leave every claim undecided.
    data
        Images for ``"grokking"``: ``"mnist"``, ``"fashion-mnist"`` or ``"digits"``; by default
        those of the size.
    device
        ``"cpu"`` or ``"cuda"``.
    out
        Folder for ``index.html`` (the report), ``claims.json`` and one folder per run. Finished
        runs found there are not run again; interrupted ones go on where they stopped.
    force
        Write into a folder that holds other files or another reproduction. Finished runs are
        still used, the report and the claims are replaced.
    quiet
        Print nothing.

    Returns
    -------
    list of Claim
        With verdicts ``"supported"``, ``"refuted"`` or ``"undecided"``.

    Raises
    ------
    ValueError
        For an unknown phenomenon, size or device, or fewer than one seed.
    ImportError
        If an optional package is missing; the message names the extra to install.
    OutputFolderError
        If `out` holds something else, see `force`.

    Examples
    --------
    >>> import layerwise as lw
    >>> claims = lw.reproduce("grokking", size="smoke", out="runs/")  # doctest: +SKIP
    """
    asked = (phenomenon,) if isinstance(phenomenon, str) else tuple(phenomenon)
    names = tuple(dict.fromkeys(asked)) or PHENOMENA
    for name in names:
        if name not in PHENOMENA:
            raise ValueError(nearest(name, PHENOMENA, kind="phenomenon"))
    if size not in SIZES:
        raise ValueError(nearest(size, SIZES, kind="size"))
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}")
    if data is not None and data not in GROKKED:
        raise ValueError(nearest(data, GROKKED, kind="data set for grokking"))
    for module, extra in NEEDED:
        if find_spec(module) is None:
            raise ImportError(f"reproduce needs {module}: pip install 'layerwise[{extra}]'")
    from layerwise.train import as_device  # torch is loaded only once the request is sound

    as_device(device)
    say = _silent if quiet else partial(print, flush=True)
    plans = {name: plan_of(name, size, _images(name, size, data, say)) for name in names}
    folder = Path(out)
    data = ", ".join(dict.fromkeys(plan.data for plan in plans.values()))
    settings = {"phenomena": list(names), "size": size, "seeds": seeds, "data": data}
    _claim_folder(folder, settings, force=force)
    studies = []
    for name, plan in plans.items():
        runs = _carry_out(name, plan, folder, size, seeds, device, say, quiet)
        studies.append(plan.study(size, seeds, runs))
    claims = [claim for study in studies for claim in study.claims]
    text = json.dumps([claim.as_json() for claim in claims], indent=2, allow_nan=False)
    write_file(folder / "claims.json", (text + "\n").encode())
    command = f"layerwise reproduce {' '.join(names)} --size {size} --seeds {seeds}"
    if data is not None:
        command += f" --data {data}"
    if device != "cpu":
        command += f" --device {device}"
    page = report.write(studies, folder / "index.html", command=f"{command} --out {folder.name}")
    _tell(claims, say)
    say(f"\nThe report lies in {page.resolve()}\n(open it in a browser; the claims as data: "
        f"{folder / 'claims.json'})")  # fmt: skip
    return claims


def plan_of(name: str, size: str, data: str) -> Plan:
    """Return the plan of a phenomenon at a size, on these images if it takes any."""
    match name:
        case "emergence":
            return emergence.plan(size)
        case "depth":
            return depth.plan(size)
        case "collapse":
            return collapse.plan(size, data)
        case "lazy-rich":
            return lazy_rich.plan(size, data)
        case "clock":
            return clock.plan(size)
        case "modular":
            return modular.plan(size)
        case _:
            return grokking.plan(size, data)


def _images(name: str, size: str, asked: str | None, say: Say) -> str:
    """Return the images that a phenomenon is to be shown on, "" if it takes none."""
    match name:
        case "collapse":
            return _coloured(say) if size == "paper" else "digits"
        case "lazy-rich":
            return _data(size, say) if size == "paper" else "digits"
        case "grokking":
            return _data(size, say, asked)
        case _:
            return ""


def _carry_out(
    name: str, plan: Plan, folder: Path, size: str, seeds: int, device: str, say: Say, quiet: bool
) -> list[Run]:
    experiments = plan.experiments(seeds)
    # read first what is there, so that a damaged run is an error before work
    runs = {one: run(one, folder) for one in experiments if (folder / one.key).exists()}
    waiting = [one for one in experiments if one not in runs]
    say(
        f"{name}, size {size}: {len(experiments)} trainings ({seeds} "
        f"{'seed' if seeds == 1 else 'seeds'}) of {plan.describe()}; {len(runs)} are done."
    )
    with _one_thread(device):
        seconds = _expected_seconds(waiting, folder, device)
        if waiting:
            say(f"About {sum(one.work() for one in waiting)} steps to go, "
                f"{_minutes(sum(seconds.values()))} on this machine. "
                "Ctrl-C keeps what is done; the same command goes on from there.")  # fmt: skip
        names = {one: f"{one.name} seed {one.seed}" for one in waiting}
        work = {names[one]: Work(one.work(), seconds[one]) for one in waiting}
        with Runs(work, quiet=quiet) as progress:
            for one in waiting:
                progress.begin(names[one])
                runs[one] = run(one, folder, device=device, tick=progress.step)
                progress.end()
    return list(runs.values())


def _data(size: str, say: Say, asked: str | None = None) -> str:
    """Return the data set to use: what is asked for, or the digits stand-in, said loudly."""
    if asked is None and size == "smoke":
        return "digits"
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", images.StandInWarning)
        loaded = images.load_or_stand_in(asked or "mnist")
    for warning in heard:
        say(f"\n*** {warning.message} ***\n")
    return loaded.name


def _coloured(say: Say) -> str:
    """Return the data set of the published collapse: CIFAR-10, or what takes its place, said."""
    try:
        return images.load("cifar10").name
    except images.DataNotFound as error:
        say(f"\n*** NOT cifar10 ({error}): mnist takes its place ***\n")
        return _data("paper", say)


def _claim_folder(folder: Path, settings: dict[str, Any], *, force: bool) -> None:
    marker = folder / MARKER
    if folder.exists() and not folder.is_dir():
        raise OutputFolderError(f"{folder} is a file, not a folder")
    if not force and marker.exists():
        found = json.loads(marker.read_text())
        if found != settings:
            raise OutputFolderError(
                f"{folder} holds another reproduction ({_said(found)}), not this one "
                f"({_said(settings)}); choose another --out, or --force to replace its report"
            )
    elif not force and folder.exists() and any(folder.iterdir()):
        raise OutputFolderError(
            f"{folder} is not empty and not a reproduction of ours; choose another --out, or "
            "--force to write into it"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(marker, (json.dumps(settings, indent=2) + "\n").encode())
    except OSError as error:
        raise OutputFolderError(f"cannot write to {folder}: {error.strerror}") from None


def _said(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _expected_seconds(
    experiments: Sequence[Experiment], folder: Path, device: str
) -> dict[Experiment, float]:
    kinds = {one: replace(one.brief(), seed=0) for one in experiments}
    paces = {kind: _seconds_per_step(kind, folder, device) for kind in set(kinds.values())}
    return {one: one.work() * paces[kind] for one, kind in kinds.items()}


def _seconds_per_step(trial: Experiment, folder: Path, device: str) -> float:
    """Time the steps of a throw-away training."""
    stamps: list[float] = []
    scratch = folder / ".pace"
    trial.measure(scratch, device, lambda step: stamps.append(time.perf_counter()))
    scratch.unlink(missing_ok=True)
    return median(later - earlier for earlier, later in pairwise(stamps[5:]))


@contextmanager
def _one_thread(device: str) -> Iterator[None]:
    """Keep torch to one CPU thread: networks this small only lose by sharing their layers."""
    import torch

    threads = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _tell(claims: Sequence[Claim], say: Say) -> None:
    for claim in claims:
        measured = "–" if claim.measured is None else f"{claim.measured:.3g}"
        low, high = claim.interval
        say(f"{claim.verdict:>10}  {claim.id:<32} measured {measured:>7}  "
            f"interval [{low:.3g}, {high:.3g}]  seeds: {claim.seeds}, {claim.data}")  # fmt: skip


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(round(seconds / 10), 1) * 10} seconds"
    if seconds < 5400:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"


def _silent(text: str) -> None:
    pass
