"""Which addresses may be read.

A URL is parsed once, strictly: what browsers and resolvers understand in different ways (userinfo, zone ids, ``0x7f.1``) is
refused, and what is left means the same to everybody. Names are not judged by their looks: what counts is the IP addresses
that they lead to, which `Allowed.vet` judges when they are dialled.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import quote, urlsplit

import idna

from routing.errors import SettingsError, ToolFailed

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

MOST_URL_CHARS = 4096
_SHOWN_CHARS = 200
_PORTS = {"http": 80, "https": 443}
_SETTING = "POINTSMAN_FETCH_ALLOW"

_NOT_PUBLIC = tuple(
    map(
        ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
            "100.64.0.0/10",  # between a provider and its customers; a cloud's metadata at 100.100.100.200
            "168.63.129.16/32",  # a cloud's host agent, at an address that looks public
            "169.254.0.0/16",  # link-local, with most clouds' metadata
            *("192.0.0.0/24", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15", "192.88.99.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
            "2001::/23",  # Teredo, ORCHID, benchmarking: IPv4 in disguise, or nobody
            *("2001:db8::/32", "3fff::/20"),  # documentation
            "2002::/16",  # 6to4: IPv4 in disguise
        ),
    )
)
"""The special-purpose registries of IANA (RFC 6890), and what clouds keep at ordinary-looking addresses."""

_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that is public lies here; mapped, compatible and NAT64 addresses, unique-local and multicast do not."""

_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
"""Bits 64 to 95 of an address that carries an IPv4 address in its last 32 (RFC 5214)."""

_AUTHORITY = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:%]+))(?::(?P<port>\d{1,5})?)?")
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_UNFIT = re.compile(r"[\x00-\x1f\x7f\\]")
_KEPT_IN_TARGET = "%/?:@!$&'()*+,;=~[]"
_LOOKALIKE_SCRIPTS = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"})


class Refused(ToolFailed):
    """An address that is not read. ``why`` repeats nothing of it: what a redirect says is a stranger's text."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"{address[:_SHOWN_CHARS]!r} was not read: {why}.")
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A URL without its fragment. ``host`` is in lower-case ASCII, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and port as a Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address written out."""
        return f"{self.scheme}://{self.authority}{self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What may be read although it is not public: the user's choice, never a tool's argument."""

    hosts: frozenset[tuple[str, int]] = frozenset()
    networks: tuple[IPNetwork, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Allowed:
        """Read ``10.1.0.0/16``, ``wiki.internal``, ``wiki.internal:8080`` and their like.

        Raises:
            SettingsError: an entry is none of these.

        """
        hosts: set[tuple[str, int]] = set()
        networks: list[IPNetwork] = []
        for entry in entries:
            if network := _network_of(entry):
                networks.append(network)
            else:
                hosts |= _host_entry(entry)
        return cls(hosts=frozenset(hosts), networks=tuple(networks))

    def address_of(self, url: str) -> Address:
        """Parse a URL, and refuse whatever is not plain http or https to a host's usual port.

        Raises:
            Refused: it may not be read; the message says why.

        """
        if len(url) > MOST_URL_CHARS or _UNFIT.search(url):
            raise Refused(url, f"it is longer than {MOST_URL_CHARS} characters, or holds ones that no address has")
        try:
            parts = urlsplit(url.strip())
        except ValueError as problem:
            raise Refused(url, "it is no URL") from problem
        if parts.scheme not in _PORTS:
            raise Refused(url, "only http:// and https:// addresses can be read")
        host, named = _host_and_port(url, parts.netloc)
        port = _PORTS[parts.scheme] if named is None else named
        target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_KEPT_IN_TARGET)
        address = Address(scheme=parts.scheme, host=host, port=port, target=target)
        self._check_port(address)
        if (literal := _literal(host)) is not None:
            self.vet(host, address.port, [literal])
        return address

    def vet(self, host: str, port: int, answers: Iterable[IPAddress]) -> None:
        """Refuse a host unless all the addresses that it leads to are public or allowed.

        Raises:
            Refused: one of them is not.

        """
        if (host, port) in self.hosts:
            return
        if not all(is_public(ip) or any(ip in network for network in self.networks) for ip in answers):
            raise Refused(
                host, f"it does not lead to a public address. Whoever runs this server can add it to {_SETTING}"
            )

    def _check_port(self, address: Address) -> None:
        if address.port not in _PORTS.values() and (address.host, address.port) not in self.hosts:
            raise Refused(address.url, f"only ports 80 and 443 can be read, and what {_SETTING} names")


def is_public(ip: IPAddress) -> bool:
    """Tell whether an address is on the public internet, and is itself rather than another one in disguise."""
    if isinstance(ip, IPv6Address):
        embeds_ipv4 = (int(ip) >> 32) & 0xFFFFFFFF in _ISATAP
        if ip not in _GLOBAL_UNICAST or embeds_ipv4:
            return False
    return not any(ip in network for network in _NOT_PUBLIC)


def _host_and_port(url: str, authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise Refused(url, "it holds a user name or password; remove what stands before the @")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise Refused(url, "its host is none")
    port = int(match["port"]) if match["port"] else None
    if match["six"] is None:
        return _host_of(url, match["name"]), port
    try:
        return str(IPv6Address(match["six"])), port
    except ValueError as problem:
        raise Refused(url, "its IPv6 address is none") from problem


def _host_of(url: str, name: str) -> str:
    """The host in ASCII: a name, or an IPv4 address as four decimal numbers."""
    host = (name.lower() if name.isascii() else _ascii_of(url, name)).removesuffix(".")
    if not _NAME.fullmatch(host):
        raise Refused(url, "its host is none")
    if _NUMBER.fullmatch(host.rsplit(".", 1)[-1]) and not isinstance(_literal(host), IPv4Address):
        raise Refused(url, "an IPv4 address is written as four decimal numbers")
    if "xn--" in host:
        _check_scripts(url, host)
    return host


def _ascii_of(url: str, name: str) -> str:
    """The name as DNS has it; ``①②⑦.⓪.⓪.①`` becomes ``127.0.0.1``."""
    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError as problem:
        raise Refused(url, "its host is no international name") from problem


def _check_scripts(url: str, host: str) -> None:
    """Refuse a label of letters from alphabets that look alike: no language is written in two of them."""
    try:
        labels = idna.decode(host).split(".")
    except idna.IDNAError as problem:
        raise Refused(url, "its host is no international name") from problem
    for label in labels:
        scripts = {unicodedata.name(char, "").split(" ")[0] for char in label}
        if len(scripts & _LOOKALIKE_SCRIPTS) > 1:
            raise Refused(url, "its host mixes letters of alphabets that look alike")


def _literal(host: str) -> IPAddress | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _network_of(entry: str) -> IPNetwork | None:
    try:
        return ip_network(entry, strict=False)
    except ValueError:
        return None


def _host_entry(entry: str) -> set[tuple[str, int]]:
    try:
        host, port = _host_and_port(entry, entry)
    except Refused as problem:
        raise SettingsError(f"{_SETTING}: {entry!r} is no host, host:port or network such as 10.1.0.0/16.") from problem
    return {(host, usual) for usual in _PORTS.values()} if port is None else {(host, port)}
