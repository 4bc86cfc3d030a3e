# Plumbline: `make run` and `make test` do all set-up on a fresh machine; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
CONFIG ?= configs/testbed.toml
APPROVE ?= ask
DATABASE ?= sqlite
NAME ?= run
PYTEST_ARGS ?=

# Telemetry of every library is off, here and in every process started from here.
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export GX_ANALYTICS_ENABLED := false
export HF_HUB_DISABLE_TELEMETRY := 1
export DVC_NO_ANALYTICS := true
export AIRFLOW__USAGE_DATA_COLLECTION__ENABLED := False
export SCARF_ANALYTICS := false
export TOKENIZERS_PARALLELISM := false

# A find-links folder for pip serves uv too: there the right PyTorch build may lie.
export UV_FIND_LINKS := $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS))

.PHONY: help
help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.installed: pyproject.toml constraints.txt infra/install.sh
	PYTHON="$(PYTHON)" infra/install.sh
	touch $@

.PHONY: install
install: .venv/.installed ## Make .venv and install everything from the lock

.PHONY: data
data: .venv/.installed ## Make the embedded data, exactly as data.dvc pins it
	infra/data.sh

.PHONY: run
run: .venv/.installed ## Run the pipeline on the embedded default; CONFIG=FILE, APPROVE=unattended
	infra/data.sh
	$(BIN)/python -m plumbline_airflow.local run --config $(CONFIG) --approve $(APPROVE)

.PHONY: approve
approve: .venv/.installed ## Answer for a waiting candidate: RUN=ID DECISION=approve|reject REASON="..."
	$(BIN)/python -m plumbline_airflow.local approve --run "$(RUN)" --decision "$(DECISION)" --reason "$(REASON)"

.PHONY: up
up: .venv/.installed ## Start Airflow and MLflow with their UIs; DATABASE=postgresql, CONFIG=FILE; Ctrl-C stops them
	infra/data.sh
	$(BIN)/python -m plumbline_airflow.local up --config $(CONFIG) --database $(DATABASE)

.PHONY: check
check: .venv/.installed ## Format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: test
test: check ## All tests
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

.PHONY: bench
bench: .venv/.installed ## One benchmark, NAME=run|alignment|gates|refusals|...; ends with one line of JSON
	$(BIN)/python -m benchmarks.$(NAME)

.PHONY: lock
lock: .venv/.installed ## Resolve constraints.txt anew
	$(BIN)/uv pip compile pyproject.toml --all-extras --upgrade --python-version 3.11 --no-annotate --no-header \
	  --no-emit-find-links -q -o constraints.txt
	sed -i -E 's/^(torch==[^+]+)\+.*/\1/' constraints.txt

.PHONY: clean
clean: ## Remove runs, models, releases and data (not .venv)
	rm -rf .plumbline releases data
