# `make` lists the targets. The first target that needs the environment creates it in .venv.
.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow soak check audit bench ui lock

BIN := .venv/bin
READY := .venv/.ready
# for two cores: tests also wait. Each process loads its own TensorFlow (about 1 GB)
WORKERS ?= 3
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=10 --durations-min=5

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

$(READY): requirements.lock requirements-uv.lock pyproject.toml scripts/setup.sh
	@MAKE_TARGET="$(firstword $(MAKECMDGOALS))" PYTHON="$(PYTHON)" scripts/setup.sh

setup: $(READY) ## create .venv from the lock files (choose an interpreter with PYTHON=python3.12)

run: $(READY) ## run the whole pipeline: download, preprocess, train, evaluate
	@$(BIN)/convtrack run

test: $(READY) ## run the tests; takes minutes, needs no network
	$(PYTEST) -m "not slow"

test-slow: $(READY) ## run the long tests: whole trainings, all of CIFAR-10 (archive in CONVTRACK_CIFAR10_JPEG)
	$(PYTEST) -m slow

soak: $(READY) ## run random kills, full disks and broken input for hours; CONVTRACK_SOAK=20 sets the repeats
	@seed=$${CONVTRACK_SEED:-$$(date +%s)} rounds=$${CONVTRACK_SOAK:-20}; \
	echo "CONVTRACK_SEED=$$seed CONVTRACK_SOAK=$$rounds"; \
	CONVTRACK_SEED=$$seed CONVTRACK_SOAK=$$rounds $(PYTEST) -m soak --hypothesis-seed=$$seed

check: $(READY) ## check formatting, lint, types and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(READY) ## check the lock files for known vulnerabilities; needs the network
	@$(BIN)/uv tool run pip-audit@2.10.1 --strict --disable-pip --progress-spinner off \
		-r requirements.lock -r requirements-uv.lock $(ARGS) \
		|| { echo "make audit: failed. A failed look-up counts as a failure" >&2; exit 1; }

bench: $(READY) ## list the benchmarks, or run one: make bench NAME=machine (NAME=all for all)
	@$(BIN)/python benchmarks $(NAME) $(ARGS)

ui: $(READY) ## browse the runs in MLflow on http://127.0.0.1:5000
	@$(BIN)/convtrack tracking follow
	@$(BIN)/convtrack tracking browse http://127.0.0.1:5000 &
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --workers 1

lock: $(READY) ## update the lock files from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --upgrade -o requirements.lock
	echo uv | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --upgrade -o requirements-uv.lock
