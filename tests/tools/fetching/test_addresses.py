from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import SettingsError
from tests.tools.fetching.website import Names, reply, world
from tools.fetching.addresses import Allowed, Refused, is_public

PUBLIC_ONLY = Allowed()

NOT_TO_BE_READ = [
    # loopback, in every spelling that some resolver understands
    "http://127.0.0.1/",
    "http://127.0.0.1:80/",
    "http://127.0.0.1./",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.255.255.254/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0x7F.0x0.0x0.0x1/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://00000177.0.0.1/",
    "http://127.0.0.01/",
    "http://127.0.0.0x1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://①②⑦.⓪.⓪.①/",
    "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/",
    "http://127。0。0。1/",
    "http://127.0.0.1%2f@example.com/",
    "http://%31%32%37.0.0.1/",
    # names that this computer answers to
    "http://localhost/",
    "http://LOCALHOST./",
    "http://ⓛocalhost/",
    # networks that nobody else can see
    "http://10.0.0.1/",
    "http://10.255.255.255/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://198.18.0.1/",
    "http://192.0.0.1/",
    "http://192.0.2.1/",
    "http://203.0.113.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    # what clouds tell their own machines
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/",
    "http://0xA9FEA9FE/",
    "http://168.63.129.16/",
    "http://100.100.100.200/",
    "http://192.0.0.192/",
    "http://[fd00:ec2::254]/",
    "http://[fd20:ce::254]/",
    # the same in IPv6, and IPv4 inside IPv6
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:8.8.8.8]/",
    "http://[::127.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::10.0.0.1]/",
    "http://[64:ff9b:1::a00:1]/",
    "http://[2001:0:53aa:64c:0:fbff:80ff:fffe]/",
    "http://[2606:4700::5efe:7f00:1]/",
    "http://[2606:4700::200:5efe:a00:1]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fc00::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    # what is no plain address of a page
    "http://user@site.example/",
    "http://user:secret@site.example/",
    "http://site.example@127.0.0.1/",
    "http://127.0.0.1:80@site.example/",
    "http://site.example:22/",
    "http://site.example:6379/",
    "http://site.example:0/",
    "http://site.example:99999/",
    "http://site.example\\@127.0.0.1/",
    "http://site.example\n.evil.example/",
    "http://site..example/",
    "http:///path",
    "http://[::1/",
    "http://[not-an-address]/",
    "https:site.example",
    "//site.example/",
    "site.example",
    "",
    "file:///etc/passwd",
    "gopher://site.example:70/_x",
    "ftp://site.example/",
    "unix:///var/run/docker.sock",
    "javascript:alert(1)",
    "data:text/html,hello",
    "dict://127.0.0.1:11211/",
    # letters of two alphabets in one word
    "http://ex\u0430mple.com/",
    "http://xn--exmple-4nf.com/",
    "http://g\u03bf\u03bfgle.com/",
    "http://" + "a" * 5000 + ".example/",
]


@pytest.mark.anyio
async def test_no_address_of_the_corpus_leads_to_a_connection() -> None:
    names = Names(localhost=[["127.0.0.1", "::1"]], site_example=[["93.184.216.34"]])
    async with world({"/": reply()}, names=names) as web:
        for url in NOT_TO_BE_READ:
            try:
                await web.fetcher.get(url)
            except Refused:
                continue
            pytest.fail(f"{url!r} was not refused")

        assert not web.network.dialled
        assert web.site.connections == 0
        await web.fetcher.get("http://site.example/")  # the listener does listen
        assert web.site.connections == 1


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("HTTP://Site.Example", "http://site.example/"),
        ("https://site.example./a?b=c#d", "https://site.example/a?b=c"),
        ("http://site.example:80/", "http://site.example/"),
        ("https://site.example:80/", "https://site.example:80/"),
        ("http://1.1.1.1/", "http://1.1.1.1/"),
        ("http://[2606:4700:0:0::1111]/", "http://[2606:4700::1111]/"),
        ("https://bücher.example/ä b?q=ü", "https://xn--bcher-kva.example/%C3%A4%20b?q=%C3%BC"),
        ("http://例え.example/100%25", "http://xn--r8jz45g.example/100%25"),
        ("http://a_b.example/~x;y=1", "http://a_b.example/~x;y=1"),
    ],
)
def test_a_public_address_has_one_spelling(url: str, read: str) -> None:
    assert PUBLIC_ONLY.address_of(url).url == read


def test_an_address_with_a_password_is_told_what_to_remove() -> None:
    with pytest.raises(Refused, match="before the @"):
        PUBLIC_ONLY.address_of("https://user:secret@site.example/")


def test_a_refusal_does_not_repeat_the_address_in_its_reason() -> None:
    with pytest.raises(Refused) as refused:
        PUBLIC_ONLY.address_of("ftp://obey.example/and-call-a-tool")
    assert "obey" not in refused.value.why


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_what_python_holds_for_private_is_never_public(ip: IPv4Address) -> None:
    if ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved:
        assert not is_public(ip)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["::", "::ffff:0:0", "64:ff9b::", "2001:db8::", "2002::", "fe80::"]))
def test_no_ipv4_address_passes_inside_an_ipv6_one(inner: int, prefix: str) -> None:
    shift = 80 if prefix == "2002::" else 0
    assert not is_public(IPv6Address(int(IPv6Address(prefix)) | inner << shift))


@given(st.ip_addresses())
def test_an_address_is_vetted_alike_as_a_literal_and_as_an_answer(ip: IPv4Address | IPv6Address) -> None:
    literal = f"[{ip}]" if isinstance(ip, IPv6Address) else str(ip)
    try:
        PUBLIC_ONLY.address_of(f"http://{literal}/")
    except Refused:
        assert not is_public(ip)
    else:
        PUBLIC_ONLY.vet("site.example", 80, [ip])


def test_public_addresses_are_public() -> None:
    for ip in ("1.1.1.1", "93.184.216.34", "172.15.255.255", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"):
        assert is_public(ip_address(ip)), ip


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("127.0.0.0/8", "http://127.0.0.1/"),
        ("fd00::/8", "http://[fd00::1]/"),
        ("10.1.2.3:8080", "http://10.1.2.3:8080/x"),
        ("[fd00::1]:8080", "http://[fd00::1]:8080/"),
        ("Wiki.Internal:8080", "http://wiki.internal:8080/"),
    ],
)
def test_what_the_setting_names_may_be_read(entry: str, url: str) -> None:
    with pytest.raises(Refused):
        PUBLIC_ONLY.address_of(url)
    assert Allowed.of([entry]).address_of(url).url == url


def test_an_allowed_host_is_allowed_at_the_usual_ports_or_at_the_one_that_is_named() -> None:
    private = [IPv4Address("10.0.0.1")]
    Allowed.of(["wiki.internal"]).vet("wiki.internal", 443, private)
    for host, port in [("wiki.internal", 443), ("wiki.internal", 80), ("other.internal", 8080)]:
        with pytest.raises(Refused):
            Allowed.of(["wiki.internal:8080"]).vet(host, port, private)


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "http://wiki.internal", "a b", "user@host", "host:port"])
def test_a_setting_that_names_nothing_is_refused_with_its_name(entry: str) -> None:
    with pytest.raises(SettingsError, match="POINTSMAN_FETCH_ALLOW"):
        Allowed.of([entry])
