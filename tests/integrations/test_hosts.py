"""No host is imported before it is used; one that is not there names the extra that brings it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import layerwise as lw
from layerwise.integrations.hosts import missing
from layerwise.integrations.logged import known_as, renamed

HOSTS = ("accelerate", "lightning", "pytorch_lightning", "torchmetrics", "transformers")


def output(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_no_host_is_imported_before_it_is_used():
    code = (
        "import sys, layerwise as lw, layerwise.integrations; dir(lw.integrations);"
        f"print([name for name in {(*HOSTS, 'torch')} if name in sys.modules])"
    )
    assert output(code) == ["[]"]


def test_hosts_that_are_not_there_name_their_extra():
    code = f"""
import sys
for name in {HOSTS}:
    sys.modules[name] = None
import layerwise as lw
for room in lw.integrations.__all__:
    try:
        getattr(lw.integrations, room)
    except ModuleNotFoundError as error:
        print(error)
"""
    assert output(code) == [
        "layerwise.integrations.huggingface needs accelerate: pip install 'layerwise[huggingface]'",
        "layerwise.integrations.lightning needs lightning: pip install 'layerwise[lightning]'",
        "layerwise.integrations.torchmetrics needs torchmetrics: "
        "pip install 'layerwise[torchmetrics]'",
    ]


def test_an_error_inside_of_a_host_is_its_own():
    error = ModuleNotFoundError("No module named 'tokenizers'", name="tokenizers")
    assert missing(error, "huggingface", "transformers", "accelerate") is error


def test_an_unknown_room_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"layerwise.integrations' has no attribute 'keras'"):
        lw.integrations.keras  # noqa: B018
    assert dir(lw.integrations) == ["huggingface", "lightning", "torchmetrics"]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("train_loss", "train_loss"),
        ("Train/Acc", "train_accuracy"),
        ("training.accuracy", "train_accuracy"),
        ("valid_loss", "test_loss"),
        ("validation/accuracy", "test_accuracy"),
        ("test acc", "test_accuracy"),
        ("eval_loss", "test_loss"),
        ("eval_train_accuracy", "train_accuracy"),
        ("loss", "train_loss"),
        ("accuracy", None),
        ("train_loss_epoch", None),
        ("val_test_loss", None),
        ("eval_runtime", None),
        ("train_runtime", None),
        ("layerwise/norm/loss", None),
        ("", None),
    ],
)
def test_what_hosts_log_is_known(name, known):
    assert known_as(name) == known


def test_names_of_the_user_come_first_and_what_is_no_number_is_left_out():
    logged = {"val_loss": 1.0, "val_nll": 2.0, "train_acc": "good", "top1": 0.5}
    assert renamed(logged, {"val_loss": "bound", "val_nll": "test_loss"}) == {
        "bound": 1.0,
        "test_loss": 2.0,
    }
