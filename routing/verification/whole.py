"""Whether there is an answer at all."""

from __future__ import annotations

import re

from routing.types import Finding
from routing.verification.work import Work

_REFUSAL_CHARS = 400
"""A refusal is short; a long answer that begins with an apology goes on to say something."""

_REFUSALS = re.compile(
    r"""
    \A\W*+
    (?:(?:i['\u2019]?m|i\ am)\ (?:very\ |really\ |so\ )?sorry,?\ (?:but\ )?|sorry,?\ (?:but\ )?|unfortunately,?\ )?
    (?:
      (?:i|we)\ (?:can(?:['\u2019]t|not)|am\ (?:not\ able|unable)\ to|are\ unable\ to|won['\u2019]t)\ (?:be\ able\ to\ )?
        (?:help|assist|comply|provide|fulfil|do|answer|create|write|generate|access|browse|continue|engage|discuss|support)\b
    | as\ an\ ai(?:\ language)?\ (?:model|assistant),?\ i
    | lo\ siento,?\ (?:pero\ )?no\ puedo | no\ puedo\ (?:ayudar|hacer|responder|cumplir|proporcionar)
    | (?:je\ suis\ )?d[\u00e9e]sol[\u00e9e]e?,?\ (?:mais\ )?je\ ne\ (?:peux|suis)
    | (?:es\ tut\ mir\ leid|tut\ mir\ leid|leider)[^.]{0,40}\ (?:kann\ ich|ich\ kann)[^.]{0,80}nicht
    | (?:desculpe|sinto\ muito|lamento),?\ (?:mas\ )?n[\u00e3a]o\ posso
    | mi\ dispiace,?\ (?:ma\ )?non\ posso
    | (?:\u62b1\u6b49|\u5bf9\u4e0d\u8d77)[\uff0c,]?\u6211(?:\u65e0\u6cd5|\u4e0d\u80fd)       # Chinese
    | \u7533\u3057\u8a33(?:\u3042\u308a\u307e\u305b\u3093|\u3054\u3056\u3044\u307e\u305b\u3093)  # Japanese
    # Russian
    | \u0438\u0437\u0432\u0438\u043d\u0438\u0442\u0435,?\ (?:\u043d\u043e\ )?\u044f\ \u043d\u0435\ \u043c\u043e\u0433\u0443
    )
    """,
    re.IGNORECASE | re.VERBOSE,
)


def is_complete(work: Work) -> Finding | None:
    """An answer that is empty or was cut off is none."""
    if not work.answer.strip():
        return Finding(check="complete", passed=False, detail="the answer is empty")
    if work.finish_reason == "length":
        return Finding(check="complete", passed=False, detail="the answer was cut off at its token limit")
    if work.finish_reason == "content_filter":
        return Finding(check="complete", passed=False, detail="the provider's content filter ended the answer")
    return Finding(check="complete", passed=True, detail="the answer is whole")


def answers(work: Work) -> Finding | None:
    """A short text that begins as refusals do is one."""
    refused = len(work.answer) <= _REFUSAL_CHARS and _REFUSALS.match(work.answer)
    detail = "the answer declines the task" if refused else "the task was not declined"
    return Finding(check="answered", passed=not refused, detail=detail)
