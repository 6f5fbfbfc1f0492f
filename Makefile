# make demo | make test | make check ...; `make PYTHON=python3.12 test` picks another interpreter.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
JOBS   ?= 2
DEMO   ?=
PYTEST ?=
MUTANTS ?=
BENCH  ?= examples/gsa.gsa

.DEFAULT_GOAL := help
.PHONY: help install demo fmt check test mutants golden bench docs clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[test,dev]'
	touch $@

install: $(STAMP) ## make .venv with the package and its tools

demo: $(STAMP) ## compile, verify and train a small model: DEMO='--steps 50' passes options
	$(BIN)/python examples/run_demo.py $(DEMO)

fmt: $(STAMP) ## format and fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: $(STAMP) ## lint, formatting and types, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: $(STAMP) ## the whole suite: PYTEST='-k nn' passes options
	$(BIN)/python -m pytest -n $(JOBS) --dist=worksteal $(PYTEST)

mutants: $(STAMP) ## faults in copies of the compiler, and whether verification sees them: MUTANTS='--only select' passes options
	$(BIN)/python -m tests.mutants --jobs $(JOBS) $(MUTANTS)

golden: $(STAMP) ## rewrite the expected outputs under tests/golden
	$(BIN)/python -m pytest -n $(JOBS) --dist=worksteal --update-goldens tests

bench: $(STAMP) ## measure specs beside SDPA and FlexAttention on the GPU at hand: BENCH='examples/msa.gsa --lengths 32768'
	$(BIN)/gsa bench $(BENCH)

docs: $(STAMP) ## build the documentation into site/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[docs]'
	$(BIN)/python -m mkdocs build --strict

clean: ## remove everything that was built
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
