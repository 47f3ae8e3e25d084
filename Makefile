# Everything runs in .venv, which `make setup` makes from uv.lock; `make help` lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
PY := .venv/bin
export HF_HUB_OFFLINE ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast lint crds images bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## .venv from uv.lock; installs uv where it is missing (every other target does this first)
	@scripts/setup.sh

demo: setup ## from `kubectl apply` to a staged model on this machine (ARCHIVE=file BASE_MODEL=folder KEEP=1)
	@$(PY)/python -m devcluster build
	@$(PY)/python -m demo

# Both halves run, whatever the first one says; the exit status is that of the last one that failed.
# loadfile: the world that the tests of a file share is made once; tests/conftest.py says which file begins first. loadgroup does not group with pytest 9.2 (pytest-xdist #1386).
test: setup ## every test: unit and convergence, then cluster and e2e (the first time builds the control plane)
	@$(PY)/python -m devcluster build
	@status=0; \
	$(PY)/pytest tests/unit tests/convergence -n 2 || status=$$?; \
	$(PY)/pytest tests/cluster tests/e2e -n 2 --dist loadfile --no-loadscope-reorder || status=$$?; \
	exit $$status

test-fast: setup ## unit and convergence tests only (fifteen minutes on two cores)
	@$(PY)/pytest tests/unit tests/convergence -n 2

lint: setup ## ruff, mypy, who may import whom, and whether the generated files are up to date
	$(PY)/ruff check .
	$(PY)/ruff format --check .
	$(PY)/mypy
	$(PY)/lint-imports --no-logo
	$(PY)/python -m attune.api.crd --check
	$(PY)/python -m attune.rest.document --check

crds: setup ## crds/*.yaml and docs/reference.md from the pydantic models, docs/openapi.json from the routes
	@$(PY)/python -m attune.api.crd
	@$(PY)/python -m attune.api.reference
	@$(PY)/python -m attune.rest.document

images: setup ## build and check the container images (docker, podman, or buildah where no engine answers)
	@scripts/images.sh

bench: setup ## retrieval quality against the plain recipe; JSON in benchmarks/results (BASE_MODEL=folder, DATA=folder: unset, docstrings)
	@[ -n "$(BASE_MODEL)" ] || { echo "make bench BASE_MODEL=folder [DATA=folder]; benchmarks/quality.py says what is in them" >&2; exit 2; }
	@$(PY)/python -m benchmarks.quality "$(BASE_MODEL)" $(if $(DATA),--data "$(DATA)")

clean: ## remove .venv and everything made here; the control plane's cache in ~/.cache/attune stays
	@[ ! -d .devcluster ] || $(PY)/python -m devcluster down
	@rm -rf .venv .devcluster build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
