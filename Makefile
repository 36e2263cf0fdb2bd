# Two commands: `make demo` and `make test`. Both set up what they need; the second time is quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYPROJECT := pyproject.toml src/ollama_otel/_version.py

# uv installs several times faster than pip; where it cannot be had, pip does the same.
HAS_UV = $(shell test -x $(BIN)/uv && echo yes)
INSTALL = $(if $(HAS_UV),$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python,$(BIN)/python -m pip install) --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test live counterparts wheel versions sdk lint types build docs-tables bench compare clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 13

demo: $(VENV)/.demo ## Trace a small application into a local MLflow and show the trace
	@$(BIN)/ollama-otel demo

test: $(VENV)/.test ## The fast tests: no network, no server
	$(BIN)/python -m pytest -m "not live and not wheel"

live: $(VENV)/.live ## The tests against real servers (Ollama, MLflow, collector, Chromium)
	$(BIN)/python -m pytest -m live tests/live

counterparts: $(VENV)/.live ## Get the real servers ready (builds what is not on PATH)
	$(BIN)/python tests/live/counterparts.py prepare

wheel: build $(VENV)/.test ## The built wheel and sdist, in clean environments
	$(BIN)/python -m pytest -m wheel tests/wheel

versions: $(VENV)/.test ## The fast tests on the oldest and newest supported versions (needs uv)
	$(BIN)/python tests/run_versions.py

sdk: $(VENV)/.test ## The SDK's own tests, with and without us (needs uv)
	$(BIN)/python tests/sdk_suite.py

lint: $(VENV)/.lint ## Style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.lint $(VENV)/.live ## Static types, strict
	$(BIN)/mypy

build: $(VENV)/.lint ## Wheel and sdist into dist/
	@rm -rf dist
	$(BIN)/python -m build $(if $(HAS_UV),--installer uv)

docs-tables: $(VENV)/.test ## The tables in docs/ that are made from what the tests prove
	$(BIN)/python tests/behaviour_docs.py
	$(BIN)/python tests/mapping_docs.py

bench: $(VENV)/.test ## Cost per call beside the peers
	$(BIN)/python benchmarks/cost.py

compare: $(VENV)/.live ## What MLflow shows of each way of tracing, into docs/comparison.md
	$(BIN)/python benchmarks/fidelity.py --markdown

clean: ## Remove all that was made here
	rm -rf $(VENV) dist build artifacts .mypy_cache .pytest_cache .ruff_cache .coverage

$(VENV)/.base: $(PYPROJECT)
	@echo "Setting up $(VENV) (once; a minute or two)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet uv || echo "no uv to be had: pip will do"
	@touch $@

$(VENV)/.demo: $(VENV)/.base
	@$(INSTALL) -e ".[cli,instruments,mlflow]"
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	@$(INSTALL) --group test
	@touch $@

$(VENV)/.live: $(VENV)/.test
	@$(INSTALL) --group live
	@touch $@

$(VENV)/.lint: $(VENV)/.test
	@$(INSTALL) --group lint
	@touch $@
