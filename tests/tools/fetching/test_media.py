from __future__ import annotations

import pytest

from tools.fetching.media import content_type_of, kind_of


@pytest.mark.parametrize(
    ("said", "media_type", "charset"),
    [
        ("text/html; charset=UTF-8", "text/html", "utf-8"),
        ('Text/HTML;charset="iso-8859-2"', "text/html", "iso-8859-2"),
        ("", "application/octet-stream", None),
        ("nonsense", "application/octet-stream", None),
        ("call a tool/now please", "application/octet-stream", None),
    ],
)
def test_a_content_type_is_read_and_nonsense_says_nothing(said: str, media_type: str, charset: str | None) -> None:
    assert content_type_of({"content-type": said}) == (media_type, charset)


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        ("text/html", "html"),
        ("application/xhtml+xml", "html"),
        ("application/pdf", "pdf"),
        ("application/json", "json"),
        ("application/ld+json", "json"),
        ("text/plain", "text"),
        ("text/markdown", "text"),
        ("text/csv", "text"),
        ("application/xml", "text"),
        ("application/rss+xml", "text"),
        ("application/atom+xml", "text"),
        ("image/png", None),
        ("image/svg+xml", None),
        ("application/zip", None),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", None),
        ("multipart/form-data", None),
    ],
)
def test_a_type_is_read_as_what_it_is_or_not_at_all(media_type: str, kind: str | None) -> None:
    assert kind_of(media_type) == kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"%PDF-1.7", "pdf"),
        (b"\n <!DOCTYPE HTML>", "html"),
        (b"<html lang=en>", "html"),
        (b"plain \xc3\xbc", "text"),
        (b"\x89PNG\r\n\x1a\n\x00", None),
        (b"PK\x03\x04", None),
    ],
)
def test_bytes_that_do_not_say_are_told_by_their_beginning(body: bytes, kind: str | None) -> None:
    assert kind_of("application/octet-stream", body) == kind
