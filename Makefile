# Two commands are enough for a first look: `make demo` and `make test`. Everything else is one target a habit.
# The virtual environment is made once; a stamp says what is installed in it, and changes of pyproject.toml or constraints.txt renew it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= build/demo
PYTEST_WORKERS ?= 2
PYTEST_ARGS ?=

# Kernels have one thread each while tests run side by side; the command and the benchmarks choose their own.
TEST_ENV := OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=2 MKL_NUM_THREADS=1
INPUTS := pyproject.toml constraints.txt
PIP_INSTALL := PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install -qq --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz check lint format types contracts docs bench report stubs constraints clean

help: ## say what each target does
	@grep -hE '^[a-z]+:.*##' Makefile | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: $(INPUTS) | $(BIN)/python
	@echo "installing hardgrad (once)"
	$(PIP_INSTALL) -e '.[onnx]' lightgbm
	@touch $@

$(VENV)/.installed-test: $(INPUTS) | $(BIN)/python
	@echo "installing hardgrad with its tests (once)"
	$(PIP_INSTALL) -e '.[test]'
	@touch $@ $(VENV)/.installed-demo

# ISLP is here for its tables only. It asks for packages that reading them does not need, so it comes without them.
$(VENV)/.installed-dev: $(INPUTS) | $(BIN)/python
	@echo "installing hardgrad with everything for development (once)"
	$(PIP_INSTALL) -e '.[dev]'
	$(PIP_INSTALL) --no-deps ISLP
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed-demo

demo: $(VENV)/.installed-demo ## train on the bundled census table; model, SQL, C, ONNX and a report in build/demo
	@mkdir -p $(dir $(OUT))
	$(BIN)/hardgrad fit --out $(OUT)
	@echo && echo "written to $(OUT):" && ls -l $(OUT)

test: $(VENV)/.installed-test ## every test and every example in a docstring
	$(TEST_ENV) $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile $(PYTEST_ARGS)

fuzz: $(VENV)/.installed-test ## 100,000 damaged circuits of each form for every reader, some minutes
	$(TEST_ENV) $(BIN)/python -m pytest -n $(PYTEST_WORKERS) -m fuzz tests/logic -rN

# Tests come last, so that the quick answers come first and pytest's summary ends the output.
check: $(VENV)/.installed-dev ## what CI runs: lint, types, import contracts, strict docs, tests
	$(MAKE) lint
	$(MAKE) types
	$(MAKE) contracts
	$(MAKE) docs
	$(MAKE) test

lint: $(VENV)/.installed-dev ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev ## let ruff fix and format the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev ## mypy --strict on src
	$(BIN)/mypy

contracts: $(VENV)/.installed-dev ## import-linter: the floors, and artifact modules that never import torch
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev ## the site, strictly, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.installed-dev ## measure everything beside its competitors; tables go to benchmarks/results/
	@set -e; for file in $$(grep -l '^if __name__' benchmarks/[a-z]*.py | grep -v /make_); do echo "== $$file"; $(BIN)/python $$file; done

report: $(VENV)/.installed-demo ## the demo once more, and where its report lies
	$(MAKE) demo
	@echo "open $(OUT)/report.html"

stubs: ## write the typed faces of the lazy packages
	$(BIN)/python tests/stubs.py

constraints: $(VENV)/.installed-dev ## pin what is installed now into constraints.txt
	$(BIN)/python .ci/pin.py > constraints.new && mv constraints.new constraints.txt
	@touch $(VENV)/.installed-dev $(VENV)/.installed-test $(VENV)/.installed-demo

clean: ## remove what was built, but not the environment
	rm -rf build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
