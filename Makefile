# Each target may be the first one ever run: the environment is made on the way.
PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin
# Ray starts a Python for every worker: without compiled bytecode each of them compiles everything again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help quickstart test tour conformance faults cluster bench lint lock wheel clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

quickstart: .venv/.complete ## environment, data, a real sweep, its table and picture: under 5 minutes on 2 cores
	$(BIN)/sweep run quickstart
	$(BIN)/python -m reports.build

test: .venv/.complete ## the default test suite
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

tour: .venv/.complete ## type the README's tour: two minutes on 2 cores
	$(BIN)/python -m pytest -q -m tour tests/test_readme.py

conformance: .venv/.complete ## every algorithm and scheduler through ask, report, error, kill, restore, and the longer sweeps: fifteen minutes on 2 cores
	$(BIN)/python -m pytest -q -m conformance tests

faults: .venv/.complete ## kill workers, drivers, nodes, stores and disks under real sweeps: about 15 minutes
	$(BIN)/python -m pytest -q -m faults tests/sweeper

cluster: .venv/.complete ## a cluster of three hosts on this machine, started, used and broken: about 5 minutes; needs root
	$(BIN)/python -m pytest -q -rs -m cluster tests/cluster

bench: .venv/.complete ## every benchmark with short settings, and which bars are met: under half an hour on 2 quiet cores
	$(BIN)/python -m benchmarks

lint: .venv/.complete ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

lock: .venv/.complete ## refresh requirements.lock from pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra aws --extra dev --extra gcp --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml --output-file requirements.lock

wheel: .venv/.complete ## build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean: ## remove the environment and build results; sweeps stay
	rm -rf .venv build dist

.venv/.complete: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes --requirements requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@
