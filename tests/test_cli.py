"""The terminal, as a person and as a program use it: real processes against a loopback upstream."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.state.postgres_server import database_of, needs_postgres
from tests.upstream import Upstream

ROOT = Path(__file__).resolve().parent.parent


class Terminal:
    """Runs commands in a home of its own."""

    def __init__(self, home: Path, upstream: Upstream) -> None:
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "POINTSMAN_HOME": str(home),
            "POINTSMAN_DISCOVER": "false",
            "POINTSMAN_LOCAL_MODEL": "off",
            "POINTSMAN_ANALYZER": "learned",  # nobody is asked about a task: every request is its own
            "OPENAI_API_KEY": "sk-canary",
            "OPENAI_BASE_URL": upstream.url,
        }

    def run(self, *arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "server.py"), *arguments],
            env={**self.env, **env},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        result = self.run(*arguments, "--json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)


@pytest.fixture
def terminal(tmp_path: Path, upstream: Upstream) -> Terminal:
    return Terminal(tmp_path / "home", upstream)


def test_ask_prints_the_answer_on_stdout_and_the_bill_on_stderr(terminal: Terminal) -> None:
    result = terminal.run("ask", "What is the capital of France?")

    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "Paris."
    assert "openai/" in result.stderr
    assert "20 + 5 tokens" in result.stderr


def test_ask_verifies_code_by_the_tests_of_a_file_and_says_what_was_found(terminal: Terminal, tmp_path: Path) -> None:
    tests = tmp_path / "tests.py"
    tests.write_text("assert f(2) == 4", encoding="utf-8")

    result = terminal.run("ask", "Write f.", "--model", "openai/gpt-4.1", "--verify", "code", "--tests", str(tests))
    nothing = terminal.run("ask", "Write f.", "--tests", str(tmp_path / "none.py"))

    assert result.returncode == 0, result.stderr
    assert "answer · openai/gpt-4.1 · failed: its code cannot be parsed" in result.stderr
    assert nothing.returncode != 0
    assert "cannot be read" in nothing.stderr


def test_ask_takes_a_schema_and_a_number_of_samples(terminal: Terminal, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}', encoding="utf-8")

    formed = terminal.json("ask", "Hi.", "--model", "openai/gpt-4.1", "--schema", str(schema))
    alike = terminal.json("ask", "Hi.", "--model", "openai/gpt-4.1", "--verify", "self", "--samples", "7")
    schema.write_text("[]", encoding="utf-8")
    broken = terminal.run("ask", "Hi.", "--schema", str(schema))

    assert [step["checked"][-1] for step in formed["verification"]] == ["schema", "schema"]
    assert len(alike["attempts"]) == 5  # two thirds of seven agree
    assert "must hold one JSON object" in broken.stderr


def test_ask_json_is_the_result_of_route_and_answer(terminal: Terminal) -> None:
    data = terminal.json("ask", "What is the capital of France?", "--model", "openai/gpt-4.1")

    assert data["response"] == "Paris."
    assert data["model_used"] == "openai/gpt-4.1"
    assert data["actual_cost_usd"] == (20 * 2 + 5 * 8) / 1_000_000
    assert data["session_id"].startswith("ses_")


def test_a_session_goes_on_by_its_id_or_as_the_last_one(terminal: Terminal, upstream: Upstream) -> None:
    first = terminal.json("ask", "My name is Ada.")
    terminal.json("ask", "What is my name?", "--session", first["session_id"])
    terminal.json("ask", "And again?", "--session", "last")

    said = [message["content"] for message in upstream.requests[2].body["messages"] if message["role"] == "user"]
    assert said == ["My name is Ada.", "What is my name?", "And again?"]


def test_a_prompt_can_come_from_standard_input(terminal: Terminal, upstream: Upstream) -> None:
    terminal.run("ask", "-", stdin="Summarise this.")

    assert upstream.requests[0].body["messages"][-1]["content"] == "Summarise this."


def test_classify_jsonl_gives_one_analysis_a_line_in_order(terminal: Terminal, tmp_path: Path) -> None:
    prompts = ["Prove that the square root of 2 is irrational.", "Translate 'good morning' into French.", "hola"]
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))

    from_file = terminal.run("classify", "--jsonl", str(file))
    from_stdin = terminal.run("classify", "--jsonl", "-", stdin=file.read_text())

    assert from_file.returncode == 0, from_file.stderr
    assert from_file.stdout == from_stdin.stdout
    lines = [json.loads(line) for line in from_file.stdout.splitlines()]
    assert [line["category"] for line in lines] == ["deep_reasoning", "text_generation", "qa_retrieval"]
    assert all(1 <= line["complexity"] <= 5 for line in lines)
    assert [line["profile"] for line in lines] == ["general", "general", "small_talk"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{broken\n", ":1 is not JSON"),
        ('{"prompt": "x"}\n{"text": "y"}\n', ":2 has no prompt"),
        ("[]\n", ":1 has no prompt"),
    ],
)
def test_a_line_that_holds_no_prompt_is_named(terminal: Terminal, tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(content)

    result = terminal.run("classify", "--jsonl", str(file))

    assert result.returncode == 1
    assert said in result.stderr


def test_a_byte_order_mark_and_blank_lines_do_no_harm(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + b'{"prompt": "hola"}\r\n\r\n{"prompt": "hi"}\r\n')

    result = terminal.run("classify", "--jsonl", str(file))

    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2


def test_a_settings_file_that_is_not_utf8_is_named(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".env").write_bytes("OPENAI_API_KEY=x".encode("utf-16"))

    result = terminal.run("models")

    assert result.returncode == 1
    assert ".env is not UTF-8" in result.stderr
    assert "Traceback" not in result.stderr


def test_estimate_prices_every_model_on_the_same_tokens(terminal: Terminal) -> None:
    data = terminal.json("estimate", "--input-tokens", "2000", "--output-tokens", "500", "--turns", "10", "--all")

    costs = {row["model_id"]: row["cost_usd"] for row in data["models"]}
    assert costs["anthropic/claude-opus-4"] == 0.675
    assert costs["google/gemini-2.5-flash"] == 0.0185


def test_models_lists_what_is_configured_and_all_lists_the_rest(terminal: Terminal) -> None:
    configured = terminal.json("models")
    everything = terminal.json("models", "--all")

    assert {row["provider"] for row in configured["models"]} == {"openai"}
    assert len(everything["models"]) > len(configured["models"])


def test_refreshing_prices_writes_a_registry_of_ones_own_that_is_read_from_then_on(
    terminal: Terminal, tmp_path: Path
) -> None:
    overlay = tmp_path / "home" / "registry.json"
    overlay.parent.mkdir()
    overlay.write_text('{"models": {"openai/gpt-4.1": {"tier": 2}}}')

    result = terminal.run("models", "--refresh", "--all", "--json")

    assert result.returncode == 0, result.stderr
    rows = {row["model_id"]: row for row in json.loads(result.stdout)["models"]}
    written = json.loads(overlay.read_text())["models"]
    assert rows["openai/gpt-4.1"]["tier"] == 2
    assert "openai/o3" not in written
    assert all("prices" in row for model_id, row in written.items() if model_id != "openai/gpt-4.1")


def test_doctor_says_what_is_configured_and_where_the_data_lies(terminal: Terminal, upstream: Upstream) -> None:
    findings = {row["subject"]: row for row in terminal.json("doctor")}

    assert findings["openai"]["state"] == "ok"
    assert upstream.url in findings["openai"]["detail"]
    assert findings["anthropic"]["detail"] == "not configured: set ANTHROPIC_API_KEY"
    assert findings["home"]["detail"] == terminal.env["POINTSMAN_HOME"]


def test_doctor_live_asks_the_providers_and_tells_what_the_ledger_saw(terminal: Terminal, upstream: Upstream) -> None:
    terminal.json("ask", "hi", "--model", "openai/gpt-4.1")

    well = {row["subject"]: row for row in terminal.json("doctor", "--live")}
    upstream.status = 401
    badly = {row["subject"]: row for row in terminal.json("doctor", "--live")}

    assert well["openai, live"]["detail"] == "answers, and takes the key"
    assert well["openai/gpt-4.1"]["detail"].startswith("1 calls in a day, 0% failed")
    assert badly["openai, live"]["state"] == "problem"
    assert "the key of openai was not accepted (401)" in badly["openai, live"]["detail"]


COST_OF_AN_ANSWER = 20 * 2 + 5 * 8
"""In micro-dollars: gpt-4.1 at 2 and 8 dollars a million tokens."""


@pytest.fixture(scope="module")
def asked_twice(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """A terminal whose ledger has two tasks; nothing is asked any more."""
    with Upstream() as upstream:
        terminal = Terminal(tmp_path_factory.mktemp("asked"), upstream)
        for prompt in ("What is the capital of France?", "And of Italy?"):
            terminal.json("ask", prompt, "--model", "openai/gpt-4.1")
    return terminal


def day(offset: int) -> str:
    return (datetime.now(UTC) + timedelta(days=offset)).date().isoformat()


def test_report_says_what_was_spent_and_breaks_it_down(asked_twice: Terminal) -> None:
    result = asked_twice.run("report", "--by", "category", COLUMNS="200")

    assert result.returncode == 0, result.stderr
    assert "2 tasks, 2 answered, 0 failed" in result.stdout
    (row,) = [line for line in result.stdout.splitlines() if "qa_retrieval" in line]
    assert f"{2 * COST_OF_AN_ANSWER / 1e6:.6f}" in row


def test_report_json_is_the_data_of_usage_report(asked_twice: Terminal) -> None:
    data = asked_twice.json("report")

    assert data["totals"]["cost_usd"] == 2 * COST_OF_AN_ANSWER / 1e6
    assert data["totals"]["input_tokens"] == 40
    assert [group["name"] for group in data["groups"]["model"]] == ["openai/gpt-4.1"]
    assert [decision["model"] for decision in data["recent"]] == ["openai/gpt-4.1"] * 2


@pytest.mark.parametrize("form", ["--csv", "--jsonl"])
def test_report_exports_a_line_for_every_call_with_what_it_cost(asked_twice: Terminal, form: str) -> None:
    text = asked_twice.run("report", form).stdout

    lines: list[dict[str, Any]] = (
        [*csv.DictReader(io.StringIO(text))] if form == "--csv" else [json.loads(line) for line in text.splitlines()]
    )
    assert [int(line["cost_microusd"]) for line in lines] == [COST_OF_AN_ANSWER] * 2
    assert {line["model_id"] for line in lines} == {"openai/gpt-4.1"}
    assert len({line["route_id"] for line in lines}) == 2


def test_report_since_a_day_leaves_out_what_was_before(asked_twice: Terminal) -> None:
    assert asked_twice.json("report", "--since", day(-1))["totals"]["tasks"] == 2
    assert asked_twice.json("report", "--since", day(1))["totals"]["tasks"] == 0
    assert len(asked_twice.run("report", "--csv", "--since", day(-1)).stdout.splitlines()) == 3
    assert len(asked_twice.run("report", "--csv", "--since", day(1)).stdout.splitlines()) == 1


def test_report_without_a_task_says_how_to_begin(terminal: Terminal) -> None:
    assert "no task was delegated" in terminal.run("report").stdout


def test_report_takes_a_period_or_a_day_not_both(terminal: Terminal) -> None:
    result = terminal.run("report", "--period", "day", "--since", day(-1))

    assert result.returncode == 1
    assert "give --period or --since, not both" in result.stderr


def test_no_command_ever_prints_the_key(terminal: Terminal) -> None:
    for command in (["ask", "hi"], ["models"], ["doctor"], ["classify", "hi"], ["estimate", "hi"]):
        result = terminal.run(*command, POINTSMAN_LOG_LEVEL="DEBUG")
        assert result.returncode == 0, result.stderr
        assert "sk-canary" not in result.stdout + result.stderr


def test_a_settings_file_in_the_home_folder_is_read_and_the_environment_wins(
    terminal: Terminal, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".env").write_text("ANTHROPIC_API_KEY=sk-ant\nOPENAI_BASE_URL=http://127.0.0.1:9/v1\n")

    findings = {row["subject"]: row for row in terminal.json("doctor")}

    assert findings["anthropic"]["state"] == "ok"
    assert "127.0.0.1:9/" not in findings["openai"]["detail"]


def test_a_misspelt_command_offers_the_nearest(terminal: Terminal) -> None:
    result = terminal.run("askk", "hi")
    assert result.returncode == 2
    assert "Did you mean 'ask'" in result.stderr


def test_prompts_are_scored_in_order_for_a_pair_that_was_learned_of(terminal: Terminal) -> None:
    lines = "\n".join(json.dumps({"prompt": prompt}) for prompt in ("What is 7 times 8?", "Who wrote Faust?", "Hi"))
    pair = ("--pair", "mixtral-8x7b-instruct,gpt-4-1106-preview", "--jsonl", "-")

    result, again = (terminal.run("score", *pair, stdin=lines) for _ in range(2))

    scores = [json.loads(line)["score"] for line in result.stdout.splitlines()]
    assert len(set(scores)) == 3
    assert all(isinstance(score, float) for score in scores)
    assert again.stdout == result.stdout


def test_models_of_the_registry_are_scored_by_what_it_knows_of_them(terminal: Terminal) -> None:
    pair = ("--pair", "openai/gpt-4.1-nano,openai/gpt-4.1", "--jsonl", "-")
    assert json.loads(terminal.run("score", *pair, stdin='{"prompt": "Why?"}').stdout)["score"] > 0


@pytest.mark.parametrize(
    ("pair", "line", "said"),
    [
        ("gpt-4-1106-preview", "{}", "names two models"),
        ("mixtral-8x7b-instruct,gpt-4-1106-preview", '{"prompt": 1}', "line 1 is not an object"),
        ("mixtral-8x7b-instruct,gtp-5", '{"prompt": "x"}', "nothing is known of a model 'gtp-5'"),
    ],
)
def test_what_cannot_be_scored_ends_with_one_line_that_says_why(
    terminal: Terminal, pair: str, line: str, said: str
) -> None:
    result = terminal.run("score", "--pair", pair, "--jsonl", "-", stdin=line)

    assert result.returncode == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_models_that_the_registry_does_not_have_are_learned_and_scored_by_their_outcomes(
    terminal: Terminal, tmp_path: Path
) -> None:
    rows = [
        {
            "prompt": f"Tell me about {('birds', 'engines')[place % 2]}, part {place}",
            "scores": {"gone/a": place % 2, "gone/b": 1},
        }
        for place in range(240)
    ]
    rows[0]["scores"] = {"gone/a": 0, "gone/b": 0}
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    trained = terminal.run("train", "--data", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out"))
    lines = '{"prompt": "Tell me about birds"}\n{"prompt": "Tell me about engines"}'
    pair = ("--pair", "gone/a,gone/b", "--jsonl", "-", "--weights", str(tmp_path / "out"))
    birds, engines = (
        json.loads(line)["score"] for line in terminal.run("score", *pair, stdin=lines).stdout.splitlines()
    )

    assert (
        "nothing is calibrated: 0 prompts were answered by the same 3 models or more at known costs" in trained.stderr
    )
    assert birds > engines + 0.2


def test_training_on_a_folder_without_data_says_so(terminal: Terminal, tmp_path: Path) -> None:
    result = terminal.run("train", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out"))

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_was_asked_and_scored_is_learned_from_the_ledger(terminal: Terminal, tmp_path: Path) -> None:
    to_learn = ("train", "--ledger", "--out", str(tmp_path / "out"))
    terminal.run("ask", "What is the capital of France?")
    unkept = terminal.run(*to_learn)
    terminal.run("ask", "What is the capital of Spain?", POINTSMAN_KEEP_PROMPTS="true")
    terminal.run("feedback", "last", "1")
    kept = terminal.run(*to_learn)

    assert unkept.returncode == kept.returncode == 1
    assert "Set POINTSMAN_KEEP_PROMPTS=true" in unkept.stderr
    assert "1 different prompts, 100 are needed" in kept.stderr


def test_an_answer_is_scored_by_its_id_or_as_the_last(terminal: Terminal) -> None:
    terminal.run("ask", "What is the capital of France?")
    last = terminal.run("feedback", "last", "0.5", "--note", "too short")
    unknown = terminal.run("feedback", "rte_none", "0.5")

    assert "is scored 0.5" in last.stderr
    assert terminal.json("report")["recent"][0]["score"] == 0.5
    assert unknown.returncode == 1
    assert "there is no route of that id" in unknown.stderr


def test_training_on_nothing_says_what_can_be_learned_from(terminal: Terminal, tmp_path: Path) -> None:
    assert "give --data FOLDER, --ledger, or both" in terminal.run("train", "--out", str(tmp_path)).stderr


def listed(terminal: Terminal, *options: str, **env: str) -> list[str]:
    """The tools that a server with these options lists on stdio."""
    opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    messages: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize", "params": opening},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list"},
    ]
    command = [sys.executable, str(ROOT / "server.py"), *options]
    pipe, env = subprocess.PIPE, {**terminal.env, **env}
    with subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.writelines(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages)
        server.stdin.flush()
        answers = (json.loads(line) for line in server.stdout)
        found = next(answer["result"]["tools"] for answer in answers if answer.get("id") == 2)
        server.stdin.close()  # which ends it, and would also end a call under way
    return [tool["name"] for tool in found]


def test_options_say_which_tools_are_offered_and_win_over_variables(terminal: Terminal) -> None:
    by_variable = {"POINTSMAN_TOOLSETS": "report", "POINTSMAN_DISABLE_TOOLS": "usage_report"}
    options = ("--toolsets", "memory,report", "--read-only", "--disable-tools", "memory_list")

    assert listed(terminal, **by_variable) == ["record_feedback"]
    assert listed(terminal, *options, **by_variable) == ["memory_search", "usage_report"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--toolsets", "wbe"), "did you mean web?"),
        (("--disable-tools", "web_serch"), "did you mean web_search?"),
        (("--toolsets", "report", "--disable-tools", "usage_report,record_feedback"), "no tool is left to offer"),
        (("--transport", "sse", "--port", "1", "--disable-tools", "web_serch"), "did you mean web_search?"),
    ],
)
def test_a_misspelt_option_ends_the_start_with_one_line(
    terminal: Terminal, options: tuple[str, ...], said: str
) -> None:
    result = terminal.run(*options)

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


def test_replay_says_what_other_policies_would_have_cost(terminal: Terminal) -> None:
    assert terminal.run("ask", "What is the capital of France?", "--model", "openai/gpt-4.1").returncode == 0
    assert terminal.run("ask", "What is the capital of France?").returncode == 0

    data = terminal.json("replay", "--policy", "openai/gpt-4.1", "--policy", "matrix", "--since", "week")
    table = terminal.run("replay")

    always, matrix = data["policies"]
    assert (data["routes"], data["scored"], data["done"]["agreement"]) == (2, 0, 1.0)
    # what was forced stays; the other has 20 × 2 + 5 × 8 on that model
    assert (always["policy"], always["cost_microusd"]["value"]) == ("openai/gpt-4.1", 80 + 80)
    assert matrix["cost_difference_microusd"]["value"] == 0
    assert table.returncode == 0, table.stderr
    assert "best_quality" in table.stdout
    assert "none of them scored: quality is only forecast" in table.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--since", "yesterday"], "--since yesterday is neither a day"),
        (["--policy", "openai/gpt-4.0"], "there is no model 'openai/gpt-4.0'"),
    ],
)
def test_replay_names_what_it_cannot_read(terminal: Terminal, arguments: list[str], said: str) -> None:
    result = terminal.run("replay", *arguments)

    assert result.returncode == 1
    assert said in result.stderr


def test_a_command_at_the_terminal_asks_no_second_model(terminal: Terminal, upstream: Upstream) -> None:
    shadows = {"POINTSMAN_SHADOW_SHARE": "1", "POINTSMAN_SHADOW_MODEL": "openai/gpt-4.1"}

    assert terminal.run("ask", "What is the capital of France?", **shadows).returncode == 0
    assert len(upstream.requests) == 1


@needs_postgres
def test_what_a_home_kept_goes_on_in_postgresql(terminal: Terminal, tmp_path: Path) -> None:
    session_id = terminal.json("ask", "What is the capital of France?")["session_id"]
    url = database_of(tmp_path)

    moved = terminal.json("migrate", "--to", url)
    terminal.env["POINTSMAN_DATABASE_URL"] = url
    again = terminal.json("ask", "And of Spain?", "--session", session_id)
    back = terminal.json("migrate", "--from", url, "--to", f"sqlite:{tmp_path / 'back.db'}")

    assert (moved["routes"], moved["sessions"], moved["messages"]) == (1, 1, 2)
    assert again["session_id"] == session_id
    assert (back["routes"], back["sessions"], back["messages"]) == (2, 1, 4)
    assert "PostgreSQL" in {row["subject"]: row["detail"] for row in terminal.json("doctor")}["ledger"]
    assert "is not empty" in terminal.run("migrate", "--to", url).stderr


def test_a_place_that_is_none_is_not_moved_to(terminal: Terminal) -> None:
    assert "name a store as home, sqlite:PATH or postgresql://" in terminal.run("migrate", "--to", "store.db").stderr
