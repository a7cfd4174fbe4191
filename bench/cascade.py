"""What verify-then-escalate is worth: a cheap model that is checked, beside the cheap one alone and the dear one alone.

    python bench/cascade.py [--tasks 800] [--cheap 0.70] [--dear 0.98] [--unseen 0.05] [--seed 7] [--json]

Two scripted models answer on loopback, over a real wire and at the registry's prices for a real pair. Whether one of them errs
on a task is drawn by a hash of seed, model and prompt, before anybody checks anything; ``--unseen`` of the errors are such that
the check cannot see them. Half of the tasks ask for code and bring tests, which the sandbox runs; half are sums, which are
worked out again. Whether an answer is right is looked up, not asked of the check. In the first cascade the cheap model repeats
its error when it is told of it; in the second it mends as often as it is right at first. The last rows are tasks that nothing
can check. Prints Wilson intervals of the accuracies and bootstrap intervals of the costs, all at 95 %. Informs; gates nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from composition import SHIPPED_REGISTRY, composed, settings_of  # noqa: E402 - after the path
from routing.jobs import unheard  # noqa: E402
from routing.router import Router  # noqa: E402
from routing.types import Constraints, RouteRecord, Task, VerifyMode  # noqa: E402

PROVIDER, CHEAP, DEAR = "openrouter", "openrouter/gpt-6-luna", "openrouter/gpt-6.1-sol"
AT_ONCE = 4
ROUNDS = 2_000
Z = 1.959964
"""The normal quantile of 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A task with its right answer, errors that its check sees, and one that it cannot see."""

    prompt: str
    right: str
    wrong: tuple[str, ...]
    unseen: str
    tests: str = ""


def code_question(number: int) -> Question:
    """A small function, with the tests that a caller would give."""
    factor, offset = 2 + number % 17, number
    name = f"f{number}"

    def body(expression: str) -> str:
        return f"```python\ndef {name}(xs):\n    return {expression}\n```"

    right = f"sum({factor} * x + {offset} for x in xs)"
    return Question(
        prompt=f"Write a Python function `{name}(xs)` that returns the sum over a list of whole numbers of {factor} times the "
        f"number plus {offset}; 0 for an empty list.",
        right=body(right),
        wrong=(
            body(f"sum({factor} * x for x in xs) + {offset}"),
            body(f"sum({factor + 1} * x + {offset} for x in xs)"),
            body(f"[{factor} * x + {offset} for x in xs]"),
            f"```python\ndef {name}(xs)\n    return sum(xs)\n```",
        ),
        unseen=body(f"sum({factor} * abs(x) + {offset} for x in xs)"),  # the tests have no number below zero
        tests=f"{name}([1, 2]) == {3 * factor + 2 * offset}\n{name}([]) == 0\n{name}([5]) == {5 * factor + offset}",
    )


def sum_question(number: int) -> Question:
    """A calculation, whose equation can be worked out again."""
    one, other, third = 100 + number * 7 % 899, 11 + number * 13 % 88, 100 + number * 31 % 900
    value, left = one * other + third, f"{one} * {other} + {third}"
    return Question(
        prompt=f"What is {one} times {other}, plus {third}? Answer with the equation.",
        right=f"{left} = {value}",
        wrong=(f"{left} = {value + 10}", f"{left} = {one * (other + third)}", f"{left} = {value - third}"),
        unseen=f"{one + 1} * {other} + {third} = {value + other}",  # true, and not what was asked
    )


def open_question(number: int) -> Question:
    """Something of which a machine can say nothing."""
    return Question(
        prompt=f"What does a lighthouse keeper of station {number} do when the fog comes in?",
        right=f"The keeper of station {number} sounds the horn and trims the lamp.",
        wrong=(f"The keeper of station {number} goes home.",),
        unseen=f"The keeper of station {number} rings nothing.",
    )


@dataclass(slots=True, kw_only=True)
class Models:
    """The two models: whether one errs, and how, is a matter of hashes. ``mends`` where a repair is another draw."""

    accuracy: dict[str, float]
    unseen: float
    seed: int
    mends: bool = False
    questions: dict[str, Question] = field(default_factory=dict[str, Question])

    def answer(self, model: str, messages: Sequence[dict[str, Any]]) -> str:
        """What a model says to a conversation."""
        prompts = [_text_of(message) for message in messages if message["role"] == "user"]
        question = self.questions[prompts[0]]
        again = "again" if self.mends and len(prompts) > 1 else ""
        if self._draw(model, prompts[0], again, "errs") < self.accuracy[model]:
            return question.right
        if self._draw(model, prompts[0], again, "unseen") < self.unseen:
            return question.unseen
        return question.wrong[int(self._draw(model, prompts[0], again, "how") * len(question.wrong))]

    def _draw(self, *parts: str) -> float:
        digest = hashlib.sha256("\0".join((str(self.seed), *parts)).encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64


def _text_of(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


class Wire(BaseHTTPRequestHandler):
    """Chat Completions, streamed. A token is four characters; both models count alike."""

    protocol_version = "HTTP/1.1"

    def __init__(self, models: Models, *args: Any) -> None:
        self._models = models
        super().__init__(*args)

    def do_POST(self) -> None:
        """Answer a conversation."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = self._models.answer(f"{PROVIDER}/{body['model'].rpartition('/')[2]}", body["messages"])
        read, written = (math.ceil(len(part) / 4) for part in ("".join(map(_text_of, body["messages"])), text))
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        parts: tuple[dict[str, Any], ...] = (
            {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": usage},
        )
        for part in parts:
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": body["model"], **part}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Stay quiet."""


@contextmanager
def upstream(models: Models) -> Generator[str]:
    """The models on loopback, and their address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Wire, models))
    server.request_queue_size = 64
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def overlay() -> dict[str, Any]:
    """The pair alone, at the shipped prices; at cost preference cheapest the cheap one is asked first."""
    shipped = json.loads(SHIPPED_REGISTRY.read_text(encoding="utf-8"))
    others = [
        name for name, row in shipped["models"].items() if row["provider"] == PROVIDER and name not in (CHEAP, DEAR)
    ]
    matrix = {
        name: {"cost_optimized": CHEAP} for name in shipped["policies"]["current"]["matrix"] if name != "embedding"
    }
    return {"models": dict.fromkeys(others), "policies": {"current": {"matrix": matrix}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One way of answering all tasks: whether each answer was right, what it cost, and what was claimed of it."""

    right: list[bool]
    microusd: list[int]
    verified: int
    steps: float

    @classmethod
    def of(cls, questions: Sequence[Question], records: Sequence[RouteRecord]) -> Run:
        returned = [[step for step in record.verification if step.returned] for record in records]
        return cls(
            right=[record.text == question.right for question, record in zip(questions, records, strict=True)],
            microusd=[record.cost_microusd or 0 for record in records],
            verified=sum(bool(steps) and steps[0].verdict == "verified" for steps in returned),
            steps=sum(max(1, len(record.verification)) for record in records) / len(records),
        )


async def played(router: Router, questions: Sequence[Question], verify: VerifyMode, **constraints: Any) -> Run:
    """Have all questions answered, a few at once."""
    records: list[RouteRecord | None] = [None] * len(questions)
    places = iter(range(len(questions)))

    async def work_off() -> None:
        for place in places:
            question = questions[place]
            task = Task(
                prompt=question.prompt,
                verify=verify,
                tests="" if verify == "none" else question.tests,
                constraints=Constraints(**constraints),
            )
            records[place] = await router.route(task, unheard)

    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(work_off)
    return Run.of(questions, [record for record in records if record is not None])


def wilson(right: Sequence[bool]) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    times, share = len(right), sum(right) / len(right)
    middle = (share + Z**2 / (2 * times)) / (1 + Z**2 / times)
    half = Z / (1 + Z**2 / times) * math.sqrt(share * (1 - share) / times + Z**2 / (4 * times**2))
    return middle - half, middle + half


def cost_share(run: Run, dear: Run, seed: int) -> tuple[float, float, float]:
    """What a run cost of what the dear model alone did, and its 95 % bootstrap interval over tasks."""
    random = np.random.default_rng(seed)
    costs, dear_costs = np.array(run.microusd, dtype=float), np.array(dear.microusd, dtype=float)
    chosen = random.integers(0, len(costs), size=(ROUNDS, len(costs)))
    shares = costs[chosen].sum(axis=1) / dear_costs[chosen].sum(axis=1)
    low, high = np.percentile(shares, (2.5, 97.5))
    return float(costs.sum() / dear_costs.sum()), float(low), float(high)


async def main(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Play every row in one run."""
    half = options.tasks // 2
    checkable = [ask(number) for ask in (code_question, sum_question) for number in range(half)]
    opened = [open_question(number) for number in range(half // 2)]
    models = Models(accuracy={CHEAP: options.cheap, DEAR: options.dear}, unseen=options.unseen, seed=options.seed)
    models.questions = {question.prompt: question for question in (*checkable, *opened)}
    with tempfile.TemporaryDirectory() as home, upstream(models) as url:
        await anyio.Path(home, "registry.json").write_text(json.dumps(overlay()), encoding="utf-8")
        path = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "TMPDIR"}}
        settings = settings_of(
            {
                **path,
                "POINTSMAN_HOME": home,
                "POINTSMAN_LOCAL_MODEL": "off",
                "POINTSMAN_DISCOVER": "false",
                "POINTSMAN_ANALYZER": "learned",
                "POINTSMAN_SELECTION": "matrix",
                "OPENROUTER_API_KEY": "sk-bench",
                "OPENROUTER_BASE_URL": url,
            }
        )
        async with composed(settings) as services:
            play = partial(rows, services.router, models, options.seed)
            return [*await play("", checkable), *await play(", nothing to check", opened)]


async def rows(
    router: Router, models: Models, seed: int, suffix: str, questions: Sequence[Question]
) -> list[dict[str, Any]]:
    """The cheap model alone, the dear one alone, and the cascade, whose repairs are in vain or not."""
    dear = await played(router, questions, "none", force_model=DEAR)
    cheap = await played(router, questions, "none", force_model=CHEAP)
    told: Callable[[str, Run], dict[str, Any]] = partial(row, dear=dear, seed=seed)
    found = [told(f"cheap only{suffix}", cheap), told(f"dear only{suffix}", dear)]
    for mends in (False, True):
        models.mends = mends
        begun = time.perf_counter()
        cascade = await played(router, questions, "auto", cost_preference="cheapest")
        name = f"cascade{suffix}" if suffix else f"cascade, repairs {'mend' if mends else 'in vain'}"
        found.append({**told(name, cascade), "seconds": round(time.perf_counter() - begun, 1)})
        if suffix:
            break
    models.mends = False
    return found


def row(name: str, run: Run, dear: Run, seed: int) -> dict[str, Any]:
    """A run as a row of the table."""
    share, *ends = (round(part, 4) for part in cost_share(run, dear, seed))
    return {
        "run": name,
        "tasks": len(run.right),
        "accuracy": round(sum(run.right) / len(run.right), 4),
        "accuracy_95": [round(end, 4) for end in wilson(run.right)],
        "cost_of_dear": share,
        "cost_of_dear_95": ends,
        "microusd": sum(run.microusd),
        "verified": run.verified,
        "answers_a_task": run.steps,
    }


def show(table: Sequence[dict[str, Any]]) -> None:
    """For people."""
    print(f"{'':32}{'tasks':>6}  {'accuracy':>8}  {'95 %':^15}  {'cost':>6}  {'95 %':^15}  {'verified':>8}  answers")
    for one in table:
        low, high = one["accuracy_95"]
        least, most = one["cost_of_dear_95"]
        print(
            f"{one['run']:32}{one['tasks']:6}  {one['accuracy']:8.1%}  {low:6.1%} - {high:6.1%}  {one['cost_of_dear']:6.1%}  "
            f"{least:6.1%} - {most:6.1%}  {one['verified']:8}  {one['answers_a_task']:7.2f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=800)
    parser.add_argument("--cheap", type=float, default=0.70)
    parser.add_argument("--dear", type=float, default=0.98)
    parser.add_argument("--unseen", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = anyio.run(main, options)
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
