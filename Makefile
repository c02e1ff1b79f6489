# make demo and make test each need nothing but Python >= 3.11: they make their own environment.
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# The numerical libraries' own threads only fight each other over a test worker's core.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types imports bench format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/installed-demo ## install, then train and compare on the embedded world (runs/demo)
	$(BIN)/dsa demo --out runs/demo

test: $(VENV)/installed-dev ## install, then every check: lint, types, imports, tests, notebooks
	$(MAKE) --no-print-directory check

check: lint types imports ## every check, in the environment that is already there
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --nbmake

lint: $(VENV)/installed-dev ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev ## mypy, strict
	$(BIN)/mypy

imports: $(VENV)/installed-dev ## import-linter: the packages' one direction
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/installed-bench ## install the peers, measure speed, write benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.speed

format: $(VENV)/installed-dev ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment, the caches and what a build left (runs/ stays)
	rm -rf $(VENV) .cache build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "dsa-env needs Python >= 3.11; '$(PYTHON)' is not. Try: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed-demo: $(VENV)/created pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (once; some minutes) ..."
	$(PIP_INSTALL) -e ".[encoders,agents]"
	@touch $@

$(VENV)/installed-dev: $(VENV)/created pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (once; some minutes) ..."
	$(PIP_INSTALL) -e ".[all]"
	@touch $@

$(VENV)/installed-bench: $(VENV)/created pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (once; some minutes) ..."
	$(PIP_INSTALL) -e ".[encoders,agents,bench]"
	@touch $@
