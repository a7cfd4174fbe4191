from __future__ import annotations

import socket
from collections.abc import Sequence

import anyio
import httpcore2
import pytest

from routing.errors import ToolFailed
from tests.tools.fetching.website import PUBLIC, Diverted, Names, serving
from tools.fetching.addresses import Allowed, Refused
from tools.fetching.dialer import VettingBackend, resolved

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        [PUBLIC, "10.0.0.1"],
        ["10.0.0.1", PUBLIC],
        [PUBLIC, "fd00::1"],
        ["::1", PUBLIC],
        ["2606:4700::1111", "::ffff:10.0.0.1"],
        ["fe80::1%eth0"],
        ["169.254.169.254"],
    ],
)
async def test_one_answer_that_is_not_public_refuses_them_all(answers: Sequence[str]) -> None:
    network, names = Diverted(0), Names(site_example=[answers])
    with pytest.raises(Refused, match=r"site\.example.*POINTSMAN_FETCH_ALLOW"):
        await VettingBackend(Allowed(), resolve=names, inner=network).connect_tcp("site.example", 80)

    assert not network.dialled
    assert names.asked == ["site.example"]


async def test_the_address_that_was_vetted_is_the_one_that_is_dialled_though_the_name_changes_its_mind() -> None:
    names = Names(site_example=[[PUBLIC], ["127.0.0.1"]])
    async with serving({}) as site:
        network = Diverted(site.port)
        backend = VettingBackend(Allowed(), resolve=names, inner=network)
        stream = await backend.connect_tcp("site.example", 80)
        await stream.aclose()
        with pytest.raises(Refused):
            await backend.connect_tcp("site.example", 80)

    assert network.dialled == [(PUBLIC, 80)]
    assert names.asked == ["site.example"] * 2  # one look-up for each dial


async def test_over_the_real_network_loopback_is_not_reached_unless_it_is_allowed() -> None:
    async with serving({}) as site:
        with pytest.raises(Refused):
            await VettingBackend(Allowed()).connect_tcp("localhost", site.port)
        assert site.connections == 0

        stream = await VettingBackend(Allowed.of(["127.0.0.0/8", "::1/128"])).connect_tcp("localhost", site.port)
        await stream.aclose()
        await anyio.wait_all_tasks_blocked()
        assert site.connections == 1


async def test_where_the_first_address_does_not_answer_the_next_one_is_dialled() -> None:
    async with serving({}) as site:
        network = Diverted(site.port)
        network.unreachable = {"2606:4700::1111"}
        names = Names(site_example=[["2606:4700::1111", PUBLIC]])
        stream = await VettingBackend(Allowed(), resolve=names, inner=network).connect_tcp(
            "site.example", 443, timeout=5
        )
        await stream.aclose()

    assert [host for host, _ in network.dialled] == ["2606:4700::1111", PUBLIC]


async def test_a_name_that_is_not_found_is_named_and_a_passing_failure_may_be_tried_again() -> None:
    async def temporarily_not(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    async def never(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for resolve, retryable in ((temporarily_not, True), (never, False)):
        with pytest.raises(ToolFailed, match=r"site\.example cannot be found") as failed:
            await VettingBackend(Allowed(), resolve=resolve).connect_tcp("site.example", 80)
        assert failed.value.retryable is retryable


async def test_a_look_up_that_never_ends_is_cut_with_the_connection() -> None:
    async def endless(host: str, port: int) -> Sequence[str]:
        await anyio.sleep_forever()
        return []

    with pytest.raises(httpcore2.ConnectTimeout):
        await VettingBackend(Allowed(), resolve=endless).connect_tcp("site.example", 80, timeout=0.01)


async def test_unix_sockets_cannot_be_dialled() -> None:
    with pytest.raises(NotImplementedError):
        await VettingBackend(Allowed()).connect_unix_socket("socket")


async def test_the_systems_resolver_gives_addresses() -> None:
    assert "127.0.0.1" in await resolved("127.0.0.1", 80)
