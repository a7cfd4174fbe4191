# One command each: `make demo` shows the main job, `make test` runs the tests, `make check` is what every commit passes.

PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/sh

.PHONY: demo test check lint types format pull bench lock wheel clean

demo: .venv/ready
	@$(BIN)/python server.py pull
	@$(BIN)/python docs/demo.py

test: .venv/ready-dev
	$(BIN)/python -m pytest

check: lint types test

lint: .venv/ready-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: .venv/ready-dev
	$(BIN)/mypy
	$(BIN)/pyright

format: .venv/ready-dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

pull: .venv/ready
	@$(BIN)/python server.py pull

bench: .venv/ready-dev
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/overhead.py
	$(BIN)/python bench/outage.py
	$(BIN)/python bench/sandbox.py
	$(BIN)/python bench/memory.py

wheel: .venv/ready-dev
	$(BIN)/python -m hatchling build --target wheel

# The pinned requirements carry hashes and no addresses, so they hold for any package index.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --group dev pyproject.toml -o requirements-dev.txt

.venv/ready: requirements.txt docs/install.sh
	PYTHON="$(PYTHON)" sh docs/install.sh requirements.txt
	@touch $@

.venv/ready-dev: requirements-dev.txt docs/install.sh
	PYTHON="$(PYTHON)" sh docs/install.sh requirements-dev.txt
	@touch .venv/ready $@

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
