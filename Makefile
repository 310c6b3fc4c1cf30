# MarketLag: `make demo` and `make test` need Python 3.11 or later and PyPI, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Runs of the chaos suite at the same time; they mostly wait.
LANES ?= 3

.DEFAULT_GOAL := help
.PHONY: help install demo test test-kafka test-operations chaos teeth reliability lint types check bench flame \
	recovery scaling queries metrics-cost state feeds flink dashboards lock clean

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

test-kafka: install ## tests on a real Kafka (Java 17 and Maven, or MARKETLAG_TEST_BROKER)
	@$(BIN)/python -m pytest -m kafka

test-operations: install ## alerts, panels, image, TLS: as root on Debian, whose packages it installs
	@tests/operations/packages.sh
	@$(BIN)/python -m pytest -m operations

chaos: install ## faults on a real Kafka: make chaos SEEDS=60 FAULTS=sigkill,network
	@$(BIN)/python -m tests.chaos $(if $(SEEDS),--seeds $(SEEDS)) $(if $(FAULTS),--faults $(FAULTS)) \
		$(if $(RESULTS),--results $(RESULTS)) --lanes $(LANES)

teeth: install ## the chaos suite with guarantees switched off: it has to notice
	@$(BIN)/python -m tests.chaos --teeth --lanes $(LANES)

reliability: install ## docs/reliability.md, its table made from the results of the chaos suite
	@$(BIN)/python -m tests.chaos.report

check: test lint types test-operations test-kafka chaos teeth ## everything that CI checks

bench: install ## speed, latency and growth on a real Kafka, beside Flink, Quix and plain Faust
	@$(BIN)/python -m bench.speed
	@$(BIN)/python -m bench.latency
	@$(BIN)/python -m bench.growth
	@$(BIN)/python -m bench.scaling

flame: install ## docs/performance.svg: where Job 1 spends its time
	@$(BIN)/python -m bench.flame

recovery: install ## from SIGKILL to the first new row, with much and little state
	@$(BIN)/python -m bench.recovery

state: install ## what is kept of 60 days of news, day by day
	@$(BIN)/python -m bench.state

queries: install ## the dashboards' queries on a year of rows for 500 markets
	@$(BIN)/python -m bench.queries

metrics-cost: install ## CPU of Job 1 with its metrics and without, in turn
	@$(BIN)/python -m bench.metrics_cost

flink: install ## the golden cases on a real Flink (Java 17), beside ours: make flink ARGS="--seeds 20"
	@$(BIN)/python -m bench.flink $(ARGS)

dashboards: install ## deploy/grafana/dashboards/*.json, made by deploy/grafana/*.py
	@$(BIN)/python -m deploy.grafana

feeds: install ## a poll cycle of 200 feeds, one in ten failing
	@$(BIN)/python -m bench.feeds

scaling: install ## one, two and three workers on the same log
	@$(BIN)/python -m bench.scaling

lock: ## renew requirements/*.txt from pyproject.toml (needs uv)
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--extra embedded --extra parquet --extra dev --custom-compile-command "make lock" \
		requirements/build.in pyproject.toml -o requirements/dev.txt
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" pyproject.toml -o requirements/worker.txt
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" requirements/build.in -o requirements/build.txt
	@echo uv | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" - -o requirements/uv.txt

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache demo-result
