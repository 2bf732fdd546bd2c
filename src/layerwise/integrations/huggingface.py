"""A probe as a callback of the Trainer of Hugging Face."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from layerwise.integrations.hosts import missing

try:
    import accelerate  # noqa: F401 (the Trainer needs it, and says so only when it is built)
    import torch
    from transformers import TrainerCallback
except ModuleNotFoundError as error:
    raise missing(error, "huggingface", "transformers", "accelerate") from None

from layerwise.files import write_file
from layerwise.integrations.attached import Attached
from layerwise.probe import Probe
from layerwise.trace import Trace

__all__ = ["ProbeCallback"]

FILE = "layerwise_probe.pt"


class ProbeCallback(TrainerCallback):
    """Probes a training, logs by the Trainer what it measures, and goes on after a resume.

    The clock counts updates of the weights, as ``state.global_step`` does, and 0 is the start. Of
    what the Trainer logs the losses and accuracies reach the trace under the names that
    `layerwise.diagnose` knows: ``loss`` as ``train_loss`` (the mean over ``logging_steps``),
    ``eval_loss`` as ``test_loss``, ``eval_accuracy`` of ``compute_metrics`` as ``test_accuracy``.
    Of several processes the first probes.

    Parameters
    ----------
    batch
        Inputs of the model by keyword as a data collator makes them, with ``labels`` if there are
        any. They are moved to the device of the model. Labels of classes (N,) are needed for the
        measures of collapse; a language model is probed without labels, or with a ``forward`` that
        picks outputs (N, C) to fit them.
    log
        What takes the measured numbers, a flat dictionary of floats: ``trainer.log`` for the
        Trainer's own loggers. Without it they are in the trace only.
    names
        Further names of logged numbers -> in the trace: ``{"eval_f1": "test_accuracy"}``.
    settings
        All others of `layerwise.Probe`: ``features``, ``every``, ``measures``, ``forward``, ...;
        the optimiser is the Trainer's.

    Raises
    ------
    TypeError
        At once, if there is no such setting.
    TypeError, ValueError
        Before the first step, if the probe does not fit the model or the checkpoint that is
        resumed, as `layerwise.Probe` says. Nothing is raised after it.

    Warns
    -----
    RuntimeWarning
        If a training is resumed whose checkpoint holds no state of a probe.

    Notes
    -----
    The state is kept as ``layerwise_probe.pt`` in the folder of each checkpoint, the weights of
    the start included. It is found in ``output_dir`` and ``args.resume_from_checkpoint``.

    Examples
    --------
    >>> import torch
    >>> from tempfile import TemporaryDirectory
    >>> from transformers import Trainer, TrainingArguments
    >>> class Net(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.classifier = torch.nn.Linear(2, 2)
    ...     def forward(self, x, labels=None):
    ...         logits = self.classifier(x)
    ...         if labels is None:
    ...             return {"logits": logits}
    ...         loss = torch.nn.functional.cross_entropy(logits, labels)
    ...         return {"loss": loss, "logits": logits}
    >>> data = [{"x": torch.eye(2)[i % 2], "labels": i % 2} for i in range(8)]
    >>> batch = {"x": torch.eye(2), "labels": torch.arange(2)}
    >>> with TemporaryDirectory() as folder:
    ...     settings = TrainingArguments(
    ...         folder, max_steps=5, use_cpu=True, report_to="none", disable_tqdm=True
    ...     )
    ...     trainer = Trainer(Net(), settings, train_dataset=data)
    ...     probe = ProbeCallback(batch, log=trainer.log, every=2)
    ...     trainer.add_callback(probe)
    ...     _ = trainer.train()  # the Trainer prints what it logs
    {'layerwise/...
    >>> trace = probe.trace()
    >>> trace.clock, "layerwise/nc1/penultimate" in trace
    (array([0, 2, 4, 5]), True)
    """

    def __init__(
        self,
        batch: Mapping[str, Any] | None = None,
        *,
        log: Callable[[dict[str, float]], Any] | None = None,
        names: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        if batch is not None and not isinstance(batch, Mapping):
            raise TypeError(
                "the batch must be a mapping of the model's inputs by keyword, with labels if "
                f"there are any, got {type(batch).__name__}"
            )
        self._batch: Any = batch
        if batch is not None and "labels" in batch:
            inputs = {name: value for name, value in batch.items() if name != "labels"}
            self._batch = inputs, batch["labels"]
        self._log = log
        self._attached = Attached(names, settings)

    @property
    def probe(self) -> Probe | None:
        """The probe of the last training; None before it, and in all processes but the first."""
        return self._attached.probe

    def trace(self) -> Trace:
        """Return what was measured, or raise a `layerwise.TraceError` if nothing was."""
        return self._attached.trace()

    def on_train_begin(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: Any = None,
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        """Attach the probe, now that weights, optimiser and step are restored."""
        if state.is_world_process_zero:
            self._attached.load_state_dict(_saved(args, state) if state.global_step else {})
            optimizer = getattr(optimizer, "optimizer", optimizer)  # inside accelerate's wrapper
            self._attached.begin(model, optimizer, self._batch)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at the weights after the step before."""
        self._look(state)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Take what was logged; look once more when the Trainer sums the training up."""
        logs = logs or {}
        if "train_runtime" in logs:  # on_train_end may see the best weights instead of the last
            self._look(state, end=True)
        else:
            self._attached.log(logs)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the state beside that of the Trainer."""
        folder = _folder(args, state)
        if self.probe is not None and folder.is_dir():
            file = io.BytesIO()
            torch.save(self._attached.state_dict() | {"history": _history(state)}, file)
            write_file(folder / FILE, file.getvalue())

    def _look(self, state: Any, end: bool = False) -> None:
        found = self._attached.step(state.global_step, end=end)
        if found and self._log is not None:
            self._log(found)


def _folder(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def _history(state: Any) -> str:
    """Return what tells a checkpoint from that of another run at the same step."""
    return json.dumps(state.log_history, sort_keys=True)


def _saved(args: Any, state: Any) -> Mapping[str, Any]:
    """Return the state in the checkpoint from which the Trainer goes on, or warn."""
    folders = _folder(args, state), Path(str(args.resume_from_checkpoint))
    for file in (folder / FILE for folder in folders):
        if file.is_file():
            saved = torch.load(file, map_location="cpu", weights_only=True)
            if saved["history"] == _history(state):
                return saved
    warnings.warn(
        f"layerwise.ProbeCallback: no state of a probe in {folders[0]}: what it compares with the "
        f"start it compares with step {state.global_step}",
        RuntimeWarning,
        stacklevel=2,
    )
    return {}
