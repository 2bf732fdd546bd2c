"""A probe as a callback of PyTorch Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from layerwise.integrations.hosts import missing

try:
    try:
        from pytorch_lightning import Callback
    except ModuleNotFoundError as error:
        if error.name != "pytorch_lightning":
            raise
        from lightning.pytorch import Callback  # the same, in the merged package
    from layerwise.integrations.attached import Attached
except ModuleNotFoundError as error:
    raise missing(error, "lightning", "pytorch_lightning", "lightning") from None

from layerwise.probe import Probe
from layerwise.trace import Trace

__all__ = ["ProbeCallback"]


class ProbeCallback(Callback):
    """Probes a fit, logs what it measures to the trainer's loggers, and goes on after a resume.

    The clock counts updates of the weights, as ``trainer.global_step`` does: accumulated batches
    count once, and 0 is the start. Of what the module logs by ``self.log``, the losses and
    accuracies of training and validation reach the trace, under ``train_loss``, ``test_accuracy``
    and so on, each once, at the first look after it was logged. Of several processes the first
    probes.

    Parameters
    ----------
    batch
        As for `layerwise.Probe`: inputs x of the module's ``forward``, or ``(x, y)``; it is moved
        to the device of the module.
    names
        Further names of logged numbers -> in the trace: ``{"val_top1": "test_accuracy"}``. Names
        such as ``val_acc`` and ``valid/loss`` are known.
    settings
        All others of `layerwise.Probe`: ``features``, ``every``, ``measures``, ``forward``, ...;
        the optimiser is the trainer's, if it has one and not several.

    Raises
    ------
    TypeError
        At once, if there is no such setting.
    TypeError, ValueError
        Before the first step, if the probe does not fit the module or the checkpoint that is
        resumed, as `layerwise.Probe` says. Nothing is raised after it.

    Notes
    -----
    The state is kept in the checkpoint, the weights of the start included.

    Examples
    --------
    >>> import torch
    >>> from pytorch_lightning import LightningModule, Trainer
    >>> class Net(LightningModule):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.head = torch.nn.Linear(2, 2)
    ...     def forward(self, x):
    ...         return self.head(x)
    ...     def training_step(self, batch):
    ...         loss = torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
    ...         self.log("train_loss", loss)
    ...         return loss
    ...     def configure_optimizers(self):
    ...         return torch.optim.SGD(self.parameters(), lr=0.1)
    >>> x, y = torch.eye(2), torch.arange(2)
    >>> probe = ProbeCallback((x, y), every=2)
    >>> quiet = dict(logger=False, enable_checkpointing=False, enable_model_summary=False)
    >>> trainer = Trainer(
    ...     max_steps=5, accelerator="cpu", callbacks=[probe], enable_progress_bar=False, **quiet
    ... )
    >>> trainer.fit(Net(), torch.utils.data.TensorDataset(x[None], y[None]))  # one batch
    >>> trace = probe.trace()
    >>> trace.clock, "layerwise/nc1/penultimate" in trace, "train_loss" in trace
    (array([0, 2, 4, 5]), True, True)
    """

    def __init__(
        self, batch: Any = None, *, names: Mapping[str, str] | None = None, **settings: Any
    ) -> None:
        self._batch = batch
        self._attached = Attached(names, settings)
        self._seen: dict[str, Any] = {}

    @property
    def probe(self) -> Probe | None:
        """The probe of the last fit; None before it, and in all processes but the first."""
        return self._attached.probe

    def trace(self) -> Trace:
        """Return what was measured, or raise a `layerwise.TraceError` if nothing was."""
        return self._attached.trace()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Attach the probe, now that weights, optimiser and step are restored."""
        self._seen = {}
        if trainer.is_global_zero:
            batch = trainer.precision_plugin.convert_input(self._batch)
            optimizers = trainer.optimizers
            self._attached.begin(pl_module, optimizers[0] if len(optimizers) == 1 else None, batch)

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look, unless the weights are those that were looked at."""
        self._look(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Look once more, at everything."""
        self._look(trainer, end=True)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Keep also what was logged since the last look."""
        self._hear(trainer)
        checkpoint["callbacks"][self.state_key] = self.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the probe."""
        return self._attached.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state at the next fit."""
        self._attached.load_state_dict(state_dict)

    def _look(self, trainer: Any, end: bool = False) -> None:
        self._hear(trainer)
        found = self._attached.step(trainer.global_step, end=end)
        if found:
            for logger in trainer.loggers:
                logger.log_metrics(found, step=trainer.global_step)

    def _hear(self, trainer: Any) -> None:
        """Take what was logged since; all processes ask, as an answer may need all of them."""
        logged = dict(trainer.callback_metrics)
        self._attached.log({n: v for n, v in logged.items() if v is not self._seen.get(n)})
        self._seen = logged
