"""The groups of measures, and which of them a model and its batch have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from layerwise.names import nearest
from layerwise.networks import Conserved, conserved_quantities
from layerwise.probe.features import Classes, Collapse, Features, headed
from layerwise.probe.kernel import Kernel, Scale
from layerwise.probe.measure import Measure, NotApplicable, View
from layerwise.probe.scene import Scene
from layerwise.probe.weights import Balance, Decay, Motion, Norms

__all__ = ["GROUPS", "measures_of", "need_groups"]

GROUPS: Final = (
    "optimizer", "norms", "motion", "balance", "scale", "features", "collapse", "classes", "kernel",
)  # fmt: skip
CLASSES: Final = 100  # of which accuracies are kept, at most

Pairs = Sequence[Conserved | tuple[str, str, str]]


def need_groups(groups: Sequence[str]) -> None:
    """Raise for a group that there is not."""
    for group in groups:
        if group not in GROUPS:
            raise ValueError(nearest(group, GROUPS, kind="group of measures"))


def measures_of(
    group: str, view: View, pairs: Pairs | None, note: Callable[[str], None]
) -> list[Measure]:
    """Return the measures of a group, or raise NotApplicable; `note` is told what is left out."""
    scene = view.scene
    if group in ("scale", "features", "collapse", "kernel") and scene.subject is None:
        raise NotApplicable("pass batch= to look at the model with")
    if group in ("scale", "collapse") and scene.targets is None:
        raise NotApplicable(f"pass batch=(x, y) with the targets{scene.subject.hint}")
    if group == "collapse" and scene.labels is None:
        raise NotApplicable("the targets are no labels of classes")
    if group == "classes":
        return [Classes(_classes(scene, note))]
    if group == "optimizer":
        return [Decay()]
    if group == "norms":
        return [Norms()]
    if group == "motion":
        return [Motion()]
    if group == "balance":
        return _balance(view, pairs)
    if group == "scale":
        return [Scale()]
    if group == "features":
        return [Features()]
    if group == "kernel":
        return [Kernel()]
    try:
        return [Collapse(headed(view.seen, scene.labels))]
    except NotApplicable as error:
        note(f"NC2 to NC4: {error}")
        return [Collapse(())]


def _classes(scene: Scene, note: Callable[[str], None]) -> tuple[int, ...]:
    """Return the classes whose accuracies are kept: of many some of every size."""
    if scene.counts is None:
        raise NotApplicable("pass class_counts= with the number of training samples of each class")
    found = sorted(scene.labels.long().unique().tolist(), key=scene.counts.__getitem__)
    missing = sorted(set(range(len(scene.counts))).difference(found))
    if missing:
        some = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        note(
            f"class accuracies: the batch has no sample of {len(missing)} of the "
            f"{len(scene.counts)} classes ({some})"
        )
    if len(found) > CLASSES:
        note(
            f"class accuracies: of {len(found)} classes {CLASSES} are kept, evenly spaced in the "
            "order of their counts"
        )
        last = len(found) - 1
        found = [found[round(k * last / (CLASSES - 1))] for k in range(CLASSES)]
    return tuple(sorted(found))


def _balance(view: View, pairs: Pairs | None) -> list[Measure]:
    try:
        items = conserved_quantities(view.scene.model, pairs)
    except TypeError as error:
        raise NotApplicable(f"{error}, by pairs=") from None
    if not items:
        raise NotApplicable("no change of the units passes from one trained layer to the next")
    return [Balance(items)]
