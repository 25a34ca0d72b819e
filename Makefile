# Everything runs from .venv, which `make venv` builds; nothing outside this folder is changed.
# Variables: PYTHON=python3.12 picks the interpreter; PIP_ARGS="--extra-index-url URL" adds to pip's
# options (an index with a CPU-only torch, say).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin
PUMICE := $(BIN)/pumice
PYTHON ?=
PIP_ARGS ?=

.PHONY: help venv demo eval-demo test test-all check verify-published clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(READY) ## build .venv with the exact versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	@python=""; \
	for candidate in $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11); do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    python="$$candidate"; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Pumice needs Python 3.11 or newer; tried: $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11)." >&2; \
	  echo "Install one, or name it: make venv PYTHON=/path/to/python3.11" >&2; \
	  exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$python cannot make virtual environments (on Debian and Ubuntu: apt install python3-venv)." >&2; \
	  exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$("$$python" --version); this takes about a minute and a half, more on a slow network."; \
	"$$python" -m venv $(VENV); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	@touch $@

DEMO_PICTURE := data/easy/images/easy-2-97.png

demo: $(READY) ## make a world, train both stages on it, measure, and ask the result questions
	$(PUMICE) world make data/easy --level easy --n 4400 --validation 100 --test 300 --seed 2
	@rm -rf runs/demo # a demo starts from nothing; runs of other names are never touched
	$(PUMICE) train tiny --data data/easy --name demo
	$(PUMICE) chat runs/demo/model --image $(DEMO_PICTURE) "What color is the star?"
	$(PUMICE) chat runs/demo/model --image $(DEMO_PICTURE) "Describe the image in detail."

eval-demo: $(READY) ## write the embedded benchmarks and measure the shipped model on all of them
	$(PUMICE) world benchmarks data/benchmarks
	$(PUMICE) eval tiny --tasks all --dimensions all --blind --data data/benchmarks --out evals/tiny

check: $(READY) ## lint, format and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two processes of one thread each: tests compute little at a time, and threads that wait for each other only
# take turns. TESTS=1 runs them in one process.
TESTS ?= 2
SPREAD := $(if $(filter-out 1,$(TESTS)),-n $(TESTS) --dist worksteal)
test: check ## check, then every test that takes seconds
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest $(SPREAD)

test-all: check ## check, then every test; those that need a GPU are skipped without one
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest $(SPREAD) -m ""

DATA ?=
verify-published: $(READY) ## score published answers in DATA=FOLDER and compare with the published figures
	@test -n "$(DATA)" || { echo "Say where the published answers lie: make verify-published DATA=FOLDER" >&2; exit 2; }
	@$(BIN)/python -m pumice.score.published "$(DATA)"

clean: ## remove caches and build products; data/, runs/ and .venv stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
