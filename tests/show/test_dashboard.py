"""The dashboard: which panels a trace has, and what is in them."""

import math

import numpy as np
import pytest

from layerwise.diagnosis import diagnose
from layerwise.phenomena.panel import Mark
from layerwise.show.dashboard import dashboard
from layerwise.show.figures import draw
from layerwise.trace import Provenance, Trace

NAN = math.nan
STEPS = np.array([0, 10, 20, 50, 100, 200])
FALL = np.array([1.0, 0.5, 0.2, 0.1, 0.05, 0.02])


def made(series, clock=STEPS, **config):
    full = {name: np.broadcast_to(np.asarray(v, dtype=float), clock.shape)
            for name, v in series.items()}  # fmt: skip
    return Trace(clock, full, Provenance("probe", "optimiser steps", config=config))


def panel(trace, title, diagnosis=None):
    (found,) = [one for one in dashboard(trace, diagnosis) if one.title == title]
    return found


def labels(panel):
    return [curve.label for curve in panel.curves]


def waiting(decay=0.3):
    """Return a run that has memorised its data and waits for decay to do its work."""
    clock = np.array([0, 100, 200, 300])
    return made(
        {
            "train_accuracy": [0.1, 0.9, 1.0, 1.0],
            "test_accuracy": [0.1, 0.2, 0.3, 0.3],
            "layerwise/learning_rate": 1e-3,
            "layerwise/weight_decay": decay,
            "layerwise/decay_budget": 1e-3 * decay * clock,
            "layerwise/weight_to_target": [50.0, NAN, NAN, NAN],
        },
        clock,
        optimizer={"kind": "AdamW"},
        classes=10,
        layers={"fc1": [20, 5], "fc2": [10, 20]},
        degree=1.3,
    )


ONE_OF_EACH = {
    "Accuracy": {"test_accuracy": 1 - FALL},
    "Loss": {"train_loss": FALL},
    "How far each layer has moved": {"layerwise/motion/fc1": 1 - FALL},
    "Which of two layers is the larger": {"layerwise/balance_share/fc1-fc2": 0.5},
    "How far features and kernel moved": {"layerwise/kernel_distance": 1 - FALL},
    "Directions that features use": {"layerwise/rank/f": 5.0},
    "Neural collapse of f": {"layerwise/nc1/f": FALL},
    "Work of weight decay": {"layerwise/decay_budget": 1 - FALL},
    "Skills": {"skill/parity": 1 - FALL},
    "Accuracy of each class": {"layerwise/class_accuracy/0": 1 - FALL},
}


@pytest.mark.parametrize("title", ONE_OF_EACH)
def test_a_panel_is_there_if_its_series_was_measured(title):
    series = ONE_OF_EACH[title]
    assert [one.title for one in dashboard(made(series))] == [title]
    assert dashboard(made(dict.fromkeys(series, NAN))) == ()


def test_all_of_them_stand_in_one_order_and_are_drawn():
    everything = {name: v for series in ONE_OF_EACH.values() for name, v in series.items()}
    panels = dashboard(made(everything, classes=10))
    assert [one.title for one in panels] == list(ONE_OF_EACH)
    for one in panels:
        assert one.caption.endswith(".")
        assert one.x == "optimiser steps"
        draw(one)


def test_a_trace_without_any_of_them_has_no_panel():
    assert dashboard(made({"gradient": FALL})) == ()
    assert dashboard(made({"layerwise/decay_budget": 0.0})) == ()  # no decay does no work


def test_series_without_the_prefix_of_a_probe_are_known_too():
    assert [one.title for one in dashboard(made({"nc1/f": FALL}))] == ["Neural collapse of f"]


def test_what_was_measured_at_some_looks_only_is_a_line_through_them():
    figure = draw(panel(made({"train_loss": [1.0, NAN, 0.5, NAN, NAN, 0.1]}), "Loss"))
    (line,) = figure.axes[0].lines
    assert line.get_xdata().tolist() == [0, 20, 200]
    assert line.get_ydata().tolist() == [1.0, 0.5, 0.1]


def test_of_many_layers_the_ends_are_drawn_and_the_others_as_a_band():
    ends = {f"block.{i}": (7 * i) % 23 / 23 for i in range(23)}  # a permutation
    motion = {f"layerwise/motion/{name}": end * (1 - FALL) for name, end in ends.items()}
    found = panel(made(motion), "How far each layer has moved")
    order = sorted(ends, key=ends.get, reverse=True)
    assert labels(found) == [*order[:2], "19 between them (median, range)", *order[-2:]]
    between = found.curves[2]
    assert [one["value"][-1] for one in between.traces] == pytest.approx(
        [0.98 * ends[name] for name in order[2:-2]]
    )
    figure = draw(found)
    low, high = 0.98 * ends[order[-3]], 0.98 * ends[order[2]]
    (band,) = [area for area in figure.axes[0].collections if area.get_paths()]
    at_end = [y for x, y in band.get_paths()[0].vertices if x == 200]
    assert (min(at_end), max(at_end)) == pytest.approx((low, high))


def test_five_layers_are_drawn_one_by_one():
    motion = {f"layerwise/motion/{i}": i * FALL for i in range(5)}
    assert labels(panel(made(motion), "How far each layer has moved")) == list("01234")


def test_the_clock_is_logarithmic_where_looks_are_log_spaced_and_keeps_its_start():
    found = panel(made({"train_loss": FALL}), "Loss")
    assert (found.log_x, found.log_from) == (True, 10.0)
    figure = draw(found)
    figure.draw_without_rendering()
    ax = figure.axes[0]
    assert ax.lines[0].get_xdata()[0] == 0
    assert ax.get_xlim()[0] < 0
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [
        "0",
        "10",
        "20",
        "50",
        "100",
        "200",
    ]


def test_the_clock_is_linear_where_looks_are_evenly_spaced():
    even = np.arange(6) * 10
    assert not panel(made({"train_loss": FALL}, even), "Loss").log_x


def test_one_clock_for_all_panels_even_if_only_some_series_are_looked_at_rarely():
    clock = np.arange(101) * 10
    rare = np.full(101, NAN)
    rare[[0, 1, 2, 5, 10, 20, 50, 100]] = 0.5
    panels = dashboard(made({"train_loss": 1.0, "layerwise/rank/f": rare}, clock))
    assert [one.log_x for one in panels] == [True, True]


def test_a_clock_that_begins_above_zero_is_plainly_logarithmic():
    found = panel(made({"train_loss": FALL}, STEPS + 1), "Loss")
    assert (found.log_x, found.log_from) == (True, None)


@pytest.mark.parametrize("series", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_a_single_look_is_drawn_too(series):
    (found,) = dashboard(made(dict.fromkeys(series, 0.5), np.array([0])))
    draw(found).draw_without_rendering()


def test_the_fit_is_marked():
    accuracy = {"train_accuracy": [0.1, 0.5, 0.98, 0.99, 1.0, 1.0]}
    found = panel(made(accuracy), "Accuracy")
    assert found.marks == (Mark("fitted, step 50", 50.0),)
    assert panel(made({"train_accuracy": 0.9}), "Accuracy").marks == ()
    line = draw(found).axes[0].lines[-1]
    assert line.get_xdata() == [50.0, 50.0]


def test_a_forecast_is_marked_with_its_interval_on_a_logarithmic_clock():
    found = diagnose(waiting())
    told = found.forecast
    shown = panel(waiting(), "Accuracy", found)
    assert shown.log_x  # the looks are evenly spaced, but the forecast lies far ahead
    _, mark = shown.marks
    assert (mark.at, mark.low, mark.high) == (told.time, told.low, told.high)
    assert mark.label.startswith("forecast, step 1,") or mark.label.startswith("forecast, step 2,")
    ax = draw(shown).axes[0]
    assert ax.get_xlim()[1] > told.high
    (span,) = ax.patches
    box = span.get_extents().transformed(ax.transData.inverted())
    assert (box.x0, box.x1) == pytest.approx((told.low, told.high))
    assert len(panel(waiting(), "Accuracy").marks) == 1  # nothing is foretold without a diagnosis


def test_the_forecast_of_a_skill_is_marked_among_the_skills():
    clock = np.arange(12) * 100
    rise = [1 / (1 + np.exp(-(clock - at) / 150)) for at in (200, 500, 1200)]
    trace = made({f"skill/{k}": v for k, v in enumerate(rise)} | {"test_accuracy": 0.5}, clock)
    found = diagnose(trace)
    assert found.findings[0].rule == "learning in stages"
    assert panel(trace, "Skills", found).marks[0].at == found.forecast.time
    assert panel(trace, "Accuracy", found).marks == ()


def test_skills_of_an_experiment_are_known_by_their_number():
    strength = np.stack([1 - FALL, FALL], axis=1)
    trace = Trace(STEPS, {"strength": strength}, Provenance("network", "steps"))
    found = panel(trace, "Skills")
    assert labels(found) == ["skill 1", "skill 2"]
    np.testing.assert_array_equal(found.curves[1].traces[0]["value"], FALL)


def test_a_distance_leaves_out_the_start_it_is_measured_from():
    rounding = [2e-16, 0.1, 0.2, 0.3, 0.4, 0.5]
    series = {"layerwise/feature_distance/f": rounding, "layerwise/weight_to_target": 30.0}
    found = panel(made(series), "How far features and kernel moved")
    features, level = found.curves
    assert features.traces[0].clock.tolist() == STEPS[1:].tolist()
    assert (level.label, level.theory) == ("lazy below 0.02", True)
    assert set(level.traces[0]["value"]) == {0.02}
    assert "ratio was 30 at the start (lazy above 3)" in found.caption


def test_the_rank_stands_beside_what_the_classes_need():
    rank = {"layerwise/rank/f": 5.0}
    _, level = panel(made(rank, classes=10), "Directions that features use").curves
    assert (level.label, level.traces[0]["value"][0]) == ("10 classes need 9", 9.0)
    assert len(panel(made(rank), "Directions that features use").curves) == 1


def test_the_collapse_is_that_of_the_features_the_head_reads():
    series = {f"layerwise/nc1/{name}": FALL for name in ("early", "late", "other")}
    series |= {"layerwise/nc3/late": FALL, "layerwise/nc4/late": 0.0}
    found = panel(made(series), "Neural collapse of late")
    assert labels(found) == ["NC1, within classes", "NC3, head", "NC4, decisions"]
    texts = draw(found).legends[0].get_texts()
    assert [text.get_text() for text in texts][-1] == "NC4, decisions (no value)"


def test_a_long_run_is_drawn_with_few_points_and_the_range_as_a_band():
    clock = np.arange(5000)
    noise = np.random.default_rng(0).lognormal(size=5000)
    found = panel(made({"train_loss": noise}, clock), "Loss")
    (curve,) = found.curves
    assert {len(part) for part in curve.traces} == {150}
    median, least, greatest = (part["value"] for part in curve.traces)
    assert np.all((least <= median) & (median <= greatest))
    assert (least.min(), greatest.max()) == (noise.min(), noise.max())


def test_a_probe_fills_the_panels():
    torch = pytest.importorskip("torch")
    from layerwise import Probe
    from layerwise.networks import MLP

    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 6, generator=rng), torch.arange(30) % 3
    net = MLP((6, 20, 3), activation="relu", bias_scale=0.0, seed=0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=1e-3)
    with Probe(net, batch=(x, y), every=1, optimizer=optimizer) as probe:
        for i in range(21):
            loss = torch.nn.functional.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            accuracy = (net(x).argmax(1) == y).float().mean()
            probe.step(i, train_loss=loss, train_accuracy=accuracy)
            optimizer.step()
    trace = probe.trace()
    panels = dashboard(trace, diagnose(trace))
    titles = [title.replace(" of f", " of penultimate") for title in ONE_OF_EACH]
    assert [one.title for one in panels][:8] == titles[:8]
    assert {one.log_from for one in panels} == {1.0}
    for one in panels:
        draw(one)
