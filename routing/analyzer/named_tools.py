"""Tools that a prompt asks for in so many words: "use Python", "search the web", "what did I tell you about".

Only plain requests count. Writing a program is not running one, and a question about search engines is no search.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PYTHON = r"(?:python|pyth[oó]n|パイソン|पायथन|بايثون|питон\w*)"
_FIGURE = (
    r"what(?:'s| is| are)|how (?:many|much)|calculat|comput|evaluat|work out|plot|draw|chart|graph|verif|solve|simulat|count|"
    r"calcul|cu[aá]nto|combien|berechn|wie ?viel|trace|zeichne|quanto|desenh|disegna|сколько|посчита|вычисл|построй|"
    r"计算|多少|画|計算|いくつ|描|गणना|कितन|احسب|كم|ارسم"
)
_USE = "use|using|with|via|run|usa|usando|con|com|utilise[rz]?|avec|mit|benutze|nutze|verwende|используй|\u0441 помощью"
_WITH_PYTHON = rf"(?:\b(?:{_USE})\s+|用|使用|استخدم\s+){_PYTHON}|{_PYTHON}\s*(?:を使|で|का उपयोग|से)"
_WRITES = r"\b(?:write|implement|function|class|script|program|explain|difference|library|tutorial|refactor|review)\b"

# What a text must hold (lower case) for the search to be worth its time, and the patterns.
_PATTERNS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "web_search": (
        (
            *("web", "internet", "online", "google", "rete", "línea", "ligne", "netz", "интернет", "сети"),
            *("上网", "网上", "在网络", "ネット", "ウェブ", "इंटरनेट", "الإنترنت", "الويب"),
        ),
        (
            r"\b(?:search|look(?:ing)? (?:\w+ ){0,3}up|check|find)\b.{0,40}\b(?:web|internet|online)\b",
            r"\b(?:google|web[- ]search) (?:it|for|this|that|the)\b",
            (
                r"\b(?:busca|cherche|recherche|such|procur|pesquis|cerca)\w*\b.{0,40}"
                r"\b(?:web|internet|rete|línea|ligne|netz|online)\b"
            ),
            (
                r"(?:поищи|найди).{0,30}(?:интернет|сети)|"
                r"(?:上网|网上|在网络)\S{0,4}(?:搜|查)|(?:ネット|ウェブ)で(?:検索|調べ)|इंटरनेट पर|"
                r"ابحث.{0,20}(?:الإنترنت|الويب)"
            ),
        ),
    ),
    "fetch_url": (
        ("://",),
        (
            r"\b(?:read|fetch|open|visit|summari[sz]e|scrape|go to|check|look at|according to)\b.{0,80}https?://",
            r"https?://\S+.{0,80}\b(?:say|page|article|site|summari[sz]e|read)\b",
        ),
    ),
    "execute_python": (
        (
            *("run", "execute", "interpreter", "python", "pythón", "sandbox", "питон"),
            *("パイソン", "पायथन", "بايثون"),
        ),
        (
            r"\b(?:run|execute)\b.{0,40}\b(?:code|script|snippet|python|program)\b",
            rf"^(?=.*(?:{_FIGURE}))(?!.*{_WRITES}).*(?:{_WITH_PYTHON})",
            r"\b(?:execute_python|code interpreter|python sandbox)\b",
        ),
    ),
    "memory_search": (
        (
            *("tell", "told", "say", "said", "mention", "discuss", "decide", "remember", "recall", "memor", "acuerdas"),
            *("souviens", "erinnerst", "lembra", "ricordi", "помнишь", "记得", "覚えて", "याद", "تتذكر"),
        ),
        (
            r"\bwhat (?:did|have) (?:i|we) (?:tell|told|say|said|mention|discuss|decide)",
            r"\b(?:do you (?:still )?remember|recall (?:what|my|our)|from (?:your )?memory|search (?:your|the) memor)",
            (
                r"\b(?:te acuerdas|tu te souviens|erinnerst du dich|você (?:se )?lembra|ti ricordi)\b|"
                r"ты помнишь|你还?记得|覚えて(?:い)?ます?か|याद है|هل تتذكر"
            ),
        ),
    ),
    "memory_store": (
        ("remember", "memor", "note", "keep in mind"),
        (
            r"^(?:please )?(?:remember|memori[sz]e|note|keep in mind)\b(?! (?:when|how|the (?:time|days)))",
            r"\b(?:save|store|put|add)\b.{0,60}\b(?:in|to|into) (?:your |the |long-term )*memory\b",
        ),
    ),
}
_TOOLS = {
    name: (needles, re.compile("|".join(parts), re.IGNORECASE | re.DOTALL))
    for name, (needles, parts) in _PATTERNS.items()
}
_READ_CHARS = 2_000
"""A request stands at the beginning or the end of what is asked: more is not read."""


def tools_named(asked: str) -> tuple[str, ...]:
    """The names of the tools that the instruction asks for, in the order of the table."""
    ends = asked if len(asked) <= _READ_CHARS else f"{asked[: _READ_CHARS // 2]}\n{asked[-_READ_CHARS // 2 :]}"
    read, lowered = ends.strip(), ends.lower()
    return tuple(
        name
        for name, (needles, pattern) in _TOOLS.items()
        if any(needle in lowered for needle in needles) and pattern.search(read)
    )
