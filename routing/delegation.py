"""Whether a task is worth delegating. Not where only the host has seen what it speaks of, nor where it would cost more.

    by itself     the host's own model reads the task and writes the answer
    delegated     the chosen model does; the host's model reads our tools' schemas, writes the task down, and reads the answer

What the host pays for delegating is the sum of `routing.report.WholeLoop`, for one task. The conversation is found by what
people say of one; a phrase that is missed costs an answer that asks back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from routing.analyzer.reading import read
from routing.pricing import cost_microusd, spoken_usd
from routing.report import Host, host_microusd
from routing.router import Decision
from routing.types import Task, Usage

# What was said before, whatever else the prompt holds.
_SAID_BEFORE = re.compile(
    r"""
      \b(?:as|like|what)\s+(?:we|you\s+and\s+i)\s+(?:just\s+|already\s+)*
          (?:discussed|talked\s+about|agreed|decided|went\s+over)\b
    | \b(?:as|like|what|which|that)\s+(?:you|i)\s+(?:just\s+)?
          (?:said|told\s+(?:you|me)|wrote|mentioned|suggested|proposed|showed\s+(?:you|me))
          (?:\s+\w+)?\s+(?:earlier|before|above|previously)\b
    | \b(?:we|you|i)(?:'ve|\s+have)?\s+just\s+
          (?:said|wrote|written|discussed|made|built|fixed|changed|suggested|told\s+(?:you|me))\b
    | \byour\s+(?:previous|last|earlier)\s+(?:answer|message|reply|response|suggestion|version|draft)\b
    | \bearlier\s+in\s+(?:this|our)\s+(?:conversation|chat|thread|session|discussion)\b
    | \b(?:continue|go\s+on|carry\s+on|pick\s+up)\s+(?:from\s+)?where\s+(?:we|you|i)\s+(?:left|stopped)\b
    | \bwie\s+(?:vorhin\s+|eben\s+)?(?:besprochen|vereinbart)\b
    | \bdeine[rn]?\s+(?:letzte|vorherige|vorige)[nr]?\s+(?:antwort|nachricht)\b
    | \bcomme\s+(?:convenu\b|(?:nous\s+(?:en\s+)?avons|on\s+(?:en\s+)?a)\s+(?:discut|parl)) | \bréponse\s+précédente\b
    | \bcomo\s+(?:hablamos|acordamos|comentamos|quedamos|combinamos|discutimos|falamos)\b
    | \btu\s+respuesta\s+anterior\b | \bsua\s+resposta\s+anterior\b
    | \bcome\s+(?:abbiamo\s+)?(?:discusso|concordato)\b | \btua\s+risposta\s+precedente\b
    | как\s+мы\s+(?:обсуждали|договорились|говорили) | тво\w+\s+(?:предыдущ|последн)\w+\s+ответ
    | (?:刚才|之前|上面)(?:我们)?(?:讨论|说|提到|写)的 | 你(?:刚才|之前|上面)(?:说|写|提到|给)
    | (?:さっき|先ほど|前に)(?:話し|言っ|書い) | 前の(?:回答|返信|メッセージ)
    | जैसा\s+(?:कि\s+)?हमने\s+(?:बात|चर्चा) | आपने\s+(?:अभी|पहले)\s+(?:कहा|बताया)
    | كما\s+(?:ناقشنا|اتفقنا|ذكرنا) | إجابتك\s+السابقة
    """,
    re.VERBOSE | re.IGNORECASE,
)

# "Fix this bug.": the whole of it, with nothing that "this" could be.
_POINTS_AT_NOTHING = re.compile(
    r"""
    \A\s*(?:please\s+|(?:can|could|would)\s+you\s+(?:please\s+)?)?
    (?:fix|explain|review|refactor|summari[sz]e|translate|improve|rewrite|shorten|debug|optimi[sz]e|describe|check
    |proofread|finish)
    \s+(?:it|this|these|that|those|the\s+(?:attached|above)|(?:the\s+)?\w+\s+above)\b[^.:;\n]{0,40}[.!?]*\s*\Z
    """,
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Whether to delegate, and the sentence that says why or why not."""

    delegate: bool
    reason: str


def advice_on(task: Task, decision: Decision, host: Host | None) -> Advice:
    """Advise a host that would delegate the task. Without a ``host`` nothing is known of what it would pay itself."""
    if missing := _unseen(task):
        return Advice(
            delegate=False,
            reason=f'Do it yourself, or put what it needs into prompt: "{missing}" is only known in your conversation.',
        )
    if decision.analysis.category == "embedding":
        return Advice(delegate=True, reason="It takes an embedding model, which you are not.")
    return _by_cost(decision, host)


def _unseen(task: Task) -> str | None:
    """The words that speak of what only the host has seen; none where the conversation goes along."""
    if task.history or task.session_id:
        return None
    reading = read(task.prompt)
    alone = not (reading.given or task.images or task.texts)
    found = _SAID_BEFORE.search(reading.asked) or (_POINTS_AT_NOTHING.search(reading.asked) if alone else None)
    return found[0].strip() if found else None


def _by_cost(decision: Decision, host: Host | None) -> Advice:
    if host is None:
        return Advice(
            delegate=True, reason="It stands alone. Set POINTSMAN_HOST_MODEL to compare what it would cost you."
        )
    analysis, upstream = decision.analysis, decision.selection.estimated_cost_microusd
    written, answer = analysis.estimated_input_tokens - analysis.history_tokens, analysis.estimated_output_tokens
    itself = cost_microusd(Usage(input_tokens=written, output_tokens=answer), host.prices)
    overhead = host_microusd(host, tasks=1, task_tokens=written, answer_tokens=answer)
    if itself is None or overhead is None or upstream is None:
        unknown = decision.selection.primary_model if upstream is None else host.model_id
        return Advice(
            delegate=True, reason=f"It stands alone. The price of {unknown} is unknown, so costs cannot be compared."
        )
    delegated = upstream + overhead
    sums = (
        f"about {spoken_usd(itself)} on {host.model_id}, {spoken_usd(delegated)} delegated, of which {spoken_usd(overhead)} "
        "are yours for the tools' schemas, writing the task down and reading the answer"
    )
    if delegated > itself:
        return Advice(delegate=False, reason=f"Do it yourself: {sums}.")
    return Advice(delegate=True, reason=f"It stands alone and costs less: {sums}.")
