from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.searching.cleaning import host_of, is_web_address, plain, presentable, shortened
from tools.searching.results import Found


def page(url: str = "https://a.example/", **texts: str) -> Found:
    return Found(**{"title": "A", "snippet": "", **texts}, url=url)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("<strong>Points</strong> &amp; <em>levers</em>", "Points & levers"),
        ('<span class="news">3</span><br/>days', "3days"),
        ("if a < b and c > d", "if a < b and c > d"),
        ("List<String> of &lt;b&gt;", "List<String> of <b>"),
        ("two\n\tlines\u00a0here", "two lines here"),
        ("zero\u200bwidth \x1b[31mred\x1b[0m\x00", "zerowidth red"),
        ("\U000e0049\U000e0067hidden tags", "hidden tags"),
        ("turned \u202eround", "turned round"),
    ],
)
def test_markup_entities_and_what_nobody_sees_are_removed(sent: str, shown: str) -> None:
    assert plain(sent, 100) == shown


@given(st.text(), st.integers(2, 50))
def test_a_cleaned_text_is_one_short_line(text: str, longest: int) -> None:
    line = plain(text, longest)

    assert len(line) <= longest
    assert line == " ".join(line.split())


@given(st.text(alphabet="ab \n", max_size=80), st.integers(1, 30), st.integers(1, 10))
def test_a_shortened_query_fits_its_limits_and_is_the_beginning(query: str, characters: int, words: int) -> None:
    short = shortened(query, characters=characters, words=words)
    whole = " ".join(query.split())

    assert len(short) <= characters
    assert len(short.split()) <= words
    assert whole.startswith(short)
    if len(whole) <= characters and len(whole.split()) <= words:
        assert short == whole


def test_a_query_is_cut_at_a_word_where_there_is_one() -> None:
    assert shortened("points and levers", characters=10) == "points and"
    assert shortened("points and levers", characters=9) == "points"
    assert shortened("pointsandlevers", characters=9) == "pointsand"


@pytest.mark.parametrize(
    "url", ["https://a.example/x?q=1#part", "http://a.example:8080", "https://пример.example/путь"]
)
def test_web_addresses_are_kept(url: str) -> None:
    assert is_web_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "ftp://a.example/",
        "//a.example/",
        "a.example",
        "https://",
        "https:///x",
        "https://[x",
        "https://a.example/ b",
        "https://a.example/\u200b",
        "https://a.example/\u3164",
        "https://a.example/\n",
        "https://a.example/" + "x" * 2_000,
    ],
)
def test_what_is_no_web_address_is_dropped(url: str) -> None:
    assert presentable([page(url), page("https://b.example/")], 5) == (page("https://b.example/"),)


def test_a_page_is_listed_once_whatever_the_part_or_the_slash() -> None:
    pages = [
        page("https://a.example/x"),
        page("https://a.example/x/"),
        page("https://a.example/x#y"),
        page("https://b.example"),
    ]

    assert [kept.url for kept in presentable(pages, 5)] == ["https://a.example/x", "https://b.example"]


def test_pages_are_dropped_before_they_are_counted() -> None:
    pages = [page("ftp://x"), page("https://a.example"), page("https://a.example/"), page("https://b.example")]

    assert len(presentable(pages, 2)) == 2


def test_long_texts_are_cut() -> None:
    (kept,) = presentable([page(title="t " * 500, snippet="s " * 5_000, age="a" * 500, source="n" * 500)], 1)

    assert len(kept.title) <= 200
    assert 900 <= len(kept.snippet) <= 1_000
    assert kept.snippet.endswith("s…")
    assert len(kept.age or "") <= 100
    assert len(kept.source or "") <= 100


@pytest.mark.parametrize(
    ("url", "host"), [("https://www.a.example:8/x", "a.example"), ("https://[x", None), ("x", None)]
)
def test_a_site_is_named_by_its_host(url: str, host: str | None) -> None:
    assert host_of(url) == host
