# MarketLag: `make demo` and `make test` need Python 3.11 or later and PyPI, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test lint types check cost lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

install: $(VENV)/installed ## the environment in .venv, with locked packages

$(VENV)/installed: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "MarketLag needs Python 3.11 or later; name it: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@echo "installing the locked packages into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements/dev.txt
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## articles and prices of a synthetic week in, flagged hours out
	@$(BIN)/marketlag demo

test: install ## all tests that need nothing but PyPI
	@$(BIN)/python -m pytest

lint: install ## ruff
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: install ## mypy, strict
	@$(BIN)/mypy

check: test lint types ## everything that CI checks

cost: install ## CPU of the worker against the same job as a plain Faust agent
	@$(BIN)/python -m bench.cost

lock: ## renew requirements/*.txt from pyproject.toml (needs uv)
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--extra embedded --extra dev --custom-compile-command "make lock" \
		requirements/build.in pyproject.toml -o requirements/dev.txt
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" pyproject.toml -o requirements/worker.txt
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" requirements/build.in -o requirements/build.txt
	@echo uv | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" - -o requirements/uv.txt

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache demo-result
