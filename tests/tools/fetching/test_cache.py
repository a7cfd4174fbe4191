from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tools.fetching.cache import PageCache
from tools.fetching.values import Page


def page(text: str = "x") -> Page:
    return Page(url="http://site.example/", title=None, text=text, content_type="text/plain", truncated=False)


def test_a_page_is_kept_for_a_quarter_of_an_hour() -> None:
    now = [0.0]
    cache = PageCache(clock=lambda: now[0])
    cache.put("a", page())
    now[0] = 899.0
    assert cache.get("a") == page()
    now[0] = 900.0
    assert cache.get("a") is None


def test_the_page_longest_unused_goes_first() -> None:
    cache = PageCache(most_pages=2)
    cache.put("a", page())
    cache.put("b", page())
    cache.get("a")
    cache.put("c", page())
    assert [cache.get(url) is not None for url in "abc"] == [True, False, True]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 30))))
def test_it_never_holds_more_than_it_may(puts: list[tuple[str, int]]) -> None:
    cache = PageCache(most_pages=3, most_chars=40)
    for url, length in puts:
        cache.put(url, page("x" * length))
        kept = [found for found in map(cache.get, "abcdef") if found]
        assert len(kept) <= 3
        assert sum(len(found.text) for found in kept) <= 40
        assert cache.get(url) == page("x" * length)
