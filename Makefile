# Two commands for a fresh machine: `make demo` and `make test`. Each makes .venv and installs what it needs.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where PIP_FIND_LINKS is set, wheels (torch among them) are taken from there; elsewhere uv picks torch's build for
# the machine's accelerator (CPU build without one), never gigabytes of CUDA packages on a laptop.
FIND := $(if $(PIP_FIND_LINKS),$(foreach f,$(PIP_FIND_LINKS),--find-links $(f)),--torch-backend=auto)
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt $(FIND)

.PHONY: demo test test-slow bench lint format clean

demo: $(VENV)/.demo
	$(BIN)/radwright demo --out runs/demo

test: $(VENV)/.dev lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

# Every benchmark of benchmarks/, tables and all, into bench/; about forty minutes on one core.
bench: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench.py --out bench

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Radwright needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/uv
	$(INSTALL) --editable ".[train,metrics,learned]"
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/uv
	$(INSTALL) --editable ".[dev]"
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
