"""Every scored scenario of the protocol's own conformance suite, for both eras.

product          every scenario that needs nothing but an MCP server
fixture server   every scenario: the product with the tools, prompts and resources that scenarios name (`fixture_server.py`)
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.conformance import npm
from tests.conformance.npm import Program
from tests.test_transports import SERVER, environment, serving
from tests.upstream import Upstream

pytestmark = pytest.mark.conformance
REVISIONS = ("2026-07-28", "2025-11-25")
FIXTURE_SERVER = ("-m", "tests.conformance.fixture_server")
NEEDS_A_FIXTURE = {
    "tools-call-": "a tool that gives just this content, log, progress or question",
    "elicitation-": "a tool that asks with just these fields",
    "input-required-result-": "a tool or a prompt that asks in just these rounds",
    "prompts-get-": "a prompt of this name and text",
    "resources-read-": "a resource of this address and content",
    "resources-templates-": "a template of this address",
    "resources-subscribe": "subscriptions as 2025-11-25 had them; ours are those of 2026-07-28, `subscriptions/listen`",
    "resources-unsubscribe": "the same",
    "completion-complete": "a prompt of this name with an argument to complete",
    "logging-set-level": "logging, which 2026-07-28 dropped and we never offered",
    "server-stateless": "a tool that calls for a capability of the client: two of its 28 checks",
}
"""Why a scenario says nothing of the product itself, by the beginning of its name."""

ONLY_A_FIXTURE_SHOWS = {"sep-2575-server-rejects-undeclared-capability", "sep-2575-missing-capability-http-400"}
"""Checks of ``server-stateless`` that call a tool which calls for a capability of the client."""


@pytest.fixture(scope="module")
def conformance() -> Program:
    return npm.conformance()


@contextmanager
def quiet_server(home: Path, program: Sequence[str]) -> Generator[int]:
    with Upstream() as upstream:
        env = {**environment(home, upstream), "POINTSMAN_LOG_LEVEL": "CRITICAL"}
        with serving("streamable-http", env, program) as port:
            yield port


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Generator[int]:
    with quiet_server(tmp_path_factory.mktemp("product"), (SERVER,)) as port:
        yield port


@pytest.fixture(scope="module")
def fixture_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[int]:
    with quiet_server(tmp_path_factory.mktemp("fixture_server"), FIXTURE_SERVER) as port:
        yield port


def ran(conformance: Program, port: int, revision: str, results: Path) -> subprocess.CompletedProcess[str]:
    url = f"http://127.0.0.1:{port}/mcp"
    return conformance.run("server", "--url", url, "--requirements", revision, "-o", str(results))


@cache
def scored(conformance: Program, revision: str) -> set[str]:
    """The scenarios that a server of a revision must pass."""
    listed = conformance.run("list", "--requirements", revision).stdout
    servers = listed.partition("Server scenarios")[2].partition("Client scenarios")[0]
    return set(re.findall(r"^  - (\S+)$", servers, re.MULTILINE))


def failures_in(results: Path) -> dict[str, set[str]]:
    """The ids of the failed checks of each scenario that ran."""
    failures: dict[str, set[str]] = {}
    for file in results.glob("server-*/checks.json"):
        scenario = re.sub(r"^server-(.+)-\d{4}-\d\d-\d\dT.*$", r"\1", file.parent.name)
        checks = json.loads(file.read_text(encoding="utf-8"))
        failures[scenario] = {check["id"] for check in checks if check["status"] == "FAILURE"}
    return failures


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_scored_scenario_passes_against_the_fixture_server(
    conformance: Program, fixture_server: int, tmp_path: Path, revision: str
) -> None:
    result = ran(conformance, fixture_server, revision, tmp_path / "results")

    wanted, failures = scored(conformance, revision), failures_in(tmp_path / "results")
    passed = {name for name in wanted if failures.get(name) == set()}
    print(f"{revision}, fixture server: {len(passed)} of {len(wanted)} scored scenarios passed")  # noqa: T201 - the count
    assert len(wanted) >= 30
    assert passed == wanted, result.stdout
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_scored_scenario_that_needs_no_fixture_passes_against_the_product(
    conformance: Program, product: int, tmp_path: Path, revision: str
) -> None:
    result = ran(conformance, product, revision, tmp_path / "results")

    wanted = {name for name in scored(conformance, revision) if not name.startswith(tuple(NEEDS_A_FIXTURE))}
    failures = failures_in(tmp_path / "results")
    passed = {name for name in wanted if failures.get(name) == set()}
    print(f"{revision}, product: {len(passed)} of {len(wanted)} scenarios passed: {', '.join(sorted(passed))}")  # noqa: T201 - the count
    assert len(wanted) >= 7
    assert passed == wanted, result.stdout
    assert failures.get("server-stateless", ONLY_A_FIXTURE_SHOWS) == ONLY_A_FIXTURE_SHOWS, result.stdout
