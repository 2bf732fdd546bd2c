"""The probe: what a training run looks like from inside, without touching it."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from torch import Tensor, nn, no_grad

from layerwise.names import PREFIX
from layerwise.networks import Conserved
from layerwise.probe.groups import GROUPS, measures_of, need_groups
from layerwise.probe.measure import Measure, Memory, View
from layerwise.probe.optimizer import Settings, settings_of
from layerwise.probe.scene import Scene
from layerwise.probe.subject import Forward, undisturbed, unwrapped
from layerwise.probe.weights import Balance
from layerwise.trace import Provenance, Trace, TraceError, versions

__all__ = ["Probe"]

LEADING = ("", "1", "2", "5")  # of the multiples of the interval at which the model is run
FORMAT = 2


class Probe:
    """Measures a training run of one's own while it goes on, and leaves it bit for bit as it was.

    Call `step` once in every iteration of the training loop. Where a look is due it returns the
    measured numbers as a flat dictionary, which any logger takes, and `trace` returns all of them
    as a `layerwise.Trace` with the names that the head of `layerwise.probe` lists.

    A look is due at the first call and at every multiple of `every`. The optimiser, norms and
    motion are read at every look. What costs more (groups ``balance``, ``features``, ``collapse``,
    ``classes``, ``kernel``) is measured at the first and at `every` times 1, 2, 5, 10, 20, 50, 100,
    ..., three in a factor of ten, unless `batch_every` says otherwise; ``scale`` at the first only.

    Parameters
    ----------
    model
        Any module, compiled or wrapped for data-parallel training or not. What is compared with
        the start is compared with the model as it is now, on the device on which it is now.
    features
        Names of modules whose outputs (N, ...), flattened, are looked at as features, and
        ``penultimate`` for what enters the linear layer that makes the outputs, which alone is the
        default: ``("penultimate", "body.3")`` names one more.
    batch
        What the model is looked at with: inputs x, or ``(x, y)``. Inputs are a tensor (N, ...) or a
        mapping of tensors, passed by keyword. Targets are labels (N,), or numbers of the shape of
        the outputs. A few hundred samples, some of every class, will do; they are kept.
    every
        Steps between two looks.
    batch_every
        Steps between two looks at all that costs more; log-spaced by default.
    measures
        Groups of measures, of ``optimizer``, ``norms``, ``motion``, ``balance``, ``scale``,
        ``features``, ``collapse``, ``classes``, ``kernel``. By default all that apply; `notes` says
        of the others why they do not.
    pairs
        Neighbouring layers, where the order of the layers is not known, as for
        `layerwise.networks.conserved_quantities`: ``[("fc1", "fc2", "relu")]``.
    optimizer
        The optimiser, whose rate and decay are read at every look: those of the weight matrices,
        whatever biases and norms have. Without it a drift that decay explains is not told from one
        that it does not.
    target_scale
        The number that stands for the one in one-hot targets, if y are labels. A cross-entropy has
        no such number; 1 is then a convention.
    forward
        How to run the model, ``forward(model, x)``; by default ``model(x)``, or ``model(**x)``. Of
        a result that is no tensor the ``logits`` count, or the first of several.

    Attributes
    ----------
    notes
        What is not measured and why, in the order in which it was found.

    Raises
    ------
    TypeError, ValueError
        At construction: if a module or group of measures is unknown (the nearest is named), the
        model does not run on the batch or the targets do not fit its outputs, or a group that was
        asked for does not apply. Nothing is raised in the loop: a measure that fails is left out
        from then on, with a warning and a note.

    Notes
    -----
    Memory: one copy of the weight matrices (group ``motion``), the features of the batch and one
    kernel of at most 32 samples. The probe's own runs are in evaluation mode, full precision and
    eager, with batch statistics, random numbers, gradients, ``requires_grad`` and modes left as
    they were; forward hooks of the user's own fire in them. Under data-parallel training one
    process may probe alone.

    What construction saw counts for the first look too, where no parameter and no buffer has
    changed in between. The tangent kernel is taken on 32 samples at most, and for more than 4
    outputs estimated from 4 random combinations of them.

    Examples
    --------
    >>> import torch
    >>> from layerwise.networks import MLP
    >>> net, x = MLP((5, 30, 3), activation="relu", seed=0), torch.eye(5)
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> with Probe(net, batch=(x, torch.arange(5) % 3), every=10, optimizer=optimizer) as probe:
    ...     for i in range(21):
    ...         loss = net(x).square().mean()
    ...         optimizer.zero_grad()
    ...         loss.backward()
    ...         found = probe.step(i, train_loss=loss.item())
    ...         optimizer.step()
    >>> trace = probe.trace()
    >>> trace.clock
    array([ 0, 10, 20])
    >>> trace["layerwise/motion/layers.0"].round(3)
    array([0.   , 0.009, 0.013])
    >>> bool(trace["train_loss"][-1] < trace["train_loss"][0]), len(probe.notes)
    (True, 0)
    """

    def __init__(
        self,
        model: nn.Module,
        features: str | Sequence[str] | None = None,
        *,
        batch: Any = None,
        every: int = 50,
        batch_every: int | None = None,
        measures: Sequence[str] | None = None,
        pairs: Sequence[Conserved | tuple[str, str, str]] | None = None,
        optimizer: Any = None,
        target_scale: float = 1.0,
        class_counts: Sequence[int] | Mapping[int, int] | None = None,
        forward: Forward | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"a probe attaches to a torch module, got {type(model).__name__}")
        for name, value in (("every", every), ("batch_every", batch_every)):
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not whole and (name, value) != ("batch_every", None):
                raise ValueError(
                    f"{name} must be a whole number of steps, at least 1, got {value!r}"
                )
        if not math.isfinite(target_scale) or target_scale <= 0:
            raise ValueError(f"target_scale must be positive and finite, got {target_scale!r}")
        names = (features,) if isinstance(features, str) else tuple(features or ())
        usual = [group for group in GROUPS if group != "classes" or class_counts is not None]
        groups = (measures,) if isinstance(measures, str) else tuple(measures or usual)
        need_groups(groups)
        self._every, self._batch_every = every, batch_every
        self._optimizer = optimizer
        self._open = True
        self._notes: list[str] = []
        self._pending: dict[str, Any] = {}
        self._steps: list[int] = []
        self._rows: list[dict[str, float]] = []
        self._measures: list[Measure] = []
        self._memory: dict[str, Memory] = {}  # by the name of the measure
        model = unwrapped(model)
        with undisturbed(model):
            self._scene = Scene.of(model, names, batch, forward, target_scale, class_counts)
            view = View(self._scene, 0, settings=self._settings())
            if batch is not None:
                _ = view.seen  # features that the model does not have are told before all else
            for group in groups:
                try:
                    for measure in measures_of(group, view, pairs, self._notes.append):
                        self._memory[measure.name] = measure.begin(view)
                        self._measures.append(measure)
                except Exception as error:
                    if measures is not None or (group == "balance" and pairs is not None):
                        raise ValueError(f"{group}: {error}") from error
                    self._notes.append(f"{group}: {error}")
            _ = view.state
            self._start: View | None = view  # until the first look, which mostly sees the same
        self._config = self._scene.as_json() | {
            "conserved": {
                item.name: item.as_json(self._scene.layers)
                for measure in self._measures
                if isinstance(measure, Balance)
                for item in measure.items
            },
            "target_scale": target_scale,
            "every": every,
            "batch_every": batch_every,
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not measured, and why."""
        return tuple(self._notes)

    def step(self, step: int, /, **logged: Any) -> dict[str, float]:
        """Look at the model, if a look is due, and return what was measured and logged.

        Parameters
        ----------
        step
            Number of the training step; it must increase from call to call.
        logged
            Numbers of the user's own. `layerwise.diagnose` knows ``train_loss``, ``test_loss``,
            ``train_accuracy`` and ``test_accuracy``. Of numbers that are passed between two looks
            the last of each name counts for the next look.

        Returns
        -------
        dict
            By name; empty where no look is due. It never raises.
        """
        return self._guarded(step, logged, whole=False)

    def look(self, step: int, /, **logged: Any) -> dict[str, float]:
        """Look at everything at this step, whatever is due: at the end, or at an evaluation.

        Parameters and result as for `step`; a step that was looked at already is left out.
        """
        return self._guarded(step, logged, whole=True)

    def trace(self) -> Trace:
        """Return all that was measured and logged, on the clock of steps.

        NaN where a series was not measured. The configuration of its provenance says what was
        probed: the layers, the batch, the features and the head, what is conserved, the optimiser,
        and the notes.

        Raises
        ------
        TraceError
            If no step was probed yet.
        """
        if not self._rows:
            raise TraceError("nothing was measured yet: call step() in the training loop first")
        names = dict.fromkeys(name for row in self._rows for name in row)
        series = {name: np.array([row.get(name, math.nan) for row in self._rows]) for name in names}
        degree, settings = self._memory.get("scale", {}).get("degree"), self._settings()
        config = self._config | {
            "degree": None if degree is None else float(degree),
            "notes": list(self._notes),
            "optimizer": None if settings is None else settings.as_json(),
        }
        provenance = Provenance(
            "probe", "optimiser steps", config=config, versions=versions("torch")
        )
        return Trace(np.array(self._steps), series, provenance)

    def state_dict(self) -> dict[str, Any]:
        """Return the history and the start, to be kept with the checkpoint of the training."""
        return {
            "format": FORMAT,
            "steps": list(self._steps),
            "rows": [dict(row) for row in self._rows],
            "pending": self._numbers(),
            "memory": {name: dict(memory) for name, memory in self._memory.items()},
            "measures": [measure.name for measure in self._measures],
            "notes": list(self._notes),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the start is then the one of the run that was interrupted.

        Raises
        ------
        ValueError
            If the state is of a probe of another model, other features or another batch.
        """
        if state.get("format") != FORMAT:
            raise ValueError(f"a state of format {FORMAT} is needed, got {state.get('format')!r}")
        for name in {**self._memory, **state["memory"]}:
            own, other = self._memory.get(name, {}), state["memory"].get(name, {})
            same = all(key in other and other[key].shape == own[key].shape for key in own)
            if not same or name not in self._memory or name not in state["memory"]:
                raise ValueError(
                    f"the state does not fit this probe in {name!r}: construct it with the same "
                    "model, features, batch and measures as the one that was saved"
                )
        self._memory = {
            name: {
                key: value.to(own[key].device) if key in own else value
                for key, value in state["memory"][name].items()
            }
            for name, own in self._memory.items()
        }
        self._measures = [one for one in self._measures if one.name in state["measures"]]
        self._steps, self._rows = list(state["steps"]), [dict(row) for row in state["rows"]]
        self._pending, self._notes = dict(state["pending"]), list(state["notes"])

    def close(self) -> None:
        """End the measurements: `step` does nothing from now on."""
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _guarded(self, step: int, logged: Mapping[str, Any], whole: bool) -> dict[str, float]:
        """Look, if it is time, and let no error out."""
        if not self._open:
            return {}
        try:
            for name, value in logged.items():
                self._pending[name] = value.detach() if isinstance(value, Tensor) else value
            whole = whole or not self._rows
            if not whole and step % self._every and step % (self._batch_every or self._every):
                return {}
            return self._looked(int(step), whole or self._runs_at(step))
        except Exception as error:
            self._warn("step", f"{step!r}: {_said(error)}")
            return {}

    def _looked(self, step: int, costly: bool) -> dict[str, float]:
        if self._steps and step <= self._steps[-1]:
            self._warn(
                "steps",
                f"{step} is not after {self._steps[-1]}: what does not increase is left out",
            )
            return {}
        row: dict[str, float] = {}
        with undisturbed(self._scene.model) if costly else no_grad():
            view = self._view(step)
            for measure in list(self._measures):
                take = measure.between if measure.costly and not costly else measure.values
                try:
                    values = take(view, self._memory[measure.name])
                    row |= {f"{PREFIX}{name}": value for name, value in values.items()}
                except Exception as error:
                    self._measures.remove(measure)
                    self._warn(measure.name, f"left out from step {step} on: {_said(error)}")
        row |= self._numbers()
        self._pending = {}
        self._steps.append(step)
        self._rows.append(row)
        return dict(row)

    def _runs_at(self, step: int) -> bool:
        """Whether measures that run the model are due at this step."""
        if self._batch_every is not None:
            return step % self._batch_every == 0
        multiple, rest = divmod(step, self._every)
        return not rest and str(multiple).rstrip("0") in LEADING

    def _view(self, step: int) -> View:
        view = View(self._scene, step, first=not self._rows, settings=self._settings())
        if self._start is not None and view.first:
            view.take_over(self._start)
        self._start = None
        return view

    def _settings(self) -> Settings | None:
        if self._optimizer is None:
            return None
        scene = self._scene
        return settings_of(self._optimizer, scene.trained, scene.layers.values())

    def _numbers(self) -> dict[str, float]:
        """Return what was logged and waits for a look."""
        found = {}
        for name, value in self._pending.items():
            try:
                found[name] = float(value)
            except (TypeError, ValueError, RuntimeError):
                self._warn(name, f"no number was logged but {type(value).__name__}")
        return found

    def _warn(self, about: str, note: str) -> None:
        """Keep a note and warn of it, once."""
        if any(known.startswith(f"{about}: ") for known in self._notes):
            return
        self._notes.append(f"{about}: {note}")
        with contextlib.suppress(Warning):  # a user may have made errors of warnings
            warnings.warn(f"layerwise.Probe: {about}: {note}", RuntimeWarning, stacklevel=4)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
