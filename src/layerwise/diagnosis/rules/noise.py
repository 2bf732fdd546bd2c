"""Fits noise: what is learned late is true of the training data alone."""

from __future__ import annotations

from typing import Final

import numpy as np

from layerwise.diagnosis.advice import stopped
from layerwise.diagnosis.evidence import config, curve, need
from layerwise.diagnosis.finding import Finding, NotJudged, Premise, counted
from layerwise.trace import Trace

__all__ = ["fits_noise"]

# Share of its best test accuracy that a run has lost at its end. Small images, 30 to 40 % of the
# training labels wrong: .17 to .43; all labels right, lazy or rich: up to .085.
FELL: Final = 0.12
LEAST: Final = 0.05  # of the test accuracy that is lost: some hundred test samples tell so much
ROSE: Final = 0.05  # of the train accuracy meanwhile: the run went on to fit, and did not diverge
BELOW: Final = 0.1  # train accuracy below that of the test, at its best: training labels are worse
NEARLY: Final = 0.9  # train accuracy: there was little left to fit when the test was best


def fits_noise(trace: Trace) -> Finding | None:
    """Find a run that had generalised, and has unlearned it to fit the rest of its data.

    Modes that all data share are strong and learned first; what is in single samples, as wrong
    labels are, comes last. With a share p of labels drawn anew out of C classes, a network that has
    learned the truth alone has the accuracy of the test times ``1 - p (C - 1)/C`` on its training
    data: of that p is read off where the test was best.
    """
    need(trace, "train_accuracy", "test_accuracy")
    steps, test = curve(trace, "test_accuracy")
    if len(steps) < 2:
        raise NotJudged("needs test_accuracy at two looks or more")
    train = np.interp(steps, *curve(trace, "train_accuracy"))  # they may be known at other looks
    best = int(np.argmax(test))
    peak, end, before, after = (float(x) for x in (test[best], test[-1], train[best], train[-1]))
    if end > peak - max(FELL * peak, LEAST) or after - before < ROSE:
        return None
    evidence = {
        "best_test_accuracy": peak,
        "best_step": float(steps[best]),
        "test_accuracy": end,
        "train_accuracy_then": before,
        "train_accuracy": after,
    }
    classes = config(trace, "classes")
    worse = before <= (1 - BELOW) * peak
    if worse and classes:
        evidence["wrong_labels"] = min((1 - before / peak) * classes / (classes - 1), 1.0)
    return Finding(
        "fits noise",
        "warning",
        f"The test accuracy has come down to {end:.2f} from {peak:.2f} at step "
        f"{counted(steps[best])}, while the train accuracy rose from {before:.2f} to {after:.2f}: "
        "what was learned since is true of these data alone. Look for wrong labels, or stop there.",
        evidence,
        (
            Premise(
                "the training labels are worse than those of the test",
                True if worse else False if before >= NEARLY else None,
                f"train accuracy {before:.2f} where the test was best, at {peak:.2f}",
            ),
        ),
        (stopped(float(steps[best]), peak),),
    )
