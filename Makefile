# The whole interface of a fresh checkout; after `make setup`, plain Snakemake (.venv/bin/snakemake) is the interface.
PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin
SHELL := /bin/bash
# Tests that failed are run once more, alone; those that pass then are named as flaky.
REPEAT := $(BIN)/python -m pytest --last-failed --last-failed-no-failures none --flaky

.PHONY: help setup environments demo test check quick lint format pictures clean

help: ## show the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: .venv/workflow.stamp ## make .venv with the workflow's environment (does nothing when it is up to date)

.venv/bin/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/workflow.stamp: envs/workflow.txt | .venv/bin/uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r envs/workflow.txt
	touch $@

.venv/test.stamp: envs/test.txt envs/reference.txt .venv/workflow.stamp
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r envs/test.txt
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python -r envs/reference.txt
	touch $@

environments: setup ## build the CPU engines' environments (vLLM, LLaMA-Factory)
	$(BIN)/python scripts/environments.py vllm-cpu llamafactory-cpu

demo: environments ## run the whole recipe on this machine's CPU and say where the results are
	$(BIN)/python scripts/run_demo.py

test: environments .venv/test.stamp ## run all tests
	$(BIN)/python -m pytest -n 4 || { [ $$? -eq 1 ] && $(REPEAT); }

check: .venv/test.stamp ## check as `lint` does, and run the quick tests
	$(MAKE) --jobs --output-sync lint quick

quick: .venv/test.stamp ## run the quick tests
	$(BIN)/python -m pytest -n auto -q -m "not slow" tests/unit tests/workflow/test_lint.py

lint: .venv/test.stamp ## check style, types and the workflow's own rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow rules

format: .venv/test.stamp ## format Python and Snakemake code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/snakefmt Snakefile workflow rules

pictures: setup ## draw the rooms and the rules again, into README.md and docs/recipe.md
	$(BIN)/python scripts/draw_pictures.py

clean: ## remove the demo's results and store; environments stay
	rm -rf results/demo store/demo
