# `make help` lists the targets. Everything runs in .venv, made by `make setup` from uv.lock.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
PY := .venv/bin
export HF_HUB_OFFLINE ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast lint crds images bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: ## install uv where it is missing, and everything of uv.lock into .venv
	@scripts/setup.sh

demo: setup ## from kubectl apply to a staged model, on this machine (ARCHIVE=, BASE_MODEL=, KEEP=1)
	@$(PY)/python -m devcluster build
	@$(PY)/python -m demo

test: setup ## every test: unit, convergence, cluster, e2e (builds the control plane the first time)
	@$(PY)/python -m devcluster build
	$(PY)/pytest tests -n 2 --dist loadgroup -m "not images"

test-fast: setup ## unit and convergence only: seconds
	$(PY)/pytest tests/unit tests/convergence -n 2

lint: setup ## ruff, mypy, import contracts, generated CRDs up to date
	$(PY)/ruff check .
	$(PY)/ruff format --check .
	$(PY)/mypy
	$(PY)/lint-imports
	$(PY)/python -m attune.api.crd --check

crds: setup ## generate crds/*.yaml from the pydantic models
	$(PY)/python -m attune.api.crd

images: setup ## build and check the container images (docker, podman, or buildah without an engine)
	scripts/images.sh

bench: setup ## benchmarks; results as JSON in benchmarks/results (minutes to hours)
	$(PY)/python -m benchmarks.quality

clean: ## remove what was built here; the shared cache (~/.cache/attune) stays
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
