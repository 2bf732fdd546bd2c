"""Rules: for each a trace that it must tell, one that it must not, one against its premises."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import layerwise as lw
from layerwise.diagnosis.evidence import still
from layerwise.diagnosis.finding import NotJudged, counted
from layerwise.diagnosis.rules import RULES
from layerwise.diagnosis.rules.balance import (
    broken_conservation,
    exploding_imbalance,
    idle_layer,
    lazy_by_imbalance,
)
from layerwise.diagnosis.rules.collapse import (
    minority_below_the_threshold,
    not_yet_collapsed,
    rank_collapsed_too_early,
)
from layerwise.diagnosis.rules.diverged import diverged
from layerwise.diagnosis.rules.grokking import decay_too_weak, memorised_and_waiting
from layerwise.diagnosis.rules.noise import fits_noise
from layerwise.diagnosis.rules.scale import lazy_by_scale
from layerwise.diagnosis.rules.stages import learning_in_stages
from layerwise.trace import Provenance, Trace

from .traces import ADAMW, SGD, made

LAYERS = {"fc1": [20, 5], "fc2": [10, 20]}
PAIR = {"fc1-fc2": {"rule": "diagonal", "writers": ["fc1"], "readers": ["fc2"]}}
LAZY = {
    "weight_to_target": [30.0, math.nan],
    "gamma_plus": [1.03, math.nan],
    "feature_distance/h": [0.0, 0.001],
    "motion/fc1": [0.0, 0.01],
    "motion/fc2": [0.0, 0.02],
    "balance_share/fc1-fc2": 0.1,
    "train_accuracy": [0.1, 1.0],
}
DOWNSTREAM = {
    "balance_share/fc1-fc2": [-0.98, -0.98],
    "balance_drift/fc1-fc2": [0.0, 1e-4],
    "motion/fc1": [0.0, 1e-3],
    "motion/fc2": [0.0, 0.8],
    "feature_distance/h": [0.0, 1e-3],
    "train_accuracy": [0.1, 1.0],
}
IDLE = {"motion/fc1": [0.0, 0.0], "motion/fc2": [0.0, 0.3], "motion/fc3": [0.0, 0.2]}
RUNAWAY = {
    "motion/fc1": [0.0, 4.0],
    "motion/fc2": [0.0, 90.0],
    "balance_drift/fc1-fc2": [0.0, 40.0],
    "balance_share/fc1-fc2": [0.0, 0.99],
}
LOST_WEIGHTS = {"norm/fc1": [1.0, 2.0, math.nan], "norm/fc2": [1.0, 1.0, 1.0]}
BROKEN = {"balance_drift/fc1-fc2": [0.0, 0.3], "balance_allowed/fc1-fc2": [0.0, 1e-3]}
GROK = {
    "weight_to_target": [100.0, math.nan, math.nan],
    "gamma_plus": [1.01, math.nan, math.nan],
    "train_accuracy": [0.1, 0.9, 1.0],
    "test_accuracy": [0.1, 0.25, 0.3],
    "learning_rate": 1e-3,
    "weight_decay": 0.3,
    "decay_budget": [0.0, 0.03, 0.06],
}
FLAT = {
    "rank/h": [8.0, 6.0, 2.0],
    "train_accuracy": [0.1, 0.3, 0.3],
    "weight_decay": 0.1,
    "decay_budget": [0.0, 1.0, 2.0],
}
SPREAD = {
    "nc1/h": [3.0, 0.4],
    "nc3/h": [2.0, 0.3],
    "train_accuracy": [0.1, 1.0],
    "weight_decay": 5e-3,
    "decay_budget": [0.0, 0.5],
}
NOISY = {
    "train_accuracy": [0.1, 0.5, 0.6, 0.8, 1.0],
    "test_accuracy": [0.1, 0.7, 0.8, 0.7, 0.6],
}
LOST = {
    "class_count/a": 400.0,
    "class_count/b": 100.0,
    "class_count/c": 4.0,
    "class_accuracy/a": [0.0, 0.6, 1.0, 1.0, 1.0],
    "class_accuracy/b": [0.0, 0.2, 0.9, 1.0, 1.0],
    "class_accuracy/c": 0.0,
    "weight_decay": 0.01,
}
CLOCK = [0, 100, 200, 1000, 4000]


def logistic(t, half, rate):
    return 1 / (1 + np.exp(-rate * (t - half)))


T = np.arange(0, 2001, 20)
STAGED = {
    "skill/one": logistic(T, 500, 0.02),
    "skill/two": logistic(T, 2300, 0.008),
    "skill/three": 0.0 * T,
}

# rule, a trace that triggers it, settings of the run, its severity
TRIGGERS = {
    lazy_by_scale: (LAZY, {"layers": LAYERS, "degree": 2.0, "conserved": PAIR}, "warning"),
    lazy_by_imbalance: (DOWNSTREAM, {"optimizer": SGD, "conserved": PAIR}, "warning"),
    diverged: (LOST_WEIGHTS, {"notes": []}, "fault"),
    exploding_imbalance: (RUNAWAY, {"optimizer": SGD}, "fault"),
    idle_layer: (IDLE, {"optimizer": SGD}, "fault"),
    broken_conservation: (BROKEN, {"optimizer": SGD}, "fault"),
    memorised_and_waiting: (
        GROK,
        {"optimizer": ADAMW, "classes": 10, "layers": LAYERS, "degree": 1.3},
        "warning",
    ),
    decay_too_weak: (
        GROK | {"weight_decay": 0.0, "decay_budget": 0.0},
        {"optimizer": ADAMW, "classes": 10, "layers": LAYERS},
        "warning",
    ),
    rank_collapsed_too_early: (FLAT, {"classes": 10, "samples": 200, "optimizer": SGD}, "warning"),
    not_yet_collapsed: (SPREAD, {"optimizer": SGD}, "note"),
    fits_noise: (NOISY, {"classes": 10}, "warning"),
    minority_below_the_threshold: (LOST, {"clock": CLOCK, "optimizer": SGD}, "warning"),
    learning_in_stages: (STAGED, {"layers": LAYERS, "degree": 2.0, "clock": T}, "note"),
}

# rule, what makes of it a trace that it must not tell
QUIET = [
    (diverged, {"norm/fc1": [1.0, math.nan, 2.0]}),  # one look without it
    (exploding_imbalance, {"balance_drift/fc1-fc2": [0.0, 9.0]}),
    (lazy_by_scale, {"weight_to_target": [2.9, math.nan]}),
    (lazy_by_scale, {"feature_distance/h": [0.0, 0.1]}),
    (lazy_by_scale, DOWNSTREAM),  # that is lazy by imbalance
    (lazy_by_imbalance, {"motion/fc1": [0.0, 0.2]}),
    (lazy_by_imbalance, {"feature_distance/h": [0.0, 0.1]}),
    (lazy_by_imbalance, {"balance_share/fc1-fc2": [-0.5, -0.5]}),
    (lazy_by_imbalance, {"balance_share/fc1-fc2": [0.98, 0.98]}),  # the larger one moves
    (idle_layer, {"motion/fc1": [0.0, 1e-4]}),
    (idle_layer, {"norm/fc1": [2.0, 1.9]}),  # it turned by chance as far as decay would
    (idle_layer, {"motion/fc2": [0.0, 0.0], "motion/fc3": [0.0, 0.0]}),  # nothing was trained yet
    (broken_conservation, {"balance_drift/fc1-fc2": [0.0, 0.019]}),
    (broken_conservation, {"balance_allowed/fc1-fc2": [0.0, 0.03]}),
    (memorised_and_waiting, {"test_accuracy": [0.1, 0.6, 0.75]}),
    (memorised_and_waiting, {"train_accuracy": [0.1, 0.7, 0.75]}),
    (memorised_and_waiting, {"test_accuracy": [0.1, 0.5, 0.3]}),  # that is noise
    (memorised_and_waiting, {"weight_decay": 1e-3}),  # that is a decay too weak
    (decay_too_weak, {"weight_decay": 0.3, "decay_budget": [0.0, 0.03, 0.06]}),
    (decay_too_weak, {"test_accuracy": [0.1, 0.6, 0.9]}),
    (decay_too_weak, {"test_accuracy": [0.1, 0.5, 0.3]}),
    (fits_noise, {"test_accuracy": [0.1, 0.7, 0.8, 0.75, 0.71]}),
    (fits_noise, {"train_accuracy": [0.1, 0.5, 0.6, 0.5, 0.3]}),  # it diverges
    (fits_noise, {"test_accuracy": [0.1, 0.7, 0.8, 0.75, math.nan]}),  # the fall is not seen yet
    (rank_collapsed_too_early, {"rank/h": [8.0, 6.0, 5.0]}),
    (rank_collapsed_too_early, {"rank/h": [1.0, 1.5, 2.0]}),  # it grows
    (rank_collapsed_too_early, {"train_accuracy": [0.1, 0.5, 0.95]}),
    (not_yet_collapsed, {"nc1/h": [3.0, 0.01], "nc3/h": [2.0, 0.02]}),
    (not_yet_collapsed, {"train_accuracy": [0.1, 0.8]}),
    (minority_below_the_threshold, {"class_accuracy/c": [0.0, 0.0, 0.0, 0.0, 0.9]}),
    (minority_below_the_threshold, {"class_accuracy/a": 0.0, "class_accuracy/b": 0.0}),
    (minority_below_the_threshold, {"class_count/c": 210.0}),  # not much smaller than the largest
    (minority_below_the_threshold, {"class_count/c": 400.0}),  # as large as the largest
    (
        minority_below_the_threshold,
        {"class_accuracy/c": [0.0, 0.0, 0.0, 0.0, math.nan]},
    ),  # last seen too soon
    (
        minority_below_the_threshold,
        {"class_accuracy/a": 1.0, "class_accuracy/b": 1.0},
    ),  # learned by chance
    (
        learning_in_stages,
        {"skill/two": logistic(T, 700, 0.02), "skill/three": logistic(T, 900, 0.02)},
    ),
    (learning_in_stages, {"skill/one": logistic(T, 2500, 0.02)}),
]

# rule, what makes of it a trace against a premise, a part of the premise's name
FAILING = [
    (diverged, {}, {"notes": ["norms: failed at step 9"]}, "still measured"),
    (exploding_imbalance, {}, {"optimizer": ADAMW}, "plain gradient descent"),
    (lazy_by_scale, {}, {"degree": 1.1}, "grow with the weights"),
    (fits_noise, {"train_accuracy": [0.1, 0.8, 0.92, 0.97, 1.0]}, {}, "worse than those of the"),
    (lazy_by_imbalance, {}, {"optimizer": ADAMW}, "as far as their gradients"),
    (lazy_by_imbalance, {"balance_drift/fc1-fc2": [0.0, 0.5]}, {}, "imbalance is kept"),
    (idle_layer, {}, {"optimizer": SGD | {"uniform": False}}, "every trained layer"),
    (broken_conservation, {"balance_allowed/fc1-fc2": math.nan}, {}, "work of finite steps"),
    (broken_conservation, {}, {"optimizer": SGD | {"uniform": False}}, "one rate and decay"),
    (memorised_and_waiting, {"weight_to_target": [0.2, math.nan, math.nan]}, {}, "lazy start"),
    (decay_too_weak, {"weight_to_target": [0.2, math.nan, math.nan]}, {}, "lazy start"),
    (rank_collapsed_too_early, {"decay_budget": 0.0, "weight_decay": 0.0}, {}, "decay takes"),
    (rank_collapsed_too_early, {}, {"samples": 12}, "large enough"),
    (not_yet_collapsed, {"decay_budget": [0.0, 5.0]}, {}, "decay is what is missing"),
    (minority_below_the_threshold, {"class_count/c": 200.0}, {}, "smaller classes"),
    (minority_below_the_threshold, {"weight_decay": 0.0}, {}, "decay is at work"),
    (learning_in_stages, {}, {"degree": 4.0}, "two layers"),
    (learning_in_stages, {"skill/two": 0.0 * T}, {}, "seen coming"),
]  # fmt: skip


def run(rule, changes=None, settings=None):
    series, config, _ = TRIGGERS[rule]
    config = config | (settings or {})
    clock = config.pop("clock", None)
    return made(series | (changes or {}), clock, **config)


def test_every_rule_has_its_three_traces():
    assert set(TRIGGERS) == set(RULES) == {r for r, _ in QUIET} == {r for r, *_ in FAILING}


@pytest.mark.parametrize("rule", RULES)
def test_what_must_be_told(rule):
    found = rule(run(rule))
    assert found.severity == TRIGGERS[rule][2]
    assert found.confidence == "high"
    assert found.evidence
    assert all(premise.holds for premise in found.premises)


@pytest.mark.parametrize(("rule", "changes"), QUIET)
def test_what_must_not_be_told(rule, changes):
    assert rule(run(rule, changes)) is None


@pytest.mark.parametrize(("rule", "changes", "settings", "name"), FAILING)
def test_a_premise_that_fails_lowers_the_confidence(rule, changes, settings, name):
    found = rule(run(rule, changes, settings))
    assert found.confidence == "low"
    assert any(name in p.name and p.holds is False for p in found.premises)


@pytest.mark.parametrize("rule", RULES)
@given(at=st.floats(0.05, 0.95))
def test_a_look_at_which_nothing_was_measured_changes_nothing(rule, at):
    trace = run(rule)
    new = trace.clock[-2] + at * (trace.clock[-1] - trace.clock[-2])
    clock = np.insert(trace.clock.astype(float), -1, new)
    series = {name: np.insert(values, -1, math.nan) for name, values in trace.series.items()}
    assert rule(Trace(clock, series, trace.provenance)) == rule(trace)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_says_what_it_lacks(rule):
    with pytest.raises(NotJudged, match="needs"):
        rule(made({"anything": [1.0, 2.0]}))


@pytest.mark.parametrize("rule", [lazy_by_scale, lazy_by_imbalance, idle_layer])
def test_what_is_not_known_makes_unsure(rule):
    if rule is lazy_by_scale:
        trace = made({"weight_to_target": [30.0, math.nan]})
    else:
        trace = run(rule, settings={"optimizer": None})
    assert rule(trace).confidence == "medium"


def test_a_layer_that_only_decays_is_idle():
    tau = 0.2
    series = IDLE | {"motion/fc1": [0.0, -math.expm1(-tau)], "decay_budget": [0.0, tau]}
    found = idle_layer(made(series, optimizer=SGD))
    assert "only decay" in found.sentence
    assert found.evidence["motion/fc1"] == -math.expm1(-tau)
    assert idle_layer(made(series | {"motion/fc1": [0.0, 0.3]}, optimizer=SGD)) is None


def test_adam_conserves_nothing():
    with pytest.raises(NotJudged, match=r"AdamW, momentum 0\.9, conserves no imbalance"):
        broken_conservation(made(BROKEN, optimizer=ADAMW))
    with pytest.raises(NotJudged, match="needs the optimiser"):
        broken_conservation(made(BROKEN))


def test_the_forecast_of_a_delay_is_that_of_the_forecasts():
    trace = run(memorised_and_waiting)
    told = memorised_and_waiting(trace).forecast
    assert told == lw.diagnosis.forecast_trace(trace, 1e-3, 0.3)
    assert told.low < told.time < told.high


def test_outside_of_the_calibration_the_scalar_model_gives_the_time():
    found = memorised_and_waiting(run(memorised_and_waiting, settings={"optimizer": SGD}))
    assert found.forecast is None
    assert found.evidence["steps"] == pytest.approx(math.log(100.0) / (1.3 * 0.06 / 200))


@pytest.mark.parametrize(
    "settings",
    [
        {"classes": 3},
        {"layers": {"tokens": [20, 5], "head": [10, 30]}},  # the head reads something else
        {"layers": {"conv": [20, 5, 3, 3], "head": [10, 20]}},
        {"layers": {"head": [10, 20]}},
        {"layers": None},
        {"degree": 1.8},  # as of ReLU
        {"degree": None},
    ],
)
def test_no_interval_is_given_for_networks_unlike_those_of_the_calibration(settings):
    found = memorised_and_waiting(run(memorised_and_waiting, settings=settings))
    assert found.forecast is None
    calibrated = lw.diagnosis.forecast_trace(run(memorised_and_waiting), 1e-3, 0.3)
    assert found.evidence["steps"] == calibrated.time
    assert f"about step {counted(calibrated.time)}" in found.sentence


def test_a_delay_without_a_known_end_is_told_as_well():
    coupled = ADAMW | {"kind": "Adam", "decoupled": False}
    changes = {"decay_budget": 0.0}
    trace = run(memorised_and_waiting, changes, {"optimizer": coupled})
    found = memorised_and_waiting(trace)
    assert "a step not known" in found.sentence
    assert found.confidence == "medium"
    assert decay_too_weak(trace) is None


@pytest.mark.parametrize("decay", [0.3, 0.1, 0.03, 0.01, 1e-3, 1e-5, 0.0])
def test_a_delay_is_either_waited_for_or_too_long(decay):
    trace = run(memorised_and_waiting, {"weight_decay": decay})
    told = [memorised_and_waiting(trace), decay_too_weak(trace)]
    assert sum(one is not None for one in told) == 1


def test_what_is_left_of_the_decay_budget_is_forecast():
    found = not_yet_collapsed(run(not_yet_collapsed))
    assert found.evidence["steps_left"] == pytest.approx(300)  # 0.5 of 2 e-foldings in 100 steps
    assert found.remedies[0].predicted["steps"] == pytest.approx(0.25)


def test_less_decay_saves_a_minority():
    """The remedy leaves the lost class half its strength for every threshold that is possible.

    Classes of 100 were learned, so N c < 10; the decay of both layers falls by the factor, and c
    with it.
    """
    found = minority_below_the_threshold(run(minority_below_the_threshold))
    assert found.evidence["due"] == pytest.approx(1000 / 12 * math.sqrt(400 / 4))
    (remedy,) = found.remedies
    assert remedy.name == "set_decay"
    new = float(remedy.call.split("optimizer, ")[1].rstrip(")"))
    assert math.sqrt(4) - 10 * new / 0.01 >= math.sqrt(4) / 2 - 1e-9


def test_counts_and_accuracies_of_the_probe_tell_a_minority_too():
    own = {name: LOST[f"class_accuracy/{name}"] for name in "abc"}
    probed = {f"layerwise/class_accuracy/{k}": own[name] for k, name in enumerate("abc")}
    settings = {"clock": CLOCK, "optimizer": SGD, "class_counts": [400, 100, 4]}
    found = minority_below_the_threshold(made({**probed, "weight_decay": 0.01}, **settings))
    other = minority_below_the_threshold(run(minority_below_the_threshold))
    assert (found.evidence, found.premises) == (other.evidence, other.premises)
    assert found.sentence == other.sentence.replace("Classes c", "Classes 2")
    with pytest.raises(NotJudged, match="needs class_counts= of the probe"):
        minority_below_the_threshold(made({**probed, "weight_decay": 0.01}, CLOCK))
    # a class that the network tells by chance at its start says nothing of when classes are learned
    probed["layerwise/class_accuracy/0"] = [1.0, 0.6, 1.0, 1.0, 1.0]
    found = minority_below_the_threshold(made({**probed, "weight_decay": 0.01}, **settings))
    assert found.evidence["due"] == pytest.approx((100 + 100 * 0.3 / 0.7) * math.sqrt(100 / 4))


def test_of_many_lost_classes_some_are_named():
    counts = {f"class_count/{k}": 2.0 for k in range(40)}
    series = LOST | counts | {f"class_accuracy/{k}": 0.0 for k in range(40)}
    found = minority_below_the_threshold(made(series, CLOCK, optimizer=SGD))
    assert "Classes c, 0, 1, 2, 3, 4, 5, 6, 7, 8, ... of 2 to 4 samples" in found.sentence


def test_the_next_stage_is_forecast_from_the_line_of_its_logit():
    found = learning_in_stages(run(learning_in_stages))
    assert found.forecast.time == pytest.approx(2300, rel=1e-6)
    assert found.forecast.low <= found.forecast.time <= found.forecast.high
    assert "two is next at step 2.3e+03" in found.sentence


def test_the_next_stage_of_the_exact_model_is_forecast():
    """Balanced pairs of rates 1, 1/3, 1/9: the forecast at t = 21 is the law's own half time."""
    model = lw.Diagonal([1.0, 1.0, 1.0], [1e-2] * 3, [1e-2] * 3, rate=[1.0, 1 / 3, 1 / 9])
    halves = lw.time_to(model, level=0.5)
    t = np.linspace(0.0, 0.95 * halves[1], 60)
    strength = lw.solve(model, t)["map"]
    trace = Trace(t, {"strength": strength}, Provenance("theory", "time", {"degree": 2.0}))
    assert strength[-1, 1] < 0.5
    assert learning_in_stages(trace).forecast.time == pytest.approx(halves[1], rel=1e-3)


def test_stages_below_the_noise_follow_a_power_of_their_number():
    clock = np.arange(0, 1001, 2)
    series = {f"skill/{k}": logistic(clock, 20.0 * k**1.6, 0.2) for k in (1, 2, 3, 4, 12)}
    assert series["skill/12"][-1] < 0.05
    found = learning_in_stages(made(series, clock, degree=2.0))
    assert found.confidence == "low"
    assert found.forecast.time == pytest.approx(1000)  # the fifth is due at 263: it is late
    early = {name: values[clock <= 220] for name, values in series.items()}
    told = learning_in_stages(made(early, clock[clock <= 220], degree=2.0)).forecast
    assert told.time == pytest.approx(20 * 5**1.6, rel=0.02)


@given(share=st.floats(0.2, 1.0), classes=st.integers(2, 100), truth=st.floats(0.5, 1.0))
def test_the_share_of_wrong_labels_is_read_off_the_best_look(share, classes, truth):
    seen = truth * (1 - share * (classes - 1) / classes)  # of labels of which a share is drawn anew
    series = {"train_accuracy": [0.0, seen, 1.0], "test_accuracy": [0.0, truth, truth / 2]}
    found = fits_noise(made(series, classes=classes))
    assert found.evidence["wrong_labels"] == pytest.approx(share)
    assert found.remedies[0].call == "stop at step 100"


def test_layers_on_either_side_of_a_stream_count_together():
    stream = {
        "s": {"rule": "full", "writers": ["fc1", "fc2", "gone"], "readers": ["fc3", "fc4", "b"]}
    }
    series = {
        "balance_share/s": [-0.99, -0.99],
        "motion/fc1": [0.0, 1e-3],
        "motion/fc2": [0.0, 1e-2],
        "motion/fc3": [0.0, 0.3],
        "motion/fc4": [0.0, 1e-3],
    }
    found = lazy_by_imbalance(made(series, conserved=stream, optimizer=SGD))
    assert "earlier side, fc1, fc2, is much the larger" in found.sentence
    assert "fc3, fc4 alone" in found.sentence
    assert found.evidence["motion_ratio"] == pytest.approx(1e-2 / 0.3)
    moving = series | {"motion/fc2": [0.0, 0.2]}
    assert lazy_by_imbalance(made(moving, conserved=stream, optimizer=SGD)) is None


def test_a_gap_that_lost_classes_explain_is_no_memory():
    series = {name: LOST[name] for name in LOST} | {
        "train_accuracy": [0.1, 0.9, 1.0, 1.0, 1.0],
        "test_accuracy": [0.1, 0.5, 0.6, 0.6, 0.6],
        "learning_rate": 1e-3,
        "weight_decay": 0.3,
        "decay_budget": [0.0, 0.1, 0.2, 1.0, 4.0],
    }
    trace = made(series, CLOCK, optimizer=ADAMW)
    assert minority_below_the_threshold(trace) is not None
    assert memorised_and_waiting(trace) is None
    learned = made(series | {"class_accuracy/c": 1.0}, CLOCK, optimizer=ADAMW)
    assert memorised_and_waiting(learned) is not None


@pytest.mark.parametrize(
    ("accuracy", "distance", "holds"),
    [
        (1.0, 0.019, True),
        (1.0, 0.021, False),
        (0.6, 0.004, None),  # learned: (.6 - .2)/(1 - .2) = 1/2, and a quarter of the distance
        (0.6, 0.006, False),
    ],
)
def test_features_that_stay_are_judged_by_what_is_learned(accuracy, distance, holds):
    series = {"train_accuracy": [0.2, accuracy], "feature_distance/h": [0.0, distance]}
    assert still(made(series, classes=5)).holds is holds
    kernel = {"train_accuracy": [0.2, accuracy], "kernel_distance": [0.0, distance]}
    assert still(made(kernel | {"feature_distance/h": 0.0}, classes=5)).holds is holds


@pytest.mark.parametrize("accuracies", [[0.1], [0.1, 0.3]])
def test_before_anything_is_learned_no_network_is_called_lazy(accuracies):
    series = LAZY | {"train_accuracy": accuracies}
    clock = np.arange(len(accuracies)) * 100
    short = {name: v[: len(clock)] if np.ndim(v) else v for name, v in series.items()}
    with pytest.raises(NotJudged, match="at which something is learned"):
        lazy_by_scale(made(short, clock, classes=10))


def test_train_and_test_accuracy_may_be_known_at_different_looks():
    series = {
        "train_accuracy": [0.1, math.nan, 0.6, math.nan, 1.0, math.nan],
        "test_accuracy": [math.nan, 0.7, math.nan, 0.8, math.nan, 0.6],
    }
    found = fits_noise(made(series, classes=10))
    assert found.evidence["best_step"] == 300
    assert found.evidence["train_accuracy_then"] == pytest.approx(0.8)  # between .6 and 1
    assert found.evidence["train_accuracy"] == 1.0


def test_the_last_step_with_finite_weights_is_named():
    found = diverged(made({"norm/a": [1.0, 2.0, math.nan], "norm/b": [1.0, math.nan, math.nan]}))
    assert found.evidence["last_finite_step"] == 100
    assert "weights of a, b are not finite after step 100" in found.sentence
