import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure

from layerwise.phenomena.panel import Curve, Mark, Panel
from layerwise.show.band import band
from layerwise.show.figures import draw, plot, svg
from layerwise.trace import Provenance, Trace

STEPS = np.array([0, 1, 10, 100, 1000])


def trace(clock=STEPS, *, source="network", seed=0, unit="steps", **series):
    if not series:
        series = {"accuracy": np.linspace(0.1, 0.9, len(clock))}
    return Trace(clock, series, Provenance(source, unit, seed=seed))


def panel(*curves, **settings):
    return Panel("A title", "A caption.", curves, "steps", "accuracy", **settings)


def axes():
    return Figure().subplots()


def test_plot_draws_a_trace_and_things_that_have_one():
    class Holds:
        def __init__(self, value):
            self.trace = value

    class Gives:
        def trace(self):
            return trace(source="theory", seed=None)

    ax = plot(trace(), Holds(trace(seed=1)), Gives(), ax=axes())
    assert [line.get_linestyle() for line in ax.lines] == ["-", "-", "--"]
    assert len({line.get_color() for line in ax.lines}) == 3
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["network, seed 0", "network, seed 1", "theory"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("steps", "accuracy")


def test_plot_without_axes_makes_a_figure():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    ax = plot(trace())
    assert len(ax.lines) == 1
    pyplot.close(ax.figure)


def test_calls_on_the_same_axes_go_on_with_the_colours():
    ax = plot(trace(), ax=axes())
    plot(trace(), ax=ax, label="again")
    assert ax.lines[0].get_color() != ax.lines[1].get_color()


def test_default_quantity():
    both = trace(loss=np.ones(5), map=np.zeros(5))
    assert plot(both, ax=axes()).get_ylabel() == "loss"
    with pytest.raises(ValueError, match=r"which quantity\?.*known: map, norm"):
        plot(trace(map=np.ones(5), norm=np.ones(5)), ax=axes())


@pytest.mark.parametrize(
    "draws", [plot, lambda t, quantity: draw(panel(Curve("a", (t,), quantity)))]
)
def test_an_unknown_quantity_names_the_nearest(draws):
    with pytest.raises(KeyError, match=r"unknown series 'acuracy'; did you mean 'accuracy'\?"):
        draws(trace(), quantity="acuracy")


def test_the_start_at_zero_has_no_place_on_a_logarithmic_axis():
    ax = plot(trace(), ax=axes(), log_x=True)
    assert list(ax.lines[0].get_xdata()) == [1, 10, 100, 1000]
    assert len(plot(trace(), ax=axes()).lines[0].get_xdata()) == 5
    figure = draw(panel(Curve("test", (trace(),), "accuracy")))
    assert list(figure.axes[0].lines[0].get_xdata()) == [1, 10, 100, 1000]
    with pytest.raises(ValueError, match="needs instants above 0, not"):
        plot(trace([-1, 0]), ax=axes(), log_x=True)


def test_few_components_are_labelled_and_many_are_thin_lines_of_one_colour():
    few = plot(trace(mode=np.ones((5, 3))), ax=axes())
    assert [line.get_label() for line in few.lines] == [f"network, seed 0 [{k}]" for k in range(3)]
    many = plot(trace(mode=np.ones((5, 4, 5))), ax=axes())
    assert len(many.lines) == 20
    assert len({line.get_color() for line in many.lines}) == 1
    assert many.lines[0].get_linewidth() < few.lines[0].get_linewidth()


def test_different_clocks_are_both_named():
    ax = plot(trace(), trace(unit="time"), ax=axes())
    assert ax.get_xlabel() == "steps | time"


def test_bad_things_are_named():
    with pytest.raises(TypeError, match="int is no Trace"):
        plot(3)
    with pytest.raises(ValueError, match="at least one trace"):
        plot()
    with pytest.raises(ValueError, match="1 labels for 2 traces"):
        plot(trace(), trace(), label="one")


def test_a_band_needs_two_seeds_and_is_never_extrapolated():
    short, long = trace([0, 1, 2], y=[0.0, 1.0, 2.0]), trace([1, 2, 4], y=[3.0, 3.0, 3.0])
    seeds = band([short, long], "y")
    np.testing.assert_array_equal(seeds.x, [0, 1, 2, 4])
    np.testing.assert_array_equal(seeds.median, [0.0, 2.0, 2.5, 3.0])
    np.testing.assert_array_equal(seeds.low, [np.nan, 1.0, 2.0, np.nan])
    np.testing.assert_array_equal(seeds.high, [np.nan, 3.0, 3.0, np.nan])


def test_what_was_not_measured_is_bridged_on_a_line_but_not_between_points():
    holed = trace([0, 1, 2], y=[0.0, np.nan, 2.0])
    whole = trace([0, 1, 2], y=[0.0, 5.0, 2.0])
    np.testing.assert_array_equal(band([holed, whole], "y").median, [0.0, 3.0, 2.0])
    seeds = band([holed, whole], "y", points=True)
    np.testing.assert_array_equal(seeds.median, [0.0, 5.0, 2.0])
    np.testing.assert_array_equal(seeds.high, [0.0, np.nan, 2.0])


def test_a_panel_that_cannot_be_drawn_says_why():
    with pytest.raises(ValueError, match="has no curve"):
        draw(panel())
    with pytest.raises(ValueError, match=r"needs shape \(T,\), 'y' has \(5, 2\)"):
        draw(panel(Curve("test", (trace(y=np.ones((5, 2))),), "y")))


@pytest.mark.parametrize("points", [False, True])
@pytest.mark.parametrize("log_x", [False, True])
def test_a_curve_without_any_value_is_drawn_as_such(points, log_x):
    never = trace(y=np.full(5, np.nan))
    figure = draw(panel(Curve("t85", (never, never), "y", points=points), log_x=log_x))
    figure.draw_without_rendering()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["t85 (no value)"]


def test_theory_with_the_label_of_the_measured_curve_is_called_theory():
    curves = (
        Curve("train", (trace(),), "accuracy"),
        Curve("test", (trace(),), "accuracy"),
        Curve("test", (trace(source="theory"),), "accuracy", theory=True),
    )
    figure = draw(panel(*curves))
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["train", "test", "test, theory"]
    assert figure.axes[0].lines[2].get_color() == figure.axes[0].lines[1].get_color()


def test_theory_is_dashed_in_the_colour_of_the_measured_line():
    exact = trace(source="theory")
    figure = draw(
        panel(
            Curve("train", (trace(),), "accuracy"),
            Curve("test, network", (trace(), trace(seed=1)), "accuracy"),
            Curve("test, exact model", (exact,), "accuracy", theory=True),
            Curve("test (no decay)", (exact,), "accuracy", theory=True),
            Curve("chance", (exact,), "accuracy", theory=True),
        )
    )
    train, test, model, no_decay, chance = figure.axes[0].lines
    assert test.get_color() == model.get_color() == no_decay.get_color()
    assert len({line.get_color() for line in (train, test, chance)}) == 3
    assert (train.get_linestyle(), test.get_linestyle()) == ("-", "-")
    assert train.get_marker() != test.get_marker()
    assert model.is_dashed()
    assert no_decay.is_dashed()
    assert model._dash_pattern != no_decay._dash_pattern


def test_points_have_error_bars_and_their_settings_as_ticks():
    settings = [0.3, 0.6, 1.0]
    seeds = tuple(trace(settings, seed=s, t=[1.0 + s, 1.1, 0.9]) for s in range(3))
    exact = trace([0.3, 1.0], source="theory", t=[1.0, 1.0])
    figure = draw(
        panel(
            Curve("network", seeds, "t", points=True),
            Curve("exact model", (exact,), "t", theory=True),
        )
    )
    ax = figure.axes[0]
    (points,) = ax.containers
    assert points.lines[0].get_linestyle() == "None"
    (bars,) = points.lines[2]
    np.testing.assert_allclose(bars.get_segments()[0], [[0.3, 1.0], [0.3, 3.0]])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.3", "0.6", "1"]
    assert ax.lines[-1].get_color() == points.lines[0].get_color()


@pytest.mark.parametrize(
    "labels",
    [
        ["train", "test", "test, exact model"],
        ["training accuracy of the network", "test accuracy of the network", "the exact model"],
    ],
)
def test_the_legend_fits_and_covers_no_data(labels):
    figure = draw(panel(*(Curve(text, (trace(),), "accuracy") for text in labels)))
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.y0 >= figure.axes[0].get_window_extent().y1
    assert legend.x1 <= figure.bbox.width


@pytest.mark.parametrize(
    ("clock", "texts"),
    [
        ([1, 3200], ["1", "10", "100", "1000"]),
        ([100, 700], ["100", "200", "500"]),
        ([1000, 1e7], ["1000", "10000", "$10^{5}$", "$10^{6}$", "$10^{7}$"]),
        ([2e5, 6e5], [r"$2\times 10^{5}$", r"$5\times 10^{5}$"]),
    ],
)
def test_logarithmic_ticks_are_plain_where_that_is_short(clock, texts):
    figure = draw(panel(Curve("test", (trace(clock),), "accuracy")))
    figure.draw_without_rendering()
    ax = figure.axes[0]
    left, right = ax.get_xlim()
    inside = [t for t in ax.get_xticklabels() if left <= t.get_position()[0] <= right]
    assert [t.get_text() for t in inside] == texts


def test_the_range_of_y_is_kept():
    figure = draw(panel(Curve("test", (trace(),), "accuracy"), y_range=(0.0, 1.5)))
    assert figure.axes[0].get_ylim() == (0.0, 1.5)


def test_svg_is_deterministic_prefixed_and_says_what_it_shows():
    def once(prefix):
        figure = draw(panel(Curve("test", (trace(), trace(seed=1)), "accuracy")))
        return svg(figure, prefix=prefix, alt='A "quoted" <alt> & more')

    one, other = once("one"), once("two")
    assert one == once("one")
    assert one.replace("one-", "two-") == other
    root = ET.fromstring(one)
    assert root.get("aria-label") == 'A "quoted" <alt> & more'
    ids = re.findall(r'\bid="([^"]*)"', one)
    targets = re.findall(r'(?:href="#|url\(#)([^")]*)', one)
    assert len(ids) == len(set(ids))
    assert targets
    assert set(targets) <= set(ids)
    assert all(name.startswith("one-") for name in ids)
    assert "<style" not in one
    assert "<metadata" not in one
    assert "currentColor" in one


def test_importing_figures_imports_neither_torch_nor_matplotlib():
    code = "import sys, layerwise.show.figures; print({'torch', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"layerwise\[plot\]"):
        plot(trace())


def test_what_is_not_positive_has_no_place_on_a_logarithmic_axis():
    values = np.array([0.0, -1.0, 0.0, 2.0, 3.0])
    curves = (
        Curve("some", (trace(loss=values),), "loss"),
        Curve("none", (trace(loss=0 * values),), "loss"),
    )
    figure = draw(panel(*curves, log_y=True))
    assert figure.axes[0].lines[0].get_ydata().tolist() == [2.0, 3.0]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["some", "none (no value)"]


def test_a_clock_that_is_logarithmic_from_somewhere_keeps_its_start():
    long = trace(np.array([0, 2, 30, 1000, 20000]))
    figure = draw(panel(Curve("test", (long,), "accuracy"), log_from=2.0))
    figure.draw_without_rendering()
    ax = figure.axes[0]
    assert ax.lines[0].get_xdata().tolist() == [0, 2, 30, 1000, 20000]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "10", "100", "1000", "10000"]
    left, right = ax.get_xlim()
    assert left < 0
    assert right > 20000
    place = ax.transData.transform
    zero, two, twenty = (place((x, 0.5))[0] for x in (0, 2, 20))
    assert place((1, 0.5))[0] == pytest.approx((zero + two) / 2)  # linear up to there
    assert twenty - two == pytest.approx(place((200, 0.5))[0] - twenty)  # logarithmic beyond


def test_marks_are_dotted_lines_with_their_intervals_and_stand_in_the_legend():
    marks = (Mark("fitted", 10.0), Mark("forecast", 3000.0, 2000.0, 5000.0))
    shown = panel(Curve("test", (trace(),), "accuracy"), marks=marks)
    assert shown.alt == "A title: accuracy over steps; test, fitted, forecast. A caption."
    figure = draw(shown)
    ax = figure.axes[0]
    curve, fitted, forecast = ax.lines
    assert (list(fitted.get_xdata()), list(forecast.get_xdata())) == ([10, 10], [3000, 3000])
    assert curve.get_linestyle() == "-"
    assert fitted.is_dashed()
    assert fitted._dash_pattern != forecast._dash_pattern
    (span,) = ax.patches
    box = span.get_extents().transformed(ax.transData.inverted())
    assert (box.x0, box.x1) == pytest.approx((2000, 5000))
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["test", "fitted", "forecast"]


def probed(**series):
    found = {"train_accuracy": np.linspace(0.1, 1.0, 5), "loss": np.ones(5)}
    found |= {f"layerwise/motion/{i}": np.linspace(0, i, 5) for i in range(8)}
    return trace(source="probe", **found | series)


@pytest.fixture
def pyplot():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    yield pyplot
    pyplot.close("all")


def test_a_probed_run_is_drawn_as_its_dashboard(pyplot):
    class Probe:
        def trace(self):
            return probed(train_loss=np.ones(5), skill_less=np.ones(5))

    for thing in (Probe(), Probe().trace()):
        axes = plot(thing)
        assert axes.shape == (1, 3)
        titles = [ax.get_title(loc="left") for ax in axes.flat]
        assert titles == ["Accuracy", "Loss", "How far each layer has moved"]
        texts = [text.get_text() for text in axes[0, 2].get_legend().get_texts()]
        assert texts == ["7", "6", "4 between them (median, range)", "1", "0"]
        assert {ax.figure for ax in axes.flat} == {axes[0, 0].figure}
        axes[0, 0].figure.draw_without_rendering()


def test_places_of_the_dashboard_without_a_panel_are_empty(pyplot):
    axes = plot(probed(train_loss=np.ones(5), **{"layerwise/rank/f": np.ones(5)}))
    assert axes.shape == (2, 3)
    assert [ax.axison for ax in axes.flat] == [True] * 4 + [False] * 2


def test_what_is_asked_of_a_probed_run_is_drawn_as_ever(pyplot):
    assert plot(probed(), quantity="loss", ax=axes()).get_ylabel() == "loss"
    assert plot(probed(), ax=axes()).get_ylabel() == "loss"
    assert plot(probed(), label="mine").get_ylabel() == "loss"
    assert plot(probed(), log_x=True).get_xscale() == "log"
    assert len(plot(probed(), probed()).lines) == 2
    assert plot(trace(source="probe", gradient=np.ones(5))).get_ylabel() == "gradient"
    several = trace(source="probe", train_accuracy=np.ones(5), test_accuracy=np.ones(5))
    with pytest.raises(ValueError, match=r"which quantity\?.*known: test_accuracy, train_accuracy"):
        plot(several, several)
    with pytest.raises(KeyError, match="did you mean 'loss'"):
        plot(probed(), quantity="los")
