"""Trainings for neural collapse: short ones, interrupted ones, on other labels, on real numbers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import layerwise as lw
from layerwise.measures.collapse import simplex
from layerwise.networks import ResNet18
from layerwise.phenomena.base import run
from layerwise.phenomena.collapse import experiment as module
from layerwise.phenomena.collapse.experiment import Collapse, LinearFeatures
from layerwise.tasks import images
from layerwise.train import log_grid

SHORT = Collapse(train_size=200, test_size=50, width=2, epochs=6, batch=48, points=4)
FEATURES = LinearFeatures(n_per_class=(9, 6, 3), dim=7, start=0.02, steps=3000, points=40)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return run(SHORT, tmp_path_factory.mktemp("short")).trace


def test_every_measure_is_recorded_at_log_spaced_epochs(short):
    T, C = len(short), 10
    assert short.clock.tolist() == list(log_grid(6, 4)) == [0, 1, 2, 3, 6]
    shapes = {"spectrum": (T, 15), "means_gram": (T, C, C), "cross_gram": (T, C, C)}
    numbers = {
        "train_accuracy", "train_loss", "test_accuracy", "nc1", "nc1_floor", "quotient",
        "equinorm", "angle", "etf", "nc3", "nc4", "effective_rank", "top_energy", "d_lr",
        "decay_budget",
    }  # fmt: skip
    assert set(short) == numbers | shapes.keys()
    for name in short:
        assert short[name].shape == shapes.get(name, (T,)), name
        assert np.isfinite(short[name]).all(), name
    assert short["train_accuracy"][0] < 0.2 < 0.3 < short["train_accuracy"][-1]
    assert short.provenance.clock == "epochs"
    assert short.provenance.data.startswith("digits (")


def test_the_decay_budget_is_what_the_schedule_has_spent(short):
    per_epoch = 4 * 0.1 * 5e-3  # 24 steps, the rate falls at steps 8 and 16
    wanted = [0, per_epoch, 2 * per_epoch, 2.1 * per_epoch, 2.22 * per_epoch]
    assert short["decay_budget"].tolist() == pytest.approx(wanted, rel=1e-12)


def test_the_grams_hold_the_geometry_that_the_measures_judge(short):
    for gram, cross, angle, equinorm, etf in zip(
        *(short[name] for name in ("means_gram", "cross_gram", "angle", "equinorm", "etf")),
        strict=True,
    ):
        values, vectors = np.linalg.eigh(gram)
        assert abs(gram.sum(axis=1)).max() < 1e-8 * gram.max()  # centred
        assert abs(cross.sum(axis=1)).max() < 1e-6 * abs(cross).max()
        found = simplex(vectors * np.sqrt(np.maximum(values, 0)))
        for one, other in ((found.angle, angle), (found.equinorm, equinorm), (found.etf, etf)):
            assert one == pytest.approx(other, rel=1e-5)


def test_the_spectrum_is_that_of_sixteen_features(short):
    squares = short["spectrum"] ** 2
    assert (np.diff(short["spectrum"], axis=1) <= 0).all()
    share = squares[:, :9].sum(axis=1) / squares.sum(axis=1)  # of 15 of the 16
    assert (short["top_energy"] <= share + 1e-12).all()
    assert short["top_energy"] == pytest.approx(share, rel=0.02)


def test_a_training_is_repeated_exactly_and_another_seed_is_another(short, tmp_path):
    assert run(SHORT, tmp_path).trace == short
    other = run(replace(SHORT, seed=1), tmp_path).trace
    assert other["train_loss"][0] != short["train_loss"][0]


@pytest.mark.parametrize("when", [4, 13])  # an epoch's end that is looked at, and in between
def test_an_interrupted_training_ends_as_if_it_had_not_been(short, tmp_path, when):
    def interrupt(step):
        if step == when:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(SHORT, tmp_path, tick=interrupt)
    ticks = []
    assert run(SHORT, tmp_path, tick=ticks.append).trace == short
    assert ticks == list(range(when, SHORT.work() + 1))


def test_looking_leaves_the_training_alone(short, tmp_path):
    more = run(replace(SHORT, points=20), tmp_path).trace
    assert len(more) == 7
    assert more["nc1"][-1] == short["nc1"][-1]


def test_the_network_learns_on_batch_statistics_and_is_looked_at_on_running_ones(
    monkeypatch, tmp_path
):
    modes, features = [], ResNet18.features

    def spy(net, x):
        modes.append((len(x), net.training))
        return features(net, x)

    monkeypatch.setattr(ResNet18, "features", spy)
    run(SHORT, tmp_path)
    looks, batches = [(200, False), (50, False)], [(48, True)] * 4
    assert modes == [*(looks + batches) * 3, *looks, *batches * 3, *looks]


def test_shuffled_labels_are_the_same_ones_on_other_images():
    _, classes, x, y, x_test, y_test = module._images(SHORT)
    _, _, x2, y2, x2_test, y2_test = module._images(replace(SHORT, shuffled_labels=True))
    assert classes == 10
    assert (x == x2).all()
    assert (x_test == x2_test).all()
    assert (y_test == y2_test).all()
    assert np.bincount(y).tolist() == np.bincount(y2).tolist()
    assert 0.02 < np.mean(y == y2) < 0.25  # a tenth by chance


def test_shuffled_labels_are_learned_by_heart(tmp_path):
    one = replace(SHORT, train_size=96, epochs=60, weight_decay=0.0, width=4, shuffled_labels=True)
    trace = run(one, tmp_path).trace
    assert trace["train_accuracy"][-1] > 0.9
    assert trace["test_accuracy"][-1] < 0.5


def test_all_digits_are_used_once_and_none_is_in_both_parts():
    _, _, x, y, x_test, y_test = module._images(Collapse())
    assert x.shape == (1500, 1, 8, 8)
    assert x_test.shape == (297, 1, 8, 8)
    digits = images.load("digits")
    official = np.concatenate([digits.train_images, digits.test_images]).reshape(1797, -1)
    drawn = np.concatenate([x, x_test]).reshape(1797, -1)
    assert sorted(map(bytes, official)) == sorted(map(bytes, drawn))
    classes = np.r_[digits.train_labels, digits.test_labels]
    labels = {bytes(p): c for p, c in zip(official, classes, strict=True)}
    assert [labels[bytes(p)] for p in drawn] == np.r_[y, y_test].tolist()
    assert (module._images(Collapse(seed=1))[2] != x).any()


@pytest.mark.parametrize(("shape", "channels"), [((6, 6), 1), ((6, 6, 3), 3)])
def test_official_parts_stay_apart(monkeypatch, shape, channels):
    rng = np.random.default_rng(0)
    made = images.Images(
        "cifar10", "made up",
        rng.integers(0, 100, (30, *shape), np.uint8), rng.integers(0, 10, 30),
        rng.integers(100, 200, (20, *shape), np.uint8), rng.integers(0, 10, 20),
    )  # fmt: skip
    monkeypatch.setattr("layerwise.phenomena.pixels.load", lambda name: made)
    one = Collapse(data="cifar10", train_size=24, test_size=20, batch=8)
    _, _, x, _, x_test, y_test = module._images(one)
    assert x.shape == (24, channels, 6, 6)
    assert x.max() < 100 <= x_test.min()
    wanted = np.moveaxis(made.test_images.reshape(20, 6, 6, channels), -1, 1)
    assert sorted(map(bytes, x_test)) == sorted(map(bytes, np.ascontiguousarray(wanted)))
    assert sorted(y_test) == sorted(made.test_labels)
    with pytest.raises(ValueError, match="cifar10 has 20 test images, asked for 21"):
        module._images(replace(one, test_size=21))


def test_more_digits_than_there_are_are_refused(tmp_path):
    with pytest.raises(ValueError, match="digits has 97 test images, asked for 297"):
        run(Collapse(train_size=1700), tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"train_size": 60}, "there is no full batch of 64 in 60 training images"),
    ],
)
def test_bad_trainings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Collapse(**fields)


@pytest.mark.parametrize("one", [SHORT, Collapse(shuffled_labels=True), LinearFeatures()])
def test_settings_come_back_from_their_record(one):
    values = json.loads(json.dumps(one.config()))
    tuples = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    assert type(one)(**tuples) == one
    assert replace(one, seed=1).key != one.key
    assert one.key.startswith(one.name)


@pytest.mark.parametrize(
    "one", [SHORT, Collapse(), LinearFeatures(), LinearFeatures(decay=(0.1, 0.2), start=1e-5)]
)
def test_the_work_is_what_is_done_and_the_brief_one_is_short(one, tmp_path):
    brief, ticks = one.brief(), []
    run(brief, tmp_path, tick=ticks.append)
    assert ticks == list(range(brief.work() + 1))
    assert brief.work() == 20


def test_what_takes_the_same_time_is_timed_once():
    alike = (SHORT, replace(SHORT, weight_decay=0.0, epochs=9, shuffled_labels=True, points=2))
    assert len({one.brief() for one in alike}) == 1
    assert replace(SHORT, width=3).brief() != SHORT.brief()
    alike = (FEATURES, replace(FEATURES, decay=(0.1, 0.1), start=1.0, steps=7))
    assert len({one.brief() for one in alike}) == 1


@pytest.mark.parametrize("decay", [(0.0, 0.0), (0.02, 0.02)])
def test_free_features_follow_the_flow_of_the_linear_network(tmp_path, decay):
    one = replace(FEATURES, learning_rate=0.01, decay=decay)
    found = run(one, tmp_path).trace
    W, H = one.layers()
    N, Y = 18, np.eye(3)[:, one.labels]
    model = lw.Linear(w1=H, w2=W, cross=Y / N, input_cov=np.eye(N) / N, decay=decay[0])
    maps = lw.solve(model, found.clock)["map"]
    own = maps[:, one.labels, np.arange(N)]
    for c, members in enumerate(one.labels == c for c in range(3)):
        assert found["strength"][:, c] == pytest.approx(own[:, members].mean(1), abs=2e-3), c
    assert found["strength"][-1, 0] > 0.2


def test_free_features_descend_by_the_gradient_of_their_loss(tmp_path):
    one = replace(FEATURES, decay=(0.05, 0.02), start=0.5, steps=3, points=3, learning_rate=0.3)
    found = run(one, tmp_path).trace
    W, H = (torch.from_numpy(part).requires_grad_() for part in one.layers())
    Y = torch.eye(3, dtype=torch.float64)[:, one.labels]
    for step in range(4):
        loss = ((W @ H - Y) ** 2).sum() / 36 + 0.025 * (W**2).sum() + 0.01 * (H**2).sum()
        assert found["loss"][step] == pytest.approx(loss.item(), rel=1e-12)
        assert found["weight_norm"][step] == pytest.approx(W.detach().norm(dim=1).numpy())
        first = H.detach()[:, :9].square().sum(0).mean().sqrt().item()
        assert found["feature_norm"][step, 0] == pytest.approx(first)
        assert found["spectrum"][step] == pytest.approx(np.linalg.svdvals(H.detach().numpy()))
        W.grad = H.grad = None
        loss.backward()
        with torch.no_grad():
            W -= 0.3 * W.grad
            H -= 0.3 * H.grad
    assert found.clock.tolist() == pytest.approx([0, 0.3, 0.6, 0.9])
    assert found.provenance.clock == "gradient-flow time"


def test_without_decay_collapse_comes_from_the_small_start(tmp_path):
    small, large = (
        run(LinearFeatures(start=start, steps=8000, points=2), tmp_path).trace
        for start in (1e-4, 1.0)
    )
    assert small["nc1"][-1] < 1e-12
    assert small["angle"][-1] < 1e-6
    assert large["nc1"][-1] > 0.1
    assert large["angle"][-1] > 0.1
    assert small["strength"][-1] == pytest.approx(1.0, abs=1e-6)
    # rows without bias end orthogonal: their offset from the simplex is known, and gone if centred
    assert small["nc3"][-1] == pytest.approx(2 - 2 * np.sqrt(4 / 5), abs=1e-6)
    assert small["nc3_centred"][-1] < 1e-6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_per_class": (8,)}, "two or more classes"),
        ({"n_per_class": (8, 0)}, r"two or more classes with samples, got \(8, 0\)"),
        ({"dim": 0}, "dim must be at least 1, got 0"),
        ({"start": 0.0}, "start must be positive and finite"),
        ({"decay": (0.1, -0.1)}, "decay must be two numbers from 0"),
        ({"decay": (0.1,)}, "decay must be two numbers from 0"),
    ],
)
def test_bad_features_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        LinearFeatures(**fields)
