"""A probe finds each kind of hole. The holes are cut into bubblewrap one at a time, so that nothing runs without walls."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tools.sandbox.bubblewrap import Bubblewrap
from tools.sandbox.probing import probed
from tools.sandbox.types import Launch, Limits

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(Bubblewrap().missing() is not None, reason=str(Bubblewrap().missing())),
]
Arguments = list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holed:
    """Bubblewrap with its command line changed."""

    change: Callable[[Arguments], Arguments]
    name: str = "holed"

    def missing(self) -> str | None:
        return None

    def launch(self, limits: Limits) -> Launch:
        launch = Bubblewrap().launch(limits)
        return replace(launch, argv=tuple(self.change(list(launch.argv))))


def without(*options: str, values: int = 0) -> Callable[[Arguments], Arguments]:
    def change(arguments: Arguments) -> Arguments:
        for option in options:
            at = arguments.index(option)
            del arguments[at : at + 1 + values]
        return arguments

    return change


def with_options(*options: str) -> Callable[[Arguments], Arguments]:
    """Options more, ahead of the command: the last word on the file system is bubblewrap's."""

    def change(arguments: Arguments) -> Arguments:
        at = arguments.index("--remount-ro")
        return [*arguments[:at], *options, *arguments[at:]]

    return change


def without_a_filter(arguments: Arguments) -> Arguments:
    return without("--seccomp", values=1)(arguments)


def on_the_network(arguments: Arguments) -> Arguments:
    return without("--unshare-net")(without_a_filter(arguments))


HOST_TMP = tempfile.gettempdir()
HOLES: dict[str, Callable[[Arguments], Arguments]] = {
    "a file of the host": with_options("--ro-bind", HOST_TMP, HOST_TMP),
    "a folder of the host, and writes there": with_options("--bind", HOST_TMP, HOST_TMP),
    "the host's loopback network": on_the_network,
    "new processes": without_a_filter,
    "the server's environment": with_options("--setenv", "API_KEY", "sk-canary"),
    "the server's processes": with_options("--ro-bind", "/proc", "/proc"),
}


async def test_bubblewrap_as_it_is_holds() -> None:
    verdict = await probed(Bubblewrap(), Limits(), {"API_KEY": "sk-canary", "LANG": "C.UTF-8"})

    assert verdict.problem is None
    assert verdict.usable


@pytest.mark.parametrize(("reached", "change"), HOLES.items(), ids=HOLES)
async def test_a_hole_is_found(reached: str, change: Callable[[Arguments], Arguments]) -> None:
    verdict = await probed(Holed(change=change), Limits(), {"API_KEY": "sk-canary"})

    assert not verdict.usable
    assert str(verdict.problem).startswith("It does not isolate")
    assert reached in str(verdict.problem)


async def test_walls_in_which_nothing_can_be_done_prove_nothing() -> None:
    sealed = Holed(change=with_options("--remount-ro", "/tmp"))  # noqa: S108 - the guest's
    verdict = await probed(sealed, Limits(), {})

    assert "cannot write to its own folder" in str(verdict.problem)


async def test_a_guest_that_does_not_start_says_why() -> None:
    verdict = await probed(Holed(change=with_options("--no-such-option")), Limits(), {})

    assert "does not start" in str(verdict.problem)
    assert "no-such-option" in str(verdict.problem)


async def test_what_is_missing_is_not_even_started() -> None:
    class Missing(Holed):
        def missing(self) -> str | None:
            return "Install it."

        def launch(self, limits: Limits) -> Launch:
            raise AssertionError("started")

    verdict = await probed(Missing(change=lambda arguments: arguments), Limits(), {})

    assert verdict.problem == "Install it."
