"""What a probe looks at: a model and a batch, run without a trace in either."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from layerwise.names import nearest
from layerwise.networks.kernels.survey import Survey, survey

__all__ = ["Forward", "Subject", "undisturbed", "unwrapped"]

Forward = Callable[[nn.Module, Any], Any]

LABELS = "labels"  # as data collators call them
HEAD_ERROR = 1e-3  # of the outputs: what a head and a factor may leave unexplained


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the user's own module inside of compiled and data-parallel wrappers."""
    parallel = nn.DataParallel, nn.parallel.DistributedDataParallel
    while True:
        if "_orig_mod" in model._modules:  # torch.compile
            model = model._modules["_orig_mod"]
        elif isinstance(model, parallel):
            model = model.module
        else:
            return model


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluate inside, in full precision, eagerly, drawing from a copy of the random numbers."""
    tensors = [*model.parameters(), *model.buffers()]
    kinds = {t.device.type for t in tensors}
    cards = sorted({t.device.index for t in tensors if t.is_cuda})
    training = [module for module in model.modules() if module.training]
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(cards))
        for kind in kinds - {"meta"}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        if "torch._dynamo" in sys.modules:  # another batch would make it compile again
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            for module in training:  # not eval(), which a user may have made do more
                module.training = False
            yield
        finally:
            for module in training:
                module.training = True


class Subject(nn.Module):
    """The model on the samples of a batch, which are called by their numbers.

    Samples by number make a tensor of any batch, keyword inputs included, and so a function of one
    tensor of the model, which is all that a tangent kernel asks for.

    Parameters
    ----------
    model
        The user's own module.
    inputs
        A tensor (N, ...), or a mapping of tensors (N, ...) to be passed by keyword.
    forward
        How to run the model on inputs.
    """

    def __init__(self, model: nn.Module, inputs: Any, forward: Forward | None = None) -> None:
        super().__init__()
        self.training = False
        self.model = model
        self._forward = forward or _called
        self._known: tuple[list[nn.Parameter], Survey] | None = None
        parts = [v for v in _parts(inputs) if isinstance(v, Tensor) and v.ndim]
        if not parts or len(parts[0]) == 0:
            raise ValueError(
                "the batch must be a tensor (N, ...) or a mapping of them, not empty, got "
                f"{type(inputs).__name__}"
            )
        self.samples, self.device = len(parts[0]), parts[0].device
        if isinstance(inputs, Tensor):  # copies: what is kept must not change with a loader's store
            self._inputs: Any = inputs.detach().clone()
        else:
            self._inputs = {
                name: value.detach().clone() if isinstance(value, Tensor) else value
                for name, value in inputs.items()
            }

    def forward(self, index: Tensor) -> Tensor:
        """Map numbers of samples (n,) to outputs (n, ...)."""
        if isinstance(self._inputs, Tensor):
            chosen = self._inputs[index]
        else:
            chosen = {name: self._chosen(value, index) for name, value in self._inputs.items()}
        return _tensor_of(self._forward(self.model, chosen))

    def _chosen(self, value: Any, index: Tensor) -> Any:
        own = isinstance(value, Tensor) and value.ndim and len(value) == self.samples
        return value[index] if own else value

    def index(self, most: int | None = None) -> Tensor:
        """Return the numbers of all samples, or of `most` of them, evenly spaced."""
        if most is None or most >= self.samples:
            return torch.arange(self.samples, device=self.device)
        return torch.linspace(0, self.samples - 1, most).round().long().to(self.device)

    @cached_property
    def parameters_of(self) -> dict[str, nn.Parameter]:
        """The model's parameters by name, each once."""
        return dict(self.model.named_parameters())

    def surveyed(self, index: Tensor) -> Survey:
        """Return what samples say before a kernel, kept while the same parameters are trained."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        known, found = self._known or ([], None)
        same = len(known) == len(trained) and all(map(operator.is_, known, trained))
        if found is None or not same:
            found = survey(self, index)
            self._known = trained, found
        return found

    def run(self, index: Tensor, factor: float | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the outputs and the parameters they were made of, times a factor if any.

        The parameters are aliases that require gradients where the user's do: no hook of the
        user's own on a parameter fires, and no buffer changes.
        """
        own = {}
        for name, p in self.parameters_of.items():
            alias = p.detach() if factor is None else factor * p.detach()
            own[name] = alias.requires_grad_(p.requires_grad)
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        named = {f"model.{name}": tensor for name, tensor in (own | buffers).items()}
        return functional_call(self, named, (index,)), own

    def capture(
        self, outputs_of: Sequence[str], inputs_of: Sequence[str]
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Run the whole batch; return outputs, and what left and what entered modules, by name."""
        left: dict[str, Any] = {}
        entered: dict[str, Any] = {}
        handles = [
            self.model.get_submodule(name).register_forward_hook(
                lambda module, args, result, name=name: left.__setitem__(name, result)
            )
            for name in outputs_of
        ] + [
            self.model.get_submodule(name).register_forward_pre_hook(
                lambda module, args, named, name=name: entered.__setitem__(
                    name, next(iter((*args, *named.values())))
                ),
                with_kwargs=True,
            )
            for name in inputs_of
        ]
        try:
            outputs, _ = self.run(self.index())
        finally:
            for handle in handles:
                handle.remove()
        return outputs, left, entered

    @property
    def hint(self) -> str:
        """What to do where the inputs hold the labels that belong beside them, if they do."""
        if isinstance(self._inputs, Tensor) or LABELS not in self._inputs:
            return ""
        return f"; the mapping of inputs holds {LABELS!r}: take them out, batch=(inputs, labels)"

    def need_modules(self, names: Sequence[str], others: Collection[str] = ()) -> None:
        """Raise for a name of no module of the model, nor one of the others."""
        known = {name for name, _ in self.model.named_modules(remove_duplicate=False) if name}
        known.update(others)
        for name in names:
            if name not in known:
                raise ValueError(nearest(name, known, kind="module"))

    def head(self, outputs: torch.Size) -> str | None:
        """Return the name of the linear layer that makes the outputs, up to a positive factor."""
        if len(outputs) != 2:
            return None
        linear = [
            name
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Linear) and module.out_features == outputs[1]
        ]
        made, left, entered = self.capture(linear, linear)
        y = made.double()
        for name in reversed(linear):
            if name not in left or left[name].shape != outputs or entered[name].ndim != 2:
                continue
            z = left[name].double()
            size = (z * z).sum()
            factor = (z * y).sum() / size if size else torch.ones_like(size)
            if factor > 0 and (y - factor * z).norm() <= HEAD_ERROR * y.norm():
                return name
        return None


def _called(model: nn.Module, inputs: Any) -> Any:
    return model(inputs) if isinstance(inputs, Tensor) else model(**inputs)


def _parts(inputs: Any) -> list[Any]:
    return list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]


def _tensor_of(result: Any) -> Tensor:
    """Return the outputs: the result, its ``logits``, or the first of several."""
    if isinstance(result, Mapping) and "logits" in result:
        result = result["logits"]
    result = getattr(result, "logits", result)
    if isinstance(result, tuple | list) and result:
        result = result[0]
    if not isinstance(result, Tensor):
        raise TypeError(
            f"the model returned {type(result).__name__}, not a tensor or something with logits; "
            "pass forward=lambda model, x: ... that returns the outputs"
        )
    return result
