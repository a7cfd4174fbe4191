"""What the shape of a text says about a task: code, formulas, tables, lists of options, links, length.

The second half of the evidence; the first is the lexicon. Every pattern takes time linear in the text: nothing in them can
be matched in two ways, and `reading` bounds what they are shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from routing.analyzer.lexicon import Trait
from routing.analyzer.reading import Reading
from routing.types import Category

LONG_DOCUMENT_CHARS = 32_000
"""About 8,000 tokens of pasted text: from here it is a long document."""

PAGE_CHARS = 3_000

Part = Literal["asked", "given", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A pattern, the part of the prompt where it counts, and the log-odds that it adds."""

    label: str
    pattern: re.Pattern[str]
    part: Part
    weights: Mapping[Category, float]
    trait: Trait | None = None


SIGNALS: tuple[Signal, ...] = (
    Signal(
        label="code in the request",
        part="asked",
        weights={"complex_coding": 1.8},
        pattern=re.compile(
            r"""^[ \t]*+(?:def|class|import|from|public|private|static|func|fn|const|let|var|async|struct|package|using)[ ]\w
            |^[ \t]*+(?:\#include|SELECT[ ].{1,200}[ ]FROM[ ]|INSERT[ ]INTO|CREATE[ ]TABLE|<\?php|\#!/)
            |=>[ ]?\{|\)[ ]?\{|;[ \t]*$|^>>>[ ]""",
            re.MULTILINE | re.VERBOSE,
        ),
    ),
    Signal(
        label="code in the paste",
        part="given",
        weights={"complex_coding": 1.8},
        pattern=re.compile(
            r"""^[ \t`]*+(?:def|class|import|public|private|static|func|fn|const|let|var|async|struct|package)[ ]\w
            |^[ \t]*+(?:\#include|SELECT[ ].{1,200}[ ]FROM[ ]|CREATE[ ]TABLE|<\?php|\#!/)
            |=>[ ]?\{|\)[ ]?\{|;[ \t]*$|\b(?:for|while|if)[ ]?\([^)\n]{1,80}\)
            |```(?:python|py|js|javascript|ts|typescript|tsx|jsx|java|go|rust|c|cpp|csharp|cs|ruby|php|sql|bash|sh|kotlin|swift)\b""",
            re.MULTILINE | re.VERBOSE,
        ),
    ),
    Signal(
        label="stack trace",
        part="both",
        weights={"complex_coding": 2.3},
        pattern=re.compile(
            r"""Traceback[ ]\(most[ ]recent|^[ \t]*+File[ ]"[^"\n]{1,200}",[ ]line[ ]\d|^[ \t]*+at[ ][\w.$<>]{1,80}[ ]?\(
            |\b(?:[A-Z]\w{2,30})(?:Error|Exception)\b|\berror[ ]?(?:\[E\d{4}\]|TS\d{4}|CS\d{4}|C\d{4})
            |Segmentation[ ]fault|core[ ]dumped|undefined[ ]is[ ]not|panic:|npm[ ]ERR!|Permission[ ]denied[ ]\(""",
            re.MULTILINE | re.VERBOSE,
        ),
    ),
    Signal(
        label="source file",
        part="asked",
        weights={"complex_coding": 1.2},
        pattern=re.compile(
            r"[\w-]\.(?:py|ipynb|js|mjs|ts|tsx|jsx|java|go|rs|cpp|cc|hpp|cs|rb|php|kt|swift|sh|sql|html|css|vue|ya?ml|toml|tf)\b"
        ),
    ),
    Signal(
        label="identifier",
        part="asked",
        weights={"complex_coding": 0.9},
        pattern=re.compile(
            r"\b[a-z]{2,20}_[a-z]{2,20}\b|\b[a-z]{2,20}[A-Z][a-z]{2,20}\b|\b\w{2,30}\(\)|`[^`\n]{1,60}`|\bO\([^)\n]{1,12}\)"
        ),
    ),
    Signal(
        label="formula",
        part="both",
        trait="math",
        weights={"deep_reasoning": 2.4},
        pattern=re.compile(
            r"\\(?:frac|sum|int|sqrt|prod|lim|cdot|begin\{|alpha|theta|pi|infty|leq?|geq?|equiv|angle|triangle|boxed|text\{)"
            r"|\$[^$\n]{0,80}(?:[\\^=!]|_[\d{])[^$\n]{0,80}\$(?!\w)|[∫∑∏√∞≤≥≡∀∃∂∇]"
        ),
    ),
    Signal(
        label="equation",
        part="asked",
        trait="math",
        weights={"deep_reasoning": 1.6},
        pattern=re.compile(
            r"\b[a-z]\^\d|[²³]|\b\d{0,9}[xyzn] ?[-+*/] ?\d{1,9}[a-z]? ?=|\b[a-z]\([a-z]\) ?= ?|\bmod \d|\d{1,9} ?\^ ?\d"
            r"|\b[xyz] ?= ?-?\d|\d[xyz] ?[-+=]"
        ),
    ),
    Signal(
        label="arithmetic",
        part="asked",
        trait="math",
        weights={"deep_reasoning": 0.9},
        pattern=re.compile(r"\d ?[*×÷] ?\d|\d [-+/] \d{1,9}\b|\d{1,9}% (?:of|de)\b"),
    ),
    Signal(
        label="a measured quantity",
        part="asked",
        weights={"deep_reasoning": 0.9},
        pattern=re.compile(
            r"\d ?(?:kg|m/s|km/h|mol|[kMGT]?eV|nm|µm|K|°C|kPa|Pa|atm|ppm|[kMG]?Hz|k?J|mL|mg|g/mol|cm-1|N|T)\b"
        ),
    ),
    Signal(
        label="programming contest",
        part="both",
        weights={"complex_coding": 3.6},
        pattern=re.compile(
            r"\b[01]-indexed\b|\bStandard Input\b|\bSample (?:Input|Output)\b|^(?:Input|Output|Constraints):?[ \t\r]*$"
            r"|\b(?:integer |string )?array (?:nums|arr)\b|\binput format\b|\btest cases?\b",
            re.MULTILINE,
        ),
    ),
    Signal(
        label="word problem",
        part="asked",
        trait="math",
        weights={"deep_reasoning": 2.2},
        pattern=re.compile(
            r"(?:\d++[^\n\d]{1,200}){2,6}\b(?:how (?:many|much|long|far|fast|old)"
            r"|what (?:is|was) (?:the|his|her|their)\b[^\n]{0,40}\b(?:total|average|speed|distance|profit|probability)"
            r"|cu[aá]nt[oa]s?|combien|wie ?viele?|quantos|quanti)\b",
            re.IGNORECASE,
        ),
    ),
    Signal(
        label="amounts and a question",
        part="asked",
        trait="math",
        weights={"deep_reasoning": 1.6},
        pattern=re.compile(
            r"(?:[$€£]\d|\d ?(?:%|€|[kcm]?m\b|km|kg|hours?\b|horas?\b|minutes|days|d[ií]as)|\d++[^\n\d]{1,200}\d)[^\n]{1,300}\?"
        ),
    ),
    Signal(
        label="syllogism",
        part="asked",
        weights={"deep_reasoning": 2.6},
        pattern=re.compile(
            r"\b(?:if )?(?:all|every|no|some) \w+ (?:are|is) \w+[^\n]{1,60}\b(?:all|every|no|some) \w+ (?:are|is)\b"
            r"|\b(?:todos|ning[uú]n|algunos) (?:los |las )?\w+ (?:son|es) \w+[^\n]{1,60}\b(?:todos|ning[uú]n|algunos)\b",
            re.IGNORECASE,
        ),
    ),
    Signal(
        label="several choices",
        part="both",
        weights={"qa_retrieval": 1.2, "deep_reasoning": 0.6},
        pattern=re.compile(
            r"^[ \t]*+\(?A[).:][ ].{1,400}\n[ \t]*+\(?B[).:][ ].{1,400}\n[ \t]*+\(?C[).:][ ]", re.MULTILINE
        ),
    ),
    Signal(
        label="a list of labels",
        part="asked",
        weights={"classification": 1.8},
        pattern=re.compile(
            r"(?<![\w./:-])[^\W\d_]{2,20}(?: ?[/|] ?[^\W\d_]{2,20}){2,12}(?![\w/])"
            r"|\b(?:as|into|como|en|entre|als|comme) (?:either )?[\w'-]{2,25}(?:, [\w'-]{2,25}){0,8},?"
            r" (?:or|o|u|ou|oder|and|y|e|et|und) [\w'-]{2,25}\b"
            r"|\[[^\W\d_][\w ]{1,25}(?:, ?[^\W\d_][\w ]{1,25}){1,20}\]",
            re.IGNORECASE,
        ),
    ),
    Signal(
        label="one label or another",
        part="asked",
        weights={"classification": 1.6},
        pattern=re.compile(
            r"\b(?:positiv|negativ|neutr|urgent|spam|relevant|toxic|true|verdader|fake|real)\w{0,5},? (?:or|o|ou|oder) \w",
            re.IGNORECASE,
        ),
    ),
    Signal(
        label="records",
        part="given",
        weights={"classification": 0.6},
        pattern=re.compile(
            r'^[ \t]*+[{\[]?[ \t]*+"[\w ]{1,30}"[ ]?:|^[^,\n]{1,40}(?:,[^,\n]{0,40}){3,30}$|^\|[^\n]{3,300}\|$',
            re.MULTILINE,
        ),
    ),
    Signal(
        label="tool definitions",
        part="both",
        trait="live",
        weights={"agentic_tool_use": 4.0},
        pattern=re.compile(
            r'"name": ?"[\w.-]{1,80}", ?"description"|"input_schema"|"parameters": ?\{ ?"type": ?"(?:object|dict)"|<tools>'
        ),
    ),
    Signal(
        label="a link",
        part="asked",
        trait="live",
        weights={"agentic_tool_use": 0.9},
        pattern=re.compile(r"https?://|\bwww\.\w"),
    ),
    Signal(
        label="an address",
        part="asked",
        weights={"agentic_tool_use": 0.8},
        pattern=re.compile(r"[\w-]@[\w-]{2,40}\.\w{2,6}\b"),
    ),
    Signal(
        label="an inline image",
        part="both",
        trait="vision",
        weights={},
        pattern=re.compile(
            r"data:image/|!\[[^\]\n]{0,80}\]\(|[\w-]\.(?:png|jpe?g|webp|gif|heic|tiff?)\b", re.IGNORECASE
        ),
    ),
    Signal(
        label="many pages",
        part="asked",
        weights={"long_document": 3.0},
        pattern=re.compile(
            r"\b\d{2,5}[- ]?(?:pages?|pgs?|p[áa]ginas|pagine|seiten|seitig\w*|documents|documentos|papers|contracts|contratos"
            r"|reports|informes|transcripts|filings|chapters|(?:\w{3,12} )?interviews|entrevistas)\b"
            r"|\d{2,5} ?(?:页|頁|ページ|страниц)",
            re.IGNORECASE,
        ),
    ),
)


def signals_in(reading: Reading) -> Iterator[Signal]:
    """The signals that a prompt shows; an empty part of it shows none."""
    asked, given = reading.asked, reading.given
    shown = {"asked": asked, "given": given, "both": f"{asked}\n{given}" if given else asked}
    return (signal for signal in SIGNALS if (text := shown[signal.part]) and signal.pattern.search(text))


def weight_of_length(given_chars: int) -> float:
    """Log-odds of ``long_document`` for so much pasted text: none below a page, 3.5 at about 8,000 tokens, 4 at most."""
    if given_chars < PAGE_CHARS:
        return 0.0
    return min(4.0, 3.5 * given_chars / LONG_DOCUMENT_CHARS)
