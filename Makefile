# One command each: `make demo` shows the main job, `make test` runs the tests, `make check` is what every commit passes.

PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/sh

.PHONY: demo test check conformance lint types format pages pull bench lock wheel mcpb clean

demo: .venv/ready
	@$(BIN)/python server.py pull
	@$(BIN)/python docs/demo.py

test: .venv/ready-dev
	$(BIN)/python -m pytest

check: lint types test

# The protocol's own scenarios, the MCP Inspector and mcpb, which npm brings; where it cannot, each says so and is skipped.
conformance: .venv/ready-dev
	$(BIN)/python -m pytest -m conformance tests/conformance -q -rsP

lint: .venv/ready-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: .venv/ready-dev
	$(BIN)/mypy
	$(BIN)/pyright

format: .venv/ready-dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# What is written from the code and held against it by a test: docs/tools.md and tests/tools.json.
pages: .venv/ready-dev
	$(BIN)/python docs/tools_page.py
	$(BIN)/python -m tests.snapshot

pull: .venv/ready
	@$(BIN)/python server.py pull

bench: .venv/ready-dev
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/overhead.py
	$(BIN)/python bench/outage.py
	$(BIN)/python bench/sandbox.py
	$(BIN)/python bench/memory.py
	$(BIN)/python bench/routing.py
	$(BIN)/python bench/cascade.py
	$(BIN)/python bench/sharing.py

wheel: .venv/ready-dev
	$(BIN)/python -m hatchling build --target wheel

# The bundle that hosts install by a double click: what the wheel holds, and the manifest. Needs Node.
MCPB := npx --yes @anthropic-ai/mcpb@2.1.2
mcpb: .venv/ready-dev
	rm -rf build/mcpb
	mkdir -p build/mcpb dist
	$(BIN)/python -m hatchling build --target wheel --directory build/mcpb
	$(BIN)/python -m zipfile --extract build/mcpb/*.whl build/mcpb
	cp manifest.json pyproject.toml README.md LICENSE build/mcpb/pointsman
	$(MCPB) validate build/mcpb/pointsman/manifest.json
	$(MCPB) pack build/mcpb/pointsman dist/pointsman.mcpb

# The pinned requirements carry hashes and no addresses, so they hold for any package index. Those of the Dockerfile: -team.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --group dev pyproject.toml -o requirements-dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra postgres --extra redis --extra telemetry pyproject.toml -o requirements-team.txt

.venv/ready: requirements.txt docs/install.sh
	PYTHON="$(PYTHON)" sh docs/install.sh requirements.txt
	@touch $@

.venv/ready-dev: requirements-dev.txt docs/install.sh
	PYTHON="$(PYTHON)" sh docs/install.sh requirements-dev.txt
	@touch .venv/ready $@

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
