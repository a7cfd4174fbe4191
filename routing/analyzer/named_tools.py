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

_PATTERNS: Mapping[str, tuple[str, ...]] = {
    "web_search": (
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
    "fetch_url": (
        r"\b(?:read|fetch|open|visit|summari[sz]e|scrape|go to|check|look at|according to)\b.{0,80}https?://",
        r"https?://\S+.{0,80}\b(?:say|page|article|site|summari[sz]e|read)\b",
    ),
    "execute_python": (
        r"\b(?:run|execute)\b.{0,40}\b(?:code|script|snippet|python|program)\b",
        rf"^(?=.*(?:{_FIGURE}))(?!.*{_WRITES}).*(?:{_WITH_PYTHON})",
        r"\b(?:execute_python|code interpreter|python sandbox)\b",
    ),
    "memory_search": (
        r"\bwhat (?:did|have) (?:i|we) (?:tell|told|say|said|mention|discuss|decide)",
        r"\b(?:do you (?:still )?remember|recall (?:what|my|our)|from (?:your )?memory|search (?:your|the) memor)",
        (
            r"\b(?:te acuerdas|tu te souviens|erinnerst du dich|você (?:se )?lembra|ti ricordi)\b|"
            r"ты помнишь|你还?记得|覚えて(?:い)?ます?か|याद है|هل تتذكر"
        ),
    ),
    "memory_store": (
        r"^(?:please )?(?:remember|memori[sz]e|note|keep in mind)\b(?! (?:when|how|the (?:time|days)))",
        r"\b(?:save|store|put|add)\b.{0,60}\b(?:in|to|into) (?:your |the |long-term )*memory\b",
    ),
}
_TOOLS = {name: re.compile("|".join(parts), re.IGNORECASE | re.DOTALL) for name, parts in _PATTERNS.items()}
_READ_CHARS = 2_000
"""A request stands at the beginning or the end of what is asked: more is not read."""


def tools_named(asked: str) -> tuple[str, ...]:
    """The names of the tools that the instruction asks for, in the order of the table."""
    ends = asked if len(asked) <= _READ_CHARS else f"{asked[: _READ_CHARS // 2]}\n{asked[-_READ_CHARS // 2 :]}"
    return tuple(name for name, pattern in _TOOLS.items() if pattern.search(ends.strip()))
