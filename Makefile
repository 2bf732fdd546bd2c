# Two commands on a fresh machine: `make demo` and `make test`. Both install into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint install bench docs clean

demo: .venv/installed
	@echo "layerwise demo: reproduce the phenomena at laptop size, beside their exact theory."
	@$(BIN)/layerwise data mnist || echo "MNIST cannot be had: the demo goes on with a stand-in."
	@$(BIN)/layerwise reproduce emergence depth collapse lazy-rich clock grokking --size laptop --out runs/demo

test: .venv/developed lint
	$(BIN)/python -m pytest

lint: .venv/developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: .venv/installed

bench: .venv/benchmarked
	$(BIN)/layerwise data mnist
	$(BIN)/python benchmarks/figure8_training.py
	$(BIN)/python benchmarks/theory_speed.py
	$(BIN)/python benchmarks/emergence_step.py
	$(BIN)/python benchmarks/scaling_sums.py
	$(BIN)/python benchmarks/collapse_measures.py
	$(BIN)/python benchmarks/ensembles.py
	$(BIN)/python benchmarks/ntk.py
	$(BIN)/python benchmarks/probe.py

docs: .venv/documented
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -d docs/_build/doctrees docs docs/_build/html
	@echo "open docs/_build/html/index.html"

clean:
	rm -rf docs/_build docs/gallery .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit( \
	  f"layerwise needs Python 3.11 to 3.13, found {v[0]}.{v[1]}; say make PYTHON=python3.12")'
	@echo "installing into .venv (PyTorch is large: this takes a minute or more) ..."
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/installed: .venv/python pyproject.toml
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[all]'
	@touch $@

.venv/developed: .venv/installed pyproject.toml
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[all,dev]'
	@touch $@

.venv/benchmarked: .venv/developed
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[all,dev,bench]'
	@# nngeometry asks for torchvision, which it never imports and which would replace our PyTorch
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps 'nngeometry==0.4'
	@touch $@

.venv/documented: .venv/installed pyproject.toml
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[all,docs]'
	@touch $@
