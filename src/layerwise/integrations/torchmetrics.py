"""Neural collapse as a metric of TorchMetrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from layerwise.integrations.hosts import missing

try:
    import torch
    from torch import Tensor, nn
    from torchmetrics import Metric
    from torchmetrics.utilities import dim_zero_cat
except ModuleNotFoundError as error:
    raise missing(error, "torchmetrics", "torchmetrics") from None

from layerwise.measures import neural_collapse
from layerwise.measures.arrays import need
from layerwise.measures.collapse.classes import classes_of

__all__ = ["NeuralCollapse"]

NAMES = ("nc1", "nc2_norm", "nc2_angle", "nc3", "nc4")


class NeuralCollapse(Metric):
    """NC1 to NC4 of features under a classifier, over any number of batches and processes.

    What `layerwise.measures.neural_collapse` returns for all samples at once: ``nc1``, the two
    parts of NC2 ``nc2_norm`` (spread of the lengths of the class means) and ``nc2_angle`` (mean
    distance of their cosines from ``-1/(C-1)``), ``nc3`` and ``nc4``. All tend to 0 in collapse.

    Parameters
    ----------
    head
        The classifier, of d inputs and C outputs, as it is when the metric is computed. It does
        not become a part of the metric, and a copy of the metric reads the same head.
    settings
        Of ``torchmetrics.Metric``, as ``compute_on_cpu=True``.

    Raises
    ------
    TypeError, ValueError
        If the head is no linear layer of two outputs or more.

    Notes
    -----
    NC4 asks of each sample which of the final class means is the nearest, so that the features
    are kept, N d numbers in the precision of the head on the device of the metric, and gathered
    over processes. `layerwise.measures.ClassMoments` gives NC1 without keeping them.

    All values are NaN as long as a class has no sample, as ``forward`` returns for a small batch.

    References
    ----------
    Papyan, Han and Donoho 2020 (arXiv 2008.08186).

    Examples
    --------
    >>> head = nn.Linear(3, 3, bias=False)
    >>> _ = nn.init.eye_(head.weight)
    >>> metric = NeuralCollapse(head)
    >>> for c in range(3):
    ...     metric.update(torch.eye(3)[[c, c]], torch.tensor([c, c]))
    >>> found = metric.compute()
    >>> {name: round(value.item(), 3) for name, value in found.items()}
    {'nc1': 0.0, 'nc2_norm': 0.0, 'nc2_angle': 0.0, 'nc3': 0.367, 'nc4': 0.0}
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    features: list[Tensor]
    labels: list[Tensor]

    def __init__(self, head: nn.Linear, **settings: Any) -> None:
        super().__init__(**settings)
        if not isinstance(head, nn.Linear):
            raise TypeError(f"the head must be a torch.nn.Linear, got {type(head).__name__}")
        classes = head.out_features
        need(classes >= 2, f"neural collapse needs at least two classes, the head has {classes}")
        self._shared = _Shared(head)
        self.add_state("features", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Add samples: features (n, d), the inputs of the head, and labels (n,) in 0 ... C-1.

        Raises
        ------
        TypeError, ValueError
            If shapes, or labels and the head do not fit. Such a batch is not added.
        """
        head = self._shared.head
        classes_of(features, labels, head.out_features)
        need(
            features.shape[1] == head.in_features,
            f"features (n, d) must have the {head.in_features} inputs of the head, got "
            f"{tuple(features.shape)}",
        )
        self._add(features, labels)

    def compute(self) -> dict[str, Tensor]:
        """Return the measures by name, in float64.

        Raises
        ------
        RuntimeError
            If there are no samples yet.
        ValueError
            If a feature or a weight is not finite.
        """
        if len(self.labels) == 0:
            raise RuntimeError("NeuralCollapse.compute before any update: there are no samples yet")
        features, labels = dim_zero_cat(self.features), dim_zero_cat(self.labels).long()
        head = self._shared.head
        values = dict.fromkeys(NAMES, math.nan)
        if len(labels.unique()) == head.out_features:
            weight = head.weight.to(features.device)
            bias = None if head.bias is None else head.bias.to(features.device)
            found = neural_collapse(features, labels, weight, bias)
            second = found.nc2
            numbers = found.nc1, second.equinorm, second.angle, found.nc3, found.nc4
            values = dict(zip(NAMES, map(float, numbers), strict=True))
        return {
            name: torch.tensor(value, dtype=torch.float64, device=features.device)
            for name, value in values.items()
        }

    def _add(self, features: Tensor, labels: Tensor) -> None:
        # one dtype in all processes, also in one that sees no sample
        kept = features.detach().to(self.device, self._shared.head.weight.dtype)
        self.features.append(kept)
        self.labels.append(labels.to(self.device, torch.int64))

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        if not self.labels:  # what the host would send for no samples has other axes than samples
            none = torch.empty(0, self._shared.head.in_features)
            self._add(none, none[:, 0])
        super()._sync_dist(*args, **kwargs)


@dataclass(frozen=True, eq=False)
class _Shared:
    """The classifier, hidden from torch: the metric does not own it."""

    head: nn.Linear

    def __deepcopy__(self, memo: Mapping[int, Any]) -> _Shared:
        return _Shared(memo.get(id(self.head), self.head))  # its copy, if all was copied
