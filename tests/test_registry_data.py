"""What the shipped registry.json says, and how its prices are kept current."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, time
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)
from genai_prices.types import Provider as ListedProvider
from jsonschema import Draft202012Validator

from routing.price_refresh import PriceChange, refreshed, rendered
from routing.registry import Capabilities, LongContextPrices, Model, Prices, Registry, load_registry, schema
from routing.types import Category

FILE = Path(__file__).parents[1] / "registry.json"
TODAY = date(2026, 11, 21)
LONG_CONTEXT_TOKENS = 1_000_000


def document() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"), parse_float=Decimal)
    return content


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(FILE)


@pytest.fixture(scope="module")
def current(registry: Registry) -> dict[tuple[Category, str], Model]:
    return cells_of(registry, "current")


def cells_of(registry: Registry, policy: str) -> dict[tuple[Category, str], Model]:
    matrix = registry.policy(policy).matrix
    return {
        (category, name): registry.model(cell.model) for category, row in matrix.items() for name, cell in row.cells()
    }


# The file


def test_the_file_agrees_with_the_schema_that_it_points_to() -> None:
    content = json.loads(FILE.read_text(encoding="utf-8"))
    assert (FILE.parent / content["$schema"]).is_file()
    validator = Draft202012Validator(schema())
    assert [error.message for error in validator.iter_errors(content)] == []  # pyright: ignore[reportUnknownMemberType] - stubs


def test_the_file_is_kept_as_the_refresh_would_write_it() -> None:
    assert FILE.read_text(encoding="utf-8") == rendered(document())


# The models of the project's brief

BRIEF = """
google/gemini-2.5-pro       gemini-2.5-pro           google    1 79 88 79 80 248  1048576  1.25 10.00 tools vision
anthropic/claude-sonnet-4   claude-sonnet-4-20250514 anthropic 1 78 80 80 83 1096 200000   3.00 15.00 tools vision
openai/o3                   o3                       openai    1 74 85 76 72 83   200000  10.00 40.00 tools reasoning
anthropic/claude-opus-4     claude-opus-4-20250514   anthropic 1 73 78 77 80 512  200000  15.00 75.00 tools vision
google/gemini-2.5-flash     gemini-2.5-flash         google    2 75 82 73 77 519  1048576  0.30  2.50 tools vision
deepseek/deepseek-r1        deepseek-ai/DeepSeek-R1  together  2 72 83 75 70 156  128000   0.55  2.19 tools open
openai/o4-mini              o4-mini                  openai    2 71 82 74 70 175  200000   1.10  4.40 tools reasoning
openai/gpt-4.1              gpt-4.1                  openai    3 68 68 70 74 87   1000000  2.00  8.00 tools vision
meta-llama/llama-4-maverick meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8 together 3 65 65 67 70 320 1000000 0.19 0.85 \
tools vision open
meta-llama/llama-4-scout    meta-llama/Llama-4-Scout-17B-16E-Instruct together 4 60 60 62 65 450 10000000 0.08 0.30 \
tools open
openai/gpt-4.1-nano         gpt-4.1-nano             openai    4 55 55 55 60 600  1000000  0.10  0.40 tools
google/gemini-2.5-flash-lite gemini-2.5-flash-lite   google    4 55 55 55 60 700  1048576  0.10  0.40 tools
"""


@pytest.mark.parametrize("line", BRIEF.strip().splitlines())
def test_a_model_of_the_brief_has_the_figures_that_were_published(registry: Registry, line: str) -> None:
    model_id, api_model_id, provider, *figures = line.split()
    model = registry.model(model_id)
    assert (model.api_model_id, model.provider) == (api_model_id, provider)
    assert [Decimal(figure) for figure in figures[:9]] == [
        model.tier,
        model.quality_index,
        model.reasoning_score,
        model.coding_score,
        model.instruction_following,
        model.speed_tokens_per_sec,
        model.context_window,
        model.prices.input,
        model.prices.output,
    ]
    flags = {
        "tools": model.capabilities.tools,
        "vision": model.capabilities.vision,
        "open": model.self_hosted,
        "reasoning": model.is_reasoning_model,
    }
    assert {name for name, raised in flags.items() if raised} == set(figures[9:])
    assert model.source == "project brief, after artificialanalysis.ai, mid-2026"


CLASSIC = """
deep_reasoning   default gemini-2.5-pro math_heavy o3 high_complexity o3 cost_optimized deepseek-r1 \
self_hosted deepseek-r1 fallback gemini-2.5-flash
complex_coding   default claude-sonnet-4 long_context gemini-2.5-pro cost_optimized deepseek-r1 \
self_hosted deepseek-r1 fallback gemini-2.5-flash
long_document    default gemini-2.5-pro cost_optimized gemini-2.5-flash self_hosted llama-4-maverick \
fallback gemini-2.5-flash
agentic_tool_use default claude-sonnet-4 cost_optimized gemini-2.5-flash self_hosted llama-4-maverick \
fallback gemini-2.5-flash
qa_retrieval     default gemini-2.5-flash high_complexity claude-sonnet-4 cost_optimized llama-4-maverick \
self_hosted llama-4-maverick fallback gpt-4.1
text_generation  default gemini-2.5-flash high_quality claude-opus-4 cost_optimized llama-4-maverick \
self_hosted llama-4-maverick fallback gpt-4.1
classification   default gpt-4.1-nano cost_optimized gemini-2.5-flash-lite self_hosted llama-4-scout \
fallback llama-4-scout
embedding        default gpt-4.1-nano cost_optimized llama-4-scout self_hosted llama-4-scout fallback llama-4-scout
"""


@pytest.mark.parametrize("line", CLASSIC.strip().splitlines())
def test_the_classic_policy_is_the_published_matrix(registry: Registry, line: str) -> None:
    category, *cells = line.split()
    row = registry.policy("classic").matrix[category]  # type: ignore[index]  # pyright: ignore[reportArgumentType] - text
    expected = dict(zip(cells[::2], cells[1::2], strict=True))
    assert {name: cell.model.partition("/")[2] for name, cell in row.cells()} == expected


def test_the_frontier_reasoner_is_kept_for_the_best_quality(registry: Registry) -> None:
    kept = {
        (policy, category, name)
        for policy in registry.policies
        for category, row in registry.policy(policy).matrix.items()
        for name, cell in row.cells()
        if cell.only_at == "best_quality"
    }
    assert kept == {
        (policy, "deep_reasoning", name)
        for policy in ("classic", "current")
        for name in ("math_heavy", "high_complexity")
    }


# The current policy


def test_the_current_policy_is_the_default(registry: Registry) -> None:
    assert registry.default_policy == "current"


def test_the_current_policy_fills_the_same_cells_as_the_classic_one(registry: Registry) -> None:
    assert (
        cells_of(registry, "current").keys() - {("embedding", "high_quality")} == cells_of(registry, "classic").keys()
    )


def test_the_current_policy_embeds_with_embedding_models(current: dict[tuple[Category, str], Model]) -> None:
    kinds = {place[0]: model.kind for place, model in current.items()}
    assert {category for category, kind in kinds.items() if kind == "embedding"} == {"embedding"}


def test_no_current_cell_holds_a_superseded_model(current: dict[tuple[Category, str], Model]) -> None:
    assert [model.model_id for model in current.values() if model.superseded_by] == []


def test_each_current_model_is_no_weaker_than_the_classic_one(
    registry: Registry, current: dict[tuple[Category, str], Model]
) -> None:
    for place, classic in cells_of(registry, "classic").items():
        if place[0] == "embedding":
            continue  # the classic policy names chat models, which embed nothing
        model = current[place]
        assert model.kind == "chat", place
        assert model.tier <= classic.tier, place
        assert model.context_window >= min(classic.context_window, 262_144), place
        assert model.capabilities.tools, place
        assert model.self_hosted or not classic.self_hosted or place[1] not in ("self_hosted", "fallback"), place


def test_a_cell_of_open_weights_holds_open_weights(registry: Registry) -> None:
    for policy in registry.policies:
        cells = cells_of(registry, policy).items()
        assert [model.model_id for place, model in cells if place[1] == "self_hosted" and not model.self_hosted] == []


def test_long_tasks_get_a_window_of_a_million_tokens(current: dict[tuple[Category, str], Model]) -> None:
    long = {
        place: model for place, model in current.items() if place[0] == "long_document" or place[1] == "long_context"
    }
    assert {place for place, model in long.items() if model.context_window < LONG_CONTEXT_TOKENS} == set()


def test_the_cost_optimized_cell_is_cheaper_than_the_default_one(current: dict[tuple[Category, str], Model]) -> None:
    for (category, name), model in current.items():
        if name == "cost_optimized":
            assert price_of_both_ways(model) < price_of_both_ways(current[category, "default"]), category


def price_of_both_ways(model: Model) -> Decimal:
    assert model.prices.input is not None
    assert model.prices.output is not None
    return model.prices.input + model.prices.output


# All rows


def test_a_superseded_model_is_followed_by_one_that_is_not(registry: Registry) -> None:
    followers = [registry.model(model.superseded_by) for model in registry.models.values() if model.superseded_by]
    assert followers
    assert [model.model_id for model in followers if model.superseded_by] == []


def test_every_chat_model_has_a_price(registry: Registry) -> None:
    chat = [model for model in registry.models.values() if model.kind == "chat"]
    assert len(chat) >= 45
    assert [model.model_id for model in chat if not model.prices.known] == []


def test_a_price_that_nobody_lists_is_unknown_rather_than_zero(registry: Registry) -> None:
    unpriced = {model.model_id for model in registry.models.values() if not model.prices.known}
    assert unpriced == {"google/text-embedding-004", "baai/bge-m3"}
    assert all(registry.model(model_id).prices == Prices() for model_id in unpriced)


def test_a_longer_request_never_has_a_lower_price(registry: Registry) -> None:
    for model in registry.models.values():
        rows = [model.prices, *model.prices.long_context]
        for shorter, longer in pairwise(rows):
            assert (shorter.input or 0, shorter.output or 0) <= (longer.input or 0, longer.output or 0), model.model_id


def test_a_longest_answer_fits_the_window(registry: Registry) -> None:
    assert [row.model_id for row in registry.models.values() if row.max_output_tokens >= row.context_window] == []


def test_the_embedded_model_is_free_small_and_the_last_resort(registry: Registry) -> None:
    (model,) = (model for model in registry.models.values() if model.last_resort)
    assert model.model_id == "local/qwen2.5-coder-0.5b-instruct"
    assert registry.providers[model.provider].protocol == "embedded"
    assert (model.tier, model.context_window, model.max_output_tokens) == (4, 8192, 2048)
    assert price_of_both_ways(model) == 0
    assert model.capabilities == Capabilities(tools=True, json_schema=True)
    assert "Apache-2.0" in model.source


KEYS = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "google": ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    "together": ("TOGETHER_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "groq": ("GROQ_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "ollama": (),
    "lm_studio": (),
    "vllm": (),
    "llama_cpp": (),
    "compatible": ("COMPATIBLE_API_KEY",),
    "local": (),
}


def test_keys_and_addresses_have_their_usual_names(registry: Registry) -> None:
    providers = registry.providers
    assert {name: row.key_variables for name, row in providers.items()} == KEYS
    variables = {name: row.base_url_variable for name, row in providers.items()}
    unusual = {"google": "GOOGLE_GEMINI_BASE_URL", "ollama": "OLLAMA_HOST", "local": None}
    assert variables == {name: unusual.get(name, f"{name.upper()}_BASE_URL") for name in providers}


def test_only_servers_of_the_users_own_are_asked_for_their_models(registry: Registry) -> None:
    own = {"ollama", "lm_studio", "vllm", "llama_cpp", "compatible"}
    assert {name for name, row in registry.providers.items() if row.discover} == own
    assert {name for name, row in registry.providers.items() if row.self_hosted} == {*own, "local"}


# Keeping prices current


def listed(prices: ModelPrice | list[ConditionalPrice]) -> list[ListedProvider]:
    info = ModelInfo(id="small-1", match=ClauseEquals("small-1"), prices=prices)
    return [ListedProvider(id="x-ai", name="xAI", api_pattern="", models=[info])]


def rows(source: str = "genai-prices 0.0.1", **fields: object) -> dict[str, Any]:
    row = {
        "api_model_id": "small-1",
        "display_name": "Small",
        "provider": "xai",
        "tier": 3,
        "context_window": 100_000,
        "max_output_tokens": 4_000,
        "prices": {"input": 1, "output": 2},
        "capabilities": {},
        "is_reasoning_model": False,
        "self_hosted": False,
        "tokenizer": "grok",
        "prices_checked": "2026-01-01",
        "source": source,
        **fields,
    }
    return {"version": 1, "models": {"acme/small": row}, "kept": "as it is"}


def refreshed_price(
    monkeypatch: pytest.MonkeyPatch, prices: ModelPrice | list[ConditionalPrice], **fields: object
) -> tuple[dict[str, Any], list[PriceChange]]:
    monkeypatch.setattr("genai_prices.data.providers", listed(prices))
    document, changes = refreshed(rows(**fields), TODAY)  # type: ignore[arg-type]
    return document["models"]["acme/small"], changes


def flat(price_in: str, price_out: str) -> ModelPrice:
    return ModelPrice(input_mtok=Decimal(price_in), output_mtok=Decimal(price_out))


def test_a_price_that_changed_is_brought_up_to_date_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    row, changes = refreshed_price(monkeypatch, flat("3", "4.5"))
    assert row["prices"] == {"input": 3, "output": Decimal("4.5")}
    assert row["prices_checked"] == "2026-11-21"
    assert row["source"].startswith("genai-prices ")
    assert row["source"] != "genai-prices 0.0.1"
    assert changes == [
        PriceChange(
            model_id="acme/small",
            before=Prices(input=Decimal(1), output=Decimal(2)),
            after=Prices(input=Decimal(3), output=Decimal("4.5")),
            applied=True,
        )
    ]


def test_a_price_that_still_holds_is_only_dated(monkeypatch: pytest.MonkeyPatch) -> None:
    row, changes = refreshed_price(monkeypatch, flat("1", "2"))
    assert (row["prices"], row["prices_checked"]) == ({"input": 1, "output": 2}, "2026-11-21")
    assert changes == []


def test_a_row_of_the_brief_is_reported_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    row, (change,) = refreshed_price(monkeypatch, flat("3", "4"), source="project brief, mid-2026")
    assert row == rows(source="project brief, mid-2026")["models"]["acme/small"]
    assert not change.applied
    assert change.after.input == 3


def test_a_model_that_is_not_listed_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    row, changes = refreshed_price(monkeypatch, flat("3", "4"), api_model_id="other")
    assert (row, changes) == (rows(api_model_id="other")["models"]["acme/small"], [])


def test_a_step_of_long_requests_carries_all_four_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    def stepped(base: str, *above: tuple[int, str]) -> TieredPrices:
        return TieredPrices(
            base=Decimal(base), tiers=[Tier(start=start, price=Decimal(price)) for start, price in above]
        )

    price = ModelPrice(
        input_mtok=stepped("1", (20_000, "2"), (50_000, "3"), (100_000, "9")),
        output_mtok=stepped("4", (50_000, "6")),
        cache_read_mtok=Decimal("0.5"),
    )
    row, _ = refreshed_price(monkeypatch, price)
    assert Prices.model_validate(row["prices"]) == Prices(
        input=Decimal(1),
        output=Decimal(4),
        cache_read=Decimal("0.5"),
        long_context=(  # the step at 100,000 tokens lies beyond the window
            LongContextPrices(
                above_input_tokens=20_000, input=Decimal(2), output=Decimal(4), cache_read=Decimal("0.5")
            ),
            LongContextPrices(
                above_input_tokens=50_000, input=Decimal(3), output=Decimal(6), cache_read=Decimal("0.5")
            ),
        ),
    )


@pytest.mark.parametrize(("start", "expected"), [(date(2026, 11, 21), 7), (date(2026, 11, 22), 1)])
def test_a_price_holds_from_its_first_day_on(monkeypatch: pytest.MonkeyPatch, start: date, expected: int) -> None:
    prices = [
        ConditionalPrice(prices=flat("1", "2")),
        ConditionalPrice(StartDateConstraint(start), prices=flat("7", "8")),
    ]
    row, _ = refreshed_price(monkeypatch, prices)
    assert row["prices"]["input"] == expected


@pytest.mark.parametrize(("base", "evening"), [("1", "5"), ("5", "1")])
def test_the_dearest_hour_of_the_day_is_taken_and_the_row_says_so(
    monkeypatch: pytest.MonkeyPatch, base: str, evening: str
) -> None:
    hours = TimeOfDateConstraint(time(16, 30), time(17))
    prices = [ConditionalPrice(prices=flat(base, "9")), ConditionalPrice(hours, prices=flat(evening, "9"))]
    row, _ = refreshed_price(monkeypatch, prices)
    assert row["prices"]["input"] == 5
    assert row["source"].endswith(", dearest hours of the day")


def test_an_embedding_model_pays_nothing_for_output(monkeypatch: pytest.MonkeyPatch) -> None:
    row, _ = refreshed_price(monkeypatch, ModelPrice(input_mtok=Decimal("0.1")), kind="embedding")
    assert row["prices"] == {"input": Decimal("0.1"), "output": 0}


def test_what_the_refresh_does_not_know_survives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genai_prices.data.providers", listed(flat("3", "4")))
    before: dict[str, Any] = {"own section": [1, None], "models": {}}
    assert refreshed(before, TODAY) == (before, [])


def test_a_second_refresh_of_the_shipped_file_changes_nothing_more() -> None:
    once, _ = refreshed(document(), TODAY)
    twice, changes = refreshed(once, TODAY)
    assert twice == once
    assert [change.model_id for change in changes if change.applied] == []


def test_the_refreshed_file_is_still_a_valid_registry(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    path.write_text(rendered(refreshed(document(), TODAY)[0]), encoding="utf-8")
    assert load_registry(path).models.keys() == load_registry(FILE).models.keys()


def test_writing_the_file_keeps_every_value() -> None:
    assert json.loads(rendered(document()), parse_float=Decimal) == document()


def test_a_price_is_written_as_the_shortest_number() -> None:
    prices = {"input": Decimal("4.00"), "output": Decimal("0.003625"), "cache_read": Decimal(0)}
    assert rendered({"prices": prices}) == '{\n  "prices": {"input": 4, "output": 0.003625, "cache_read": 0}\n}\n'


def test_what_is_no_json_is_not_written() -> None:
    with pytest.raises(TypeError, match="has no place in a registry file"):
        rendered({"today": TODAY})


def test_importing_the_refresh_does_not_import_the_price_list() -> None:
    code = "import sys, routing.price_refresh; sys.exit('genai_prices' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=FILE.parent, check=False)
    assert done.returncode == 0
