# `make` alone explains each target. The environment is made in .venv by the first target that needs it.
.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow soak check audit bench ui lock

BIN := .venv/bin
READY := .venv/.ready
# two processes halve the time of the tests on a small machine; each loads its own TensorFlow (about 1 GB)
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=10 --durations-min=5

help: ## explain the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

$(READY): requirements.lock requirements-uv.lock pyproject.toml scripts/setup.sh
	@MAKE_TARGET="$(firstword $(MAKECMDGOALS))" PYTHON="$(PYTHON)" scripts/setup.sh

setup: $(READY) ## make .venv from the lock files (PYTHON=python3.12 to choose one)

run: $(READY) ## the whole pipeline: download, preprocess, train, evaluate, and where to look next
	@$(BIN)/convtrack run

test: $(READY) ## the tests, offline, in minutes
	$(PYTEST) -m "not slow"

test-slow: $(READY) ## the long tests: all of CIFAR-10 (CONVTRACK_CIFAR10_JPEG names the archive), whole trainings
	$(PYTEST) -m slow

soak: $(READY) ## random kills, full disks and broken input, for hours; CONVTRACK_SOAK=20 repeats each so often
	@seed=$${CONVTRACK_SEED:-$$(date +%s)} rounds=$${CONVTRACK_SOAK:-20}; \
	echo "CONVTRACK_SEED=$$seed CONVTRACK_SOAK=$$rounds"; \
	CONVTRACK_SEED=$$seed CONVTRACK_SOAK=$$rounds $(PYTEST) -m soak --hypothesis-seed=$$seed

check: $(READY) ## formatting, lint, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(READY) ## hold the lock files against known vulnerabilities; needs the network
	@$(BIN)/uv tool run pip-audit@2.10.1 --strict --disable-pip --progress-spinner off \
		-r requirements.lock -r requirements-uv.lock $(ARGS) \
		|| { echo "make audit: not passed. What could not be looked up counts as that, and ends it" >&2; exit 1; }

bench: $(READY) ## name the benchmarks, or run one: make bench NAME=machine (all of them: NAME=all)
	@$(BIN)/python benchmarks $(NAME) $(ARGS)

ui: $(READY) ## look at the runs: MLflow's pages on http://127.0.0.1:5000
	@$(BIN)/convtrack tracking follow
	$(BIN)/mlflow ui

lock: $(READY) ## resolve pyproject.toml again into the lock files
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --upgrade -o requirements.lock
	echo uv | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --upgrade -o requirements-uv.lock
