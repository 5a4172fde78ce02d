# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
export UV_PROJECT_ENVIRONMENT := .venv
# A test starts hundreds of processes; none of them shall compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test test-long chaos bench lint servers wheel lock clean

help:
	@echo "make demo       a simulated night, everything embedded"
	@echo "make test       all checks and tests"
	@echo "make test-long  the long property tests"
	@echo "make chaos      kills the engine at every commit point, and 200 times at random"
	@echo "make bench      the benchmarks (never while tests run)"
	@echo "make lock       renew requirements.lock"

install: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml .ci/install.sh
	@PYTHON=$(PYTHON) sh .ci/install.sh
	@touch $@

demo: install
	@$(BIN)/catcher demo $(ARGS)

servers:
	@sh .ci/servers.sh

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: install servers lint
	$(BIN)/pytest -n 2 --dist loadfile
	$(BIN)/catcher check
	$(BIN)/catcher test
	sh .ci/wheel.sh

test-long: install servers
	CATCHER_HYPOTHESIS=long $(BIN)/pytest -m "long or not long" --timeout 3600

chaos: install servers
	CATCHER_CHAOS=whole $(BIN)/pytest tests/chaos

bench: install servers
	$(BIN)/python -m benchmarks

UV = $(shell command -v uv || echo .tools/bin/uv)

lock: install
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf .venv .tools dist
