# One-line targets; the work is in tests/ and the packages. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
UV_VERSION := 0.13.9
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python -m
# Groups of tests to leave out by name, comma-separated: make test SKIP=cluster,servers
SKIP ?=
export CONTEXT REGISTRY

.PHONY: help venv check lint types unit test demo images crds bench cluster-up cluster-down clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

venv: .venv/.stamp ## the Python environment in .venv, from uv.lock

.venv/.stamp: pyproject.toml uv.lock tests/support/bootstrap.sh
	@bash tests/support/bootstrap.sh "$(PYTHON)" "$(UV_VERSION)"
	@touch $@

check: venv ## the fast loop: lint, types, unit tests (under a minute when warm)
	@bash tests/support/check.sh

crds: venv ## render crds/*.yaml from the models, with the chart's copy
	$(RUN) mailsync_api.crd --write crds
	cp crds/*.yaml charts/mailsync/files/crds/

images: venv ## build the operator, syncjob and test images
	$(RUN) tests.images build

cluster-up: venv ## a cluster to test on: CONTEXT=..., kind, or a local single-node one
	$(RUN) tests.cluster up

cluster-down: venv ## stop that cluster and leave nothing behind
	$(RUN) tests.cluster down

demo: venv ## migrate a real mailbox between two real servers on a real cluster
	$(RUN) tests.demo

test: venv ## all tests (SKIP=cluster,servers leaves groups out by name)
	@$(RUN) tests.run --skip "$(SKIP)"

bench: venv ## timings beside peers, as ratios
	$(RUN) tests.bench $(ARGS)

clean: ## remove what was built in the checkout
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
