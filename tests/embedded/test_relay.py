from __future__ import annotations

import anyio
import pytest

from routing.embedded.relay import relayed
from routing.types import Progress


class Listener:
    def __init__(self) -> None:
        self.heard: list[float] = []
        self.may_go_on = anyio.Event()

    async def __call__(self, progress: Progress) -> None:
        self.heard.append(progress.done)
        await self.may_go_on.wait()


@pytest.mark.anyio
async def test_a_late_listener_hears_the_newest_report_only_and_always_the_last() -> None:
    listener = Listener()
    async with relayed(listener) as report:
        report(Progress(message="", done=1))
        await anyio.wait_all_tasks_blocked()
        report(Progress(message="", done=2))
        report(Progress(message="", done=3))
        listener.may_go_on.set()
    assert listener.heard == [1, 3]


@pytest.mark.anyio
async def test_an_error_of_the_work_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with relayed(Listener()):
            raise ZeroDivisionError
