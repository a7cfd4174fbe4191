"""What a registry file may say, how a user's own file overlays it, and how a mistake is told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from routing.errors import RegistryError
from routing.registry import (
    SCHEMA_FILE,
    Model,
    Prices,
    Registry,
    RegistryFile,
    load_registry,
    schema,
    with_models,
    write_schema,
)
from routing.types import CATEGORIES

Document = dict[str, Any]
SMALL = "acme/small"
LARGE = "acme/large"


def model_row(**fields: object) -> Document:
    return {
        "api_model_id": "small-1",
        "display_name": "Small",
        "provider": "acme",
        "tier": 3,
        "quality_index": 60,
        "context_window": 100_000,
        "max_output_tokens": 4_000,
        "prices": {"input": 1, "output": 2.5, "cache_read": 0.1},
        "capabilities": {"tools": True},
        "is_reasoning_model": False,
        "self_hosted": False,
        "tokenizer": "llama",
        "prices_checked": "2026-11-21",
        "source": "a test",
        **fields,
    }


def document() -> Document:
    facts = {"system_prompt": "Be brief.", "max_output_tokens": 1000, "tier_floor": [4, 4, 3, 2, 1]}
    cells = dict.fromkeys(("default", "cost_optimized", "self_hosted", "fallback"), SMALL)
    return {
        "$schema": "routing/registry.schema.json",
        "version": 1,
        "default_policy": "only",
        "providers": {
            "acme": {
                "display_name": "Acme",
                "protocol": "openai-chat",
                "base_url": "https://acme.test/v1",
                "key_variables": ["ACME_API_KEY"],
            }
        },
        "thinking_effort": [["low", "low", "medium", "high", "high"]] * 4,
        "categories": dict.fromkeys(CATEGORIES, facts),
        "policies": {"only": {"matrix": dict.fromkeys(CATEGORIES, cells)}},
        "models": {SMALL: model_row(), LARGE: model_row(api_model_id="large-1", display_name="Large", tier=1)},
    }


def written(path: Path, content: Document | str) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    return written(tmp_path / "registry.json", document())


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own.json"


def complaint(path: Path, overlay: Path | None = None) -> str:
    with pytest.raises(RegistryError) as caught:
        load_registry(path, overlay)
    return str(caught.value)


def complaint_about(tmp_path: Path, broken: Document | str) -> str:
    return complaint(written(tmp_path / "registry.json", broken))


# Reading


def test_a_row_carries_the_id_that_is_its_key(shipped: Path) -> None:
    registry = load_registry(shipped)
    assert registry.models[SMALL].model_id == SMALL
    assert registry.providers["acme"].provider_id == "acme"


@given(st.decimals(min_value=0, max_value=10_000, places=12))
def test_a_price_is_read_exactly_as_it_is_written(price: Decimal) -> None:
    text = json.dumps({"input": 0}).replace("0", f"{price:f}")
    assert Prices.model_validate(json.loads(text, parse_float=Decimal)).input == price


def test_a_price_in_a_file_does_not_pass_through_binary_floats(tmp_path: Path) -> None:
    text = json.dumps(document()).replace('"cache_read": 0.1', '"cache_read": 0.1000000000000000055511151231257827')
    registry = load_registry(written(tmp_path / "registry.json", text))
    assert registry.models[SMALL].prices.cache_read == Decimal("0.1000000000000000055511151231257827")


@pytest.mark.parametrize(
    ("prices", "known"),
    [({"input": 0, "output": 0}, True), ({"input": 1}, False), ({"output": 1}, False), ({"input": None}, False)],
)
def test_a_cost_is_known_where_input_and_output_have_a_price(prices: Document, known: bool) -> None:  # noqa: FBT001 - a table
    assert Prices.model_validate(prices).known is known


def test_a_cell_is_an_id_or_an_id_kept_for_one_preference(tmp_path: Path) -> None:
    content = document()
    row = content["policies"]["only"]["matrix"]["qa_retrieval"]
    content["policies"]["only"]["matrix"]["qa_retrieval"] = {
        **row,
        "math_heavy": {"model": LARGE, "only_at": "best_quality"},
    }
    matrix = load_registry(written(tmp_path / "registry.json", content)).policy("only").matrix
    cells = {name: (cell.model, cell.only_at) for name, cell in matrix["qa_retrieval"].cells()}
    assert cells["default"] == (SMALL, None)
    assert cells["math_heavy"] == (LARGE, "best_quality")
    assert "long_context" not in cells


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(document()).encode())
    assert SMALL in load_registry(path).models


def test_rows_cannot_be_changed(shipped: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_registry(shipped).models[SMALL].tier = 1  # pyright: ignore[reportAttributeAccessIssue] - the point


# Telling a mistake


def test_text_that_is_not_json_is_told_by_line_and_column(tmp_path: Path) -> None:
    message = complaint_about(tmp_path, '{\n  "version": 1,\n  oops\n}')
    assert "registry.json: not JSON at line 3, column 3" in message


def test_a_file_that_is_not_utf8_is_told_by_byte(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    path.write_bytes(b'{"version": \xff}')
    assert "registry.json: not UTF-8 at byte 12" in complaint(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "absent.json: cannot be read" in complaint(tmp_path / "absent.json")


def test_a_file_that_holds_no_object_is_refused(tmp_path: Path) -> None:
    assert "one JSON object" in complaint_about(tmp_path, "[]")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tier": 7}, "models 'acme/small', field tier: Input should be 1, 2, 3 or 4, not 7"),
        ({"tier": "2"}, "field tier: Input should be 1, 2, 3 or 4, not 2"),
        ({"context_window": "100000"}, "field context_window: Input should be a valid integer, not 100000"),
        ({"context_window": 0}, "field context_window: Input should be greater than 0, not 0"),
        ({"self_hosted": 1}, "field self_hosted: Input should be a valid boolean, not 1"),
        ({"quality_index": "60"}, "field quality_index: Input should be a number, not 60"),
        ({"quality_index": 101}, "field quality_index: Input should be less than or equal to 100, not 101"),
        ({"prices": {"input": -1}}, "field prices.input: Input should be greater than or equal to 0, not -1"),
        ({"prices": {"input": True}}, "field prices.input: Input should be a number, not True"),
        ({"prices": {"long_context": [{"input": 1}]}}, "field prices.long_context.0.above_input_tokens: is missing"),
        ({"prices": []}, "field prices: must be an object, not a list"),
        ({"contxt_window": 5}, "field contxt_window: there is no such field. Did you mean context_window?"),
        ({"prices": {"imput": 1}}, "field prices.imput: there is no such field. Did you mean input?"),
        ({"prices": {"long_context": [{"abov_input_tokens": 1}]}}, "Did you mean above_input_tokens?"),
        ({"capabilities": {"wings": True}}, "field capabilities.wings: there is no such field. Known are: tools,"),
        ({"provider": "acne"}, "field provider: there is no provider 'acne'. There are: acme"),
        ({"superseded_by": SMALL}, "field superseded_by: a model cannot take its own place"),
        ({"superseded_by": "acme/larg"}, "field superseded_by: there is no model 'acme/larg'. Nearest: acme/large"),
        ({"is_reasoning_model": True}, "field capabilities.thinking: a reasoning model cannot have 'none'"),
        ({"kind": "embedding"}, "field capabilities: an embedding model neither thinks nor calls tools"),
        ({"api_model_id": "large-1"}, "field api_model_id: acme/small has the same one at acme"),
        ({"model_id": LARGE}, "row 'acme/small' calls itself 'acme/large'"),
    ],
)
def test_a_mistake_in_a_model_is_told_by_file_row_and_field(tmp_path: Path, fields: Document, expected: str) -> None:
    content = document()
    content["models"][SMALL] = model_row(**fields)
    message = complaint_about(tmp_path, content)
    assert "registry.json: " in message
    assert expected in message


def change(content: Document, path: str, value: object) -> Document:
    *folders, last = path.split("/")
    place = content
    for folder in folders:
        place[folder] = dict(place[folder])
        place = place[folder]
    place[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("providers/acme/protocol", "smoke", "providers 'acme', field protocol: Input should be 'openai',"),
        (
            "providers/acme/base_ur",
            "x",
            "providers 'acme', field base_ur: there is no such field. Did you mean base_url",
        ),
        (
            "roles",
            {"planner": {"strongest": 3, "weakest": 1}},
            "roles 'planner', field strongest: tier 3 is weaker than weakest, 1",
        ),
        ("categories/embedding/tier_floor", [1, 2, 3, 4, 4], "categories 'embedding', field tier_floor: a harder task"),
        (
            "categories/embedding/max_output_tokens",
            16_001,
            "field max_output_tokens: Input should be less than or equal",
        ),
        ("categories/embeding", {}, "categories 'embeding', field [key]: Input should be 'deep_reasoning',"),
        (
            "policies/only/matrix/embedding/fallback",
            "acme/smal",
            "policies 'only', field matrix.embedding.fallback: there is no model 'acme/smal'. Nearest: acme/small",
        ),
        (
            "policies/only/matrix/embedding/fallback",
            {"model": SMALL, "only_at": "never"},
            "field matrix.embedding.fallback.only_at: Input should be 'cheapest',",
        ),
        ("policies/only/matrix/embedding/falback", SMALL, "field matrix.embedding.falback: there is no such field."),
        ("policies/only/matrix", {}, "field matrix.deep_reasoning: the row is missing"),
        ("default_policy", "other", "field default_policy: there is no such policy. There are: only"),
        ("version", 2, "field version: Input should be 1, not 2"),
        ("modles", {}, "field modles: there is no such field. Did you mean models?"),
        ("models", [], "field models: must be an object, not a list"),
    ],
)
def test_a_mistake_elsewhere_is_told_by_row_and_field(tmp_path: Path, path: str, value: object, expected: str) -> None:
    assert expected in complaint_about(tmp_path, change(document(), path, value))


@pytest.mark.parametrize(
    ("once", "twice", "expected"),
    [
        ('"tier": 3', '"tier": 3, "tier": 3', "models 'acme/small', field tier: stands twice"),
        ('"acme/small": {', '"acme/small": {}, "acme/small": {', "models 'acme/small': stands twice"),
        ('"input": 1,', '"input": 1, "input": 2,', "models 'acme/small', field prices.input: stands twice"),
        ('"version": 1', '"version": 1, "version": 1', "field version: stands twice"),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, once: str, twice: str, expected: str) -> None:
    assert expected in complaint_about(tmp_path, json.dumps(document()).replace(once, twice, 1))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_price_that_is_no_finite_number_is_refused(tmp_path: Path, number: str) -> None:
    message = complaint_about(tmp_path, json.dumps(document()).replace('"input": 1,', f'"input": {number},', 1))
    assert f"field prices.input: Input should be a finite number, not {number}" in message


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    content = document()
    del content["models"][SMALL]["tokenizer"]
    assert "models 'acme/small', field tokenizer: is missing" in complaint_about(tmp_path, content)


def test_many_mistakes_are_told_together_but_not_endlessly(tmp_path: Path) -> None:
    content = document()
    content["models"][SMALL] = {"api_model_id": "x"}
    message = complaint_about(tmp_path, content)
    assert message.count("is missing") == 5
    assert "and 7 more" in message


# The user's own file


def test_an_overlay_changes_single_fields_of_a_row(shipped: Path, own: Path) -> None:
    before = load_registry(shipped).models[SMALL]
    written(own, {"models": {SMALL: {"prices": {"input": 9}, "quality_index": None}}})
    after = load_registry(shipped, own).models[SMALL]
    assert after.prices == before.prices.model_copy(update={"input": Decimal(9)})
    assert after.quality_index is None
    assert after == before.model_copy(update={"prices": after.prices, "quality_index": None})


ANOTHER: Document = {
    "display_name": "Another",
    "tier": 1,
    "quality_index": 12.5,
    "context_window": 8_192,
    "self_hosted": True,
    "tokenizer": "qwen",
    "strengths": ["brevity"],
}


@settings(deadline=None)  # files are written
@given(st.sets(st.sampled_from(sorted(ANOTHER))))
def test_an_overlay_leaves_every_field_alone_that_it_does_not_name(
    tmp_path_factory: pytest.TempPathFactory, fields: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("overlay")
    path = written(folder / "registry.json", document())
    own = written(folder / "own.json", {"models": {SMALL: {field: ANOTHER[field] for field in fields}}})
    before, after = load_registry(path), load_registry(path, own)
    assert {
        name for name in Model.model_fields if getattr(before.models[SMALL], name) != getattr(after.models[SMALL], name)
    } == fields
    assert after.models[LARGE] == before.models[LARGE]


def test_an_overlay_adds_rows_and_replaces_cells(shipped: Path, own: Path) -> None:
    written(
        own,
        {
            "models": {"acme/new": model_row(api_model_id="new-1")},
            "policies": {"only": {"matrix": {"embedding": {"default": "acme/new"}}}},
        },
    )
    registry = load_registry(shipped, own)
    row = registry.policy("only").matrix["embedding"]
    assert (row.default.model, row.fallback.model) == ("acme/new", SMALL)
    assert set(registry.models) == {SMALL, LARGE, "acme/new"}


def test_null_in_place_of_a_row_removes_it(shipped: Path, own: Path) -> None:
    assert set(load_registry(shipped, written(own, {"models": {LARGE: None}})).models) == {SMALL}


def test_removing_a_row_that_is_needed_is_told_as_the_overlays_mistake(shipped: Path, own: Path) -> None:
    message = complaint(shipped, written(own, {"models": {SMALL: None}}))
    assert message.startswith(f"{own}: ")
    assert "there is no model 'acme/small'" in message


def test_a_mistake_in_the_overlay_names_the_overlay(shipped: Path, own: Path) -> None:
    message = complaint(shipped, written(own, {"models": {SMALL: {"tier": 9}}}))
    assert message.startswith(f"{own}: models 'acme/small', field tier")


def test_a_mistake_in_the_shipped_file_is_not_blamed_on_the_overlay(tmp_path: Path, own: Path) -> None:
    broken = written(tmp_path / "registry.json", change(document(), "providers/acme/protocol", "smoke"))
    assert complaint(broken, written(own, {"models": {LARGE: {"tier": 2}}})).startswith(f"{broken}: ")


def test_an_overlay_that_is_not_json_names_the_overlay(shipped: Path, own: Path) -> None:
    assert complaint(shipped, written(own, "{")).startswith(f"{own}: not JSON at line 1")


def test_an_overlay_need_not_exist(shipped: Path, own: Path) -> None:
    assert load_registry(shipped, own) == load_registry(shipped)


NAMES = st.sampled_from(
    [
        "models",
        "providers",
        "policies",
        "categories",
        "only",
        "matrix",
        "embedding",
        "default",
        "prices",
        "input",
        SMALL,
    ]
)
VALUES = st.recursive(
    st.sampled_from([None, True, -1, 7, 0.5, float("nan"), "", "x", "ß", SMALL, LARGE]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
)


@settings(deadline=None)  # files are written
@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_whatever_an_overlay_says_it_is_taken_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, content: Document
) -> None:
    folder = tmp_path_factory.mktemp("overlay")
    own = written(folder / "own.json", content)
    try:
        load_registry(written(folder / "registry.json", document()), own)
    except RegistryError as refused:
        assert str(refused).startswith(f"{own}: ")  # noqa: PT017 - both outcomes are right


# Following the files


class Clock:
    """A monotonic clock that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def edit(own: Path, clock: Clock) -> Callable[[Document | str], None]:
    """Write the overlay and let a second pass; each edit is newer, however coarse the file system's clock."""

    def write(content: Document | str) -> None:
        clock.now += 1
        written(own, content)
        os.utime(own, (clock.now, clock.now))

    return write


def quality(file: RegistryFile) -> float | None:
    return file.current().models[SMALL].quality_index


def better(score: int) -> Document:
    return {"models": {SMALL: {"quality_index": score}}}


def test_an_edit_is_seen_when_the_overlay_appears_changes_and_goes(
    shipped: Path, own: Path, clock: Clock, edit: Callable[[Document | str], None]
) -> None:
    file = RegistryFile(shipped, own, clock=clock)
    seen = [quality(file)]
    for score in (70, 71):
        edit(better(score))
        seen.append(quality(file))
    own.unlink()
    clock.now += 1
    assert [*seen, quality(file)] == [60, 70, 71, 60]


def test_an_edit_of_the_shipped_file_is_seen(shipped: Path, clock: Clock) -> None:
    file = RegistryFile(shipped, clock=clock)
    content = document()
    content["models"][SMALL]["quality_index"] = 61.5
    written(shipped, content)
    clock.now += 1
    assert quality(file) == 61.5


def test_the_files_are_looked_at_once_a_second_at_most(
    shipped: Path, own: Path, clock: Clock, edit: Callable[[Document | str], None]
) -> None:
    file = RegistryFile(shipped, own, clock=clock)
    edit(better(70))
    clock.now -= 0.01
    assert quality(file) == 60
    clock.now += 0.01
    assert quality(file) == 70


def test_files_that_did_not_change_are_not_read_again(shipped: Path, own: Path, clock: Clock) -> None:
    file = RegistryFile(shipped, own, clock=clock)
    before = file.current()
    clock.now += 5
    assert file.current() is before


def test_a_broken_edit_keeps_the_last_good_registry_and_says_so(
    shipped: Path, own: Path, clock: Clock, edit: Callable[[Document | str], None]
) -> None:
    edit(better(70))
    file = RegistryFile(shipped, own, clock=clock)
    edit({"models": {SMALL: {"quality_index": "high"}}})
    assert quality(file) == 70
    assert file.problem is not None
    assert "own.json: models 'acme/small', field quality_index: Input should be a number, not high" in file.problem
    edit(better(72))
    assert quality(file) == 72
    assert file.problem is None


def test_a_file_that_is_broken_from_the_start_stops_the_start(shipped: Path, own: Path) -> None:
    with pytest.raises(RegistryError, match="not JSON"):
        RegistryFile(shipped, written(own, "{"))


# Finding models


@pytest.fixture
def registry(shipped: Path) -> Registry:
    return load_registry(shipped)


@pytest.mark.parametrize("text", ["acme/lrge", "ACME/LARGE", "large-2", "Larg", "large"])
def test_the_nearest_model_is_found_by_any_of_its_names(registry: Registry, text: str) -> None:
    assert registry.nearest(text)[0] == LARGE


def test_nothing_is_near_to_nonsense(registry: Registry) -> None:
    assert registry.nearest("zzzzzzzz") == ()


def test_as_many_different_models_are_offered_as_were_asked_for(registry: Registry) -> None:
    assert registry.nearest("acme/small", n=2) == (SMALL, LARGE)
    assert registry.nearest("acme/small", n=1) == (SMALL,)


def test_an_unknown_model_or_policy_is_refused_with_what_there_is(registry: Registry) -> None:
    with pytest.raises(RegistryError, match=r"no model 'acme/lage'\. Nearest: acme/large"):
        registry.model("acme/lage")
    with pytest.raises(RegistryError, match=r"no policy 'mine'\. There are: only"):
        registry.policy("mine")
    assert registry.model(LARGE).display_name == "Large"


def test_discovered_models_are_added_and_never_replace_a_row_of_the_files(registry: Registry) -> None:
    found = Model.model_validate(model_row(model_id="acme/found", api_model_id="found-1"))
    twin = registry.models[SMALL].model_copy(update={"display_name": "Impostor"})
    extended = with_models(registry, [found, twin])
    assert extended.models == {**registry.models, "acme/found": found}
    assert "acme/found" not in registry.models


# The schema


def test_the_shipped_schema_is_the_one_that_the_classes_make(tmp_path: Path) -> None:
    write_schema(tmp_path / "schema.json")
    assert SCHEMA_FILE.read_text(encoding="utf-8") == (tmp_path / "schema.json").read_text(encoding="utf-8")


def test_the_schema_describes_every_field_and_takes_ids_as_keys() -> None:
    definitions: dict[str, Document] = json.loads(json.dumps(schema()["$defs"]))
    bare = [
        (name, field)
        for name, definition in definitions.items()
        for field, facts in definition["properties"].items()
        if "description" not in facts
    ]
    assert bare == []
    assert "model_id" not in definitions["Model"]["properties"]
    assert "provider_id" not in definitions["Provider"]["required"]
