"""The rules on a table of prompts of our own, and on what must hold for any prompt.

`prompts.tsv` holds a category, the complexities that a person would accept, a language and a prompt (with ``\\n`` for a line
break). The rules were tuned on it, so it guards against going back; it does not measure how they do on the next prompt.
"""

from __future__ import annotations

import csv
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.analyzer import RulesAnalyzer
from routing.analyzer.language import language_of
from routing.analyzer.rules import LONG_CONTEXT_TOKENS, Evidence, classify, shares_of
from routing.tokens import TokenCounter
from routing.types import CATEGORIES, Category, Constraints, Image, Message, Task, TaskAnalysis

TABLE = Path(__file__).with_name("prompts.tsv")
MILLION = 1_000_000
LONG_PARAGRAPH = "The committee heard the witness and adjourned until the following week without a decision. "


def rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as lines:
        table = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [{**row, "prompt": row["prompt"].replace("\\n", "\n")} for row in table]


def wrong(right: Callable[[dict[str, str]], bool], among: Iterable[dict[str, str]]) -> list[str]:
    return [row["prompt"] for row in among if not right(row)]


def is_category(row: dict[str, str]) -> bool:
    return classify(row["prompt"]).category == row["category"]


def is_complexity(row: dict[str, str]) -> bool:
    low, high = map(int, row["complexity"].split("-"))
    return low <= classify(row["prompt"]).complexity <= high


def is_language(row: dict[str, str]) -> bool:
    return language_of(classify(row["prompt"]).reading.asked) == row["language"]


async def analysis_of(prompt: str, **task: object) -> TaskAnalysis:
    return await RulesAnalyzer(TokenCounter(Path("nowhere"))).analyze(Task(prompt=prompt, **task))  # type: ignore[arg-type] # the test names real fields


@pytest.mark.parametrize("right", [is_category, is_complexity, is_language])
def test_the_table_is_read_as_a_person_would_read_it(right: Callable[[dict[str, str]], bool]) -> None:
    table = rows()
    mistakes = wrong(right, table)
    assert len(mistakes) <= 0.03 * len(table), mistakes


@pytest.mark.parametrize("category", CATEGORIES)
def test_no_category_is_neglected(category: Category) -> None:
    table = [row for row in rows() if row["category"] == category]
    mistakes = wrong(is_category, table)
    assert len(table) >= 20
    assert len(mistakes) <= 0.1 * len(table), mistakes


def test_spanish_is_read_as_well_as_english() -> None:
    by_language = defaultdict[str, list[dict[str, str]]](list)
    for row in rows():
        by_language[row["language"]].append(row)
    for language in ("en", "es"):
        assert len(wrong(is_category, by_language[language])) <= 0.04 * len(by_language[language])


def test_confidence_is_higher_where_the_rules_are_right() -> None:
    sure = [row for row in rows() if classify(row["prompt"]).confidence > 0.8]
    assert len(sure) > 100
    assert wrong(is_category, sure) == []


def test_nothing_to_go_by_means_little_confidence() -> None:
    assert classify("blue wooden seventeen").confidence < 0.4


@pytest.mark.parametrize("greeting", ["hi", "Hello there!", "thanks", "¡Hola!", "bonjour", "你好", "नमस्ते", "привет"])
def test_a_greeting_is_a_trivial_question(greeting: str) -> None:
    found = classify(greeting)
    assert (found.category, found.complexity) == ("qa_retrieval", 1)
    assert found.confidence > 0.8


def test_a_greeting_before_a_task_does_not_make_it_trivial() -> None:
    found = classify("Hi! Please implement a lock-free, concurrent hash map in Rust, with tests")
    assert found.category == "complex_coding"
    assert found.complexity >= 4


CODE = "```python\ndef f(xs):\n    for x in xs:\n        print(x)\n```"


@pytest.mark.parametrize(
    ("instruction", "category"),
    [
        ("Translate the comments in this to Spanish:", "text_generation"),
        ("Fix the bug in this function:", "complex_coding"),
        ("Write a limerick inspired by this:", "text_generation"),
        ("Is the author of this positive or negative about loops?", "classification"),
    ],
)
def test_what_is_asked_outweighs_what_is_pasted(instruction: str, category: Category) -> None:
    assert classify(f"{instruction}\n\n{CODE}").category == category
    assert classify(f"{CODE}\n\n{instruction}").category == category


def test_a_paste_of_8000_tokens_makes_a_summary_a_long_document() -> None:
    assert classify("Summarise this:\n\n" + LONG_PARAGRAPH * 5).category == "text_generation"
    assert classify("Summarise this:\n\n" + LONG_PARAGRAPH * 400).category == "long_document"


def test_a_long_listing_stays_code() -> None:
    listing = "\n".join(f"def f{number}(x):\n    return x + {number}" for number in range(400))
    found = classify(f"Fix the bug in this Python module, the tests fail with a TypeError:\n```python\n{listing}\n```")
    assert found.category == "complex_coding"


def test_the_system_prompt_counts_a_little() -> None:
    ticket = "My invoice shows the amount twice"
    alone = classify(ticket).shares["classification"]
    assert classify(ticket, system="You are a classifier. Label each ticket.").shares["classification"] > alone


def test_wanting_tools_speaks_for_acting_and_a_schema_for_extraction() -> None:
    plain = classify("the flights to Oslo").shares
    assert classify("the flights to Oslo", tools=["web_search"]).shares["agentic_tool_use"] > plain["agentic_tool_use"]
    assert classify("the flights to Oslo", schema=True).shares["classification"] > plain["classification"]


@pytest.mark.parametrize(
    ("prompt", "pattern", "role"),
    [
        ("What is the capital of Peru?", "augmented", "single"),
        ("Which team should take this ticket?", "routing", "classifier"),
        ("Break it into tasks and assign workers to each.", "orchestrator_workers", "planner"),
        ("Summarise each of the five reviews in parallel.", "parallelization", "single"),
        ("Write a slogan, critique and improve it until it is under six words.", "evaluator_optimizer", "single"),
        ("Extract the names, and use that output to write a letter.", "prompt_chaining", "single"),
        ("Grade this answer using this rubric.", "augmented", "evaluator"),
        ("Revise your answer based on the feedback.", "augmented", "optimizer"),
        ("Combine the following answers into one answer.", "augmented", "synthesizer"),
        ("You are a worker agent; do only this subtask.", "augmented", "worker"),
        ("Evalúa esta respuesta según la rúbrica.", "augmented", "evaluator"),
    ],
)
def test_the_pattern_and_the_role_come_from_plain_cues(prompt: str, pattern: str, role: str) -> None:
    found = classify(prompt)
    assert (found.pattern, found.role) == (pattern, role)


@pytest.mark.parametrize(
    ("easier", "harder"),
    [
        ("Write a web server", "Write a web server that is distributed, fault tolerant and lock-free"),
        ("Write a story", "Write a story. It must rhyme, include a dragon, avoid dialogue, and end without a moral."),
        ("Explain gravity", "Explain gravity in depth. Why is it weak? What carries it? How was it measured?"),
        ("Explain gravity in one sentence", "Explain gravity"),
        (
            "Plan a move",
            "First plan a move, then compare three firms, after that draft a budget, finally list the risks",
        ),
    ],
)
def test_demands_raise_complexity(easier: str, harder: str) -> None:
    assert classify(easier).complexity < classify(harder).complexity


@given(st.lists(st.tuples(st.sampled_from(CATEGORIES), st.floats(-5, 5)), max_size=20))
def test_shares_sum_to_one_and_more_evidence_never_lowers_its_category(pieces: list[tuple[Category, float]]) -> None:
    evidence = [Evidence(label="", weights={category: weight}) for category, weight in pieces]
    shares = shares_of(evidence)
    assert sum(shares.values()) == pytest.approx(1)
    for category in CATEGORIES:
        more = shares_of([*evidence, Evidence(label="", weights={category: 1.0})])
        assert more[category] >= shares[category]


@given(st.text(max_size=300), st.text(max_size=50))
def test_any_text_is_classified_and_always_alike(prompt: str, system: str) -> None:
    found = classify(prompt, system=system)
    assert found == classify(prompt, system=system)
    assert 1 / len(CATEGORIES) <= found.confidence <= 1
    assert 1 <= found.complexity <= 5


RUNS = {
    "letters": "a",
    "spaces": " ",
    "tabs": "\t",
    "line breaks": "\n",
    "blank lines": " \t\n",
    "quotes": '"',
    "opening quotes": "“",
    "fences": "```",
    "tags": "<abc>",
    "dollars": "$=a",
    "digits": "1",
    "spaced digits": "1 ",
    "dashed digits": "12-",
    "addresses": "a@",
    "brackets": "a(",
    "lists": "ab, ",
    "slashes": "a/b/",
    "labels": "ab:\n",
    "selects": "SELECT ",
    "quantifiers": "all cats are red ",
    "words": "write a ",
    "cards": "4111 1111 1111 1112 ",
    "accounts": "ES12 1234 ",
    "secrets": "password: aaaaaaaaaaaaaaaaaaaaaaaaaaaa ",
    "chinese": "你好",
    "emoji": "👩‍",
}


@pytest.mark.anyio
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
async def test_a_megabyte_of_anything_is_analysed_at_once(run: str) -> None:
    """About 30 ms each on a quiet machine; a pattern that backtracks would take minutes."""
    prompt = (run * (MILLION // len(run)))[:MILLION]
    started = time.process_time()
    await analysis_of(prompt)
    assert time.process_time() - started < 0.5


SECRET = "sk-live-4f9a8b7c6d5e4f3a2b1c0d9e"


@pytest.mark.anyio
async def test_a_secret_is_reported_and_never_repeated() -> None:
    analysis = await analysis_of(f"Why does this key not work? {SECRET}")
    assert analysis.sensitive
    assert "holds an API key" in analysis.reasoning
    assert SECRET[:10] not in analysis.reasoning


@pytest.mark.anyio
@given(prompt=st.text(max_size=400))
async def test_reasoning_is_one_short_line_of_ascii_in_our_own_words(prompt: str) -> None:
    reasoning = (await analysis_of(prompt)).reasoning
    assert reasoning.isascii()
    assert reasoning.isprintable()
    assert len(reasoning) <= 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    "prompt",
    [
        "写一首关于春天的诗、然后翻译成英文",
        "Напиши стихотворение про весну",
        (
            f"{SECRET} password=hunter22 4111 1111 1111 1111 ES91 2100 0418 4502 0005 1332 123-45-6789 a@b.com 600 123 456\n"
            "First search the web, then write a function. It must be scalable, distributed, concurrent; avoid locks."
        ),
    ],
)
async def test_reasoning_stays_ascii_and_short_where_there_is_much_to_say(prompt: str) -> None:
    reasoning = (await analysis_of(prompt)).reasoning
    assert reasoning.isascii()
    assert len(reasoning) <= 200


@pytest.mark.anyio
async def test_reasoning_says_what_it_was_read_from() -> None:
    analysis = await analysis_of("Fix the bug. It must keep the API.\n" + CODE)
    assert analysis.reasoning.startswith(f"complex_coding {analysis.confidence:.2f} (")
    assert "code" in analysis.reasoning
    assert "1 constraints" in analysis.reasoning
    assert f"complexity {analysis.complexity}" in analysis.reasoning


@pytest.mark.anyio
async def test_the_input_estimate_covers_system_and_history() -> None:
    alone = await analysis_of("What next?")
    history = (Message(role="user", content="word " * 100), Message(role="assistant", content="word " * 100))
    more = await analysis_of("What next?", system="word " * 100, history=history)
    assert more.estimated_input_tokens - alone.estimated_input_tokens == pytest.approx(300, rel=0.1)
    assert not more.input_tokens_exact


@pytest.mark.anyio
async def test_a_long_window_is_needed_above_sixty_thousand_tokens() -> None:
    words = LONG_CONTEXT_TOKENS
    assert not (await analysis_of("word " * (words - 5_000))).requires_long_context
    assert (await analysis_of("word " * (words + 5_000))).requires_long_context


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("prompt", "needed"),
    [
        ("What is the weather in Quito right now?", True),
        ("¿Cuál es el precio actual del cobre?", True),
        ("Summarise https://example.com/report for me", True),
        ("Book a table for two and add it to my calendar", True),
        ("What is the capital of Peru?", False),
        ("Write a Python function that formats today's weather", False),
        ("Classify this headline: stock price of gold falls today", False),
    ],
)
async def test_tools_are_needed_for_what_is_current_and_for_acting(prompt: str, needed: bool) -> None:  # noqa: FBT001 - a table's column
    assert (await analysis_of(prompt)).requires_tool_use is needed


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("prompt", "needed"),
    [
        ("What breed is the dog in this photo?", True),
        ("¿Qué dice esta captura de pantalla?", True),
        ("Describe data:image/png;base64,iVBORw0KGgo=", True),
        ("Read the attached contract and list the deadlines", False),
        ("What is a photon?", False),
    ],
)
async def test_vision_is_needed_where_an_image_is_given(prompt: str, needed: bool) -> None:  # noqa: FBT001 - a table's column
    assert (await analysis_of(prompt)).requires_vision is needed


@pytest.mark.anyio
async def test_only_mathematical_reasoning_is_math_heavy() -> None:
    assert (await analysis_of("Prove that every prime above 3 is of the form 6k ± 1")).math_heavy
    assert not (await analysis_of("Should we enter the German market? Weigh the risks.")).math_heavy
    assert not (await analysis_of("Write a Python function that tells whether a number is prime")).math_heavy


@pytest.mark.anyio
async def test_the_output_estimate_keeps_to_max_tokens() -> None:
    free = await analysis_of("Write a 2,000-word essay on rivers")
    capped = await analysis_of("Write a 2,000-word essay on rivers", constraints=Constraints(max_tokens=300))
    assert free.estimated_output_tokens == pytest.approx(2_700, rel=0.1)
    assert capped.estimated_output_tokens == 300


@pytest.mark.anyio
async def test_a_translation_is_as_long_as_its_original() -> None:
    analysis = await analysis_of("Translate to German:\n\n" + LONG_PARAGRAPH * 150)
    assert analysis.category == "text_generation"
    assert analysis.estimated_output_tokens >= analysis.estimated_input_tokens


@pytest.mark.anyio
async def test_pictures_need_a_model_that_sees_and_count_as_input() -> None:
    plain = await analysis_of("What is in this picture?")
    seen = await analysis_of("What is in this picture?", images=(Image(media_type="image/png", data=b"x"),) * 2)

    assert seen.requires_vision
    assert not seen.input_tokens_exact
    assert seen.estimated_input_tokens == plain.estimated_input_tokens + 2_600
