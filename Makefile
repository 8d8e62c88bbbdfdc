# The front door. `make` alone lists what there is.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MILVUS := build/milvus/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test long lint faults bench bench-peers constraints

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv and install Twintide with all that tests need

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Twintide needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time: torch is large)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# Kafka too, so that no test waits for it; whoever has another (TWINTIDE_TEST_KAFKA) needs none.
	-@$(BIN)/python -c 'from streaming.local_kafka import find_jars; find_jars(print)'
	@touch $@

demo: setup ## The whole line on this machine: Kafka, training, versions, answers, a rollback
	$(BIN)/twintide demo

test: setup ## The quick suite: what every change must pass
	$(BIN)/pytest -n 3 --dist worksteal

lint: setup ## ruff, mypy, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(MILVUS): constraints.txt $(STAMP)
	@echo "a Milvus for tests, into $(dir $@): in the environment itself its pandas would slow every start"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
		--target $(dir $@) -c constraints.txt pymilvus milvus-lite pandas cachetools orjson
	@touch $@

long: setup $(MILVUS) ## What is too long for the quick suite: demo, kills, loads, a soak of two minutes
	$(BIN)/pytest -n 2 --dist loadfile -m 'long and not faults'

faults: setup ## The long fault sweeps: kills, full disks, damaged files
	$(BIN)/pytest -m faults

bench: setup ## Every benchmark, one after the other
	@set -e; for file in benchmarks/*.py; do \
		name=$$(basename $$file .py); \
		case $$name in _*) continue ;; esac; \
		echo "== $$name"; $(BIN)/python -m benchmarks.$$name; \
	done

bench-peers: setup ## The learner beside TorchRec and TensorFlow Recommenders (some gigabytes)
	@test -d build/peers || $(BIN)/python -m benchmarks.peers make
	$(BIN)/python -m benchmarks.peers

constraints: ## Pin the newest versions that fit in constraints.txt
	@rm -rf build/venv && $(PYTHON) -m venv build/venv
	@build/venv/bin/python -m pip install --quiet --disable-pip-version-check '.[dev,milvus]' milvus-lite
	@{ head -1 constraints.txt; build/venv/bin/python -m pip freeze | grep -v '^twintide'; } > build/constraints.txt
	@mv build/constraints.txt constraints.txt && rm -rf build/venv
