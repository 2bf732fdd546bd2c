import subprocess
import sys

import pytest

import layerwise as lw

HEAVY = ("torch", "matplotlib", "scipy.integrate")
SOLVE = "lw.solve(lw.Scalar(1.0, [0.1, 0.3], [0.2, -0.1]), [0.0, 1.0])"
FLOW = "lw.solve(lw.Scalar(1.0, [0.1, 0.3], [0.2, -0.1], decay=0.1), [0.0, 1.0], 'flow')"
DECAY = "lw.solve(lw.Scalar(1.0, [0.1, 0.3], [0.2, -0.1], decay=1e-6), [0.0, 1.0])"


def loaded_after(code):
    """Return those of the heavy modules that a fresh interpreter has after running `code`."""
    report = f"import sys; print([name for name in {HEAVY} if name in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    return eval(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "code",
    [
        "import layerwise",
        "import layerwise; dir(layerwise); layerwise.__version__",
        "import layerwise.trace, layerwise.measures, layerwise.theory",
        "from layerwise import Trace, Provenance, Scalar, Diagonal, Shallow, solve, time_to",
        f"import layerwise as lw; {SOLVE}.trace()",
        "import layerwise as lw; lw.time_to(lw.Diagonal(1.0, 0.1, 0.1), level=0.5)",
        "import layerwise as lw; lw.measures.gamma_plus([1.0], [0.5], 2.0)",
    ],
)
def test_what_is_light_stays_light(code):
    assert loaded_after(code) == []


@pytest.mark.parametrize("code", [FLOW, DECAY, f"{SOLVE}.residual()", f"{SOLVE}.cite()"])
def test_theory_never_loads_torch_or_matplotlib(code):
    assert set(loaded_after(f"import layerwise as lw; {code}")) <= {"scipy.integrate"}


@pytest.mark.parametrize("room", ["trace", "measures", "theory"])
def test_rooms_that_never_load_torch_work_without_it(room):
    code = (
        "import sys; sys.modules['torch'] = sys.modules['matplotlib'] = None; "
        f"import layerwise as lw, layerwise.{room}; {SOLVE}; {FLOW}; {DECAY}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "command", [["-m", "layerwise"], ["-c", "from layerwise.cli import main; main()"]]
)
def test_help_answers_without_heavy_modules(command):
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "reproduce" in ran.stdout
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert "layerwise.cli" in imported
    assert imported.isdisjoint(HEAVY)


def test_dir_names_the_public_contract():
    expected = {
        "Diagonal",
        "NotSolvable",
        "Provenance",
        "Scalar",
        "Shallow",
        "Solution",
        "Trace",
        "TraceError",
        "__version__",
        "measures",
        "plot",
        "reproduce",
        "solve",
        "theory",
    }
    assert expected <= set(dir(lw))
    assert set(lw.__all__) <= set(dir(lw))
    assert dir(lw) == sorted(dir(lw))


@pytest.mark.parametrize("name", lw.__all__)
def test_every_public_name_is_there(name):
    assert getattr(lw, name) is getattr(lw, name)


def test_names_are_those_of_their_rooms():
    assert lw.solve is lw.theory.solve
    assert lw.Scalar is lw.theory.Scalar
    assert lw.__version__.count(".") == 2


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'layerwise' has no attribute 'Perceptron'"):
        lw.Perceptron  # noqa: B018
    assert not hasattr(lw, "sovle")


def test_networks_without_torch_name_the_extra():
    code = "import sys; sys.modules['torch'] = None; import layerwise as lw; lw.networks"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "layerwise.networks needs PyTorch: pip install 'layerwise[torch]'" in done.stderr
