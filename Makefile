# Every target installs what it needs into .venv; nothing else on the machine is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint format bench clean

help: ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

venv: $(VENV)/installed ## make .venv, from which the programs in bin/ run

demo: $(VENV)/installed ## bring a whole grid up, run a campaign of 200 tasks on it, take it down again
	@bin/cigri-local demo

test: lint ## everything that runs without root: lint, types, all tests
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadscope

lint: $(VENV)/installed-dev ## ruff, mypy, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/installed-dev ## put the code into its form
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

bench: $(VENV)/installed-dev ## measure; not part of the tests
	@for bench in tests/bench/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

clean: ## remove what the other targets made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or later is needed: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' || \
	    { echo "Python's venv is needed (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python setup.cfg pyproject.toml etc/constraints.txt
	$(PIP) install --constraint etc/constraints.txt --editable '.[local]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install --constraint etc/constraints.txt --editable '.[local,dev]'
	@touch $@
