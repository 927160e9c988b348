"""The proxy in front of a server, by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

httpx2 reads them too, but uses a proxy for a server on this machine, and knows fewer forms of NO_PROXY.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.request import getproxies

import httpx2

from orchestrator.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy and the variable that names it; ``shown`` is its URL without the password."""

    url: str
    variable: str

    @property
    def shown(self) -> str:
        return f"{self.variable}={_without_password(self.url)}"


def proxy_of(base_url: str) -> Proxy | None:
    """Return the proxy that the environment names for a server; None: the server is called directly.

    A server on this machine always is. Raises ConfigError where the variable is not a proxy's URL.
    """
    url, proxies = httpx2.URL(base_url), getproxies()
    scheme = next((s for s in (url.scheme, "all") if proxies.get(s)), None)
    if scheme is None or _is_exempt(url, proxies.get("no", "")) or _is_local(url.host):
        return None
    found = proxies[scheme] if "://" in proxies[scheme] else f"http://{proxies[scheme]}"
    proxy = Proxy(found, f"{scheme.upper()}_PROXY")
    _check(proxy)
    return proxy


def _check(proxy: Proxy) -> None:
    shown = _without_password(proxy.url)
    try:
        httpx2.Proxy(proxy.url)
        valid = bool(httpx2.URL(proxy.url).host)
    except (ValueError, httpx2.InvalidURL):
        valid = False
    if not valid:
        allowed = (
            "must be the URL of a proxy, such as http://proxy:3128, or unset (NO_PROXY exempts a server)"
        )
        raise ConfigError(proxy.variable, shown, allowed)
    if proxy.url.startswith("socks") and find_spec("socksio") is None:
        allowed = "a SOCKS proxy needs the package socksio: install it, or exempt the server by NO_PROXY"
        raise ConfigError(proxy.variable, shown, allowed)


def _without_password(url: str) -> str:
    return re.sub(r"//[^/]*@", "//", url)


def _is_local(host: str) -> bool:
    """Return whether the name means this machine, literally or by what it resolves to."""
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, None)]
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(_is_loopback(ipaddress.ip_address(a.partition("%")[0])) for a in found)


def _is_loopback(address: Address) -> bool:
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def _is_exempt(url: httpx2.URL, no_proxy: str) -> bool:
    """Return whether NO_PROXY has it: ``*``, a name or its end, an address, a network; with a port or not."""
    host = url.host.lower().rstrip(".")
    port = url.port or {"https": 443}.get(url.scheme, 80)
    return any(_matches(entry.lower(), host, port) for entry in re.split(r"[\s,]+", no_proxy) if entry)


def _matches(entry: str, host: str, port: int) -> bool:
    entry = re.sub(r"^[a-z]+://", "", entry)
    if entry == "*" or (entry == "<local>" and "." not in host and ":" not in host):
        return True
    if (network := _network(entry)) is not None:
        return _is_within(host, network)
    with_port = re.fullmatch(r"\[?([^\]]*?)\]?:(\d+)", entry)
    if with_port is not None:
        return int(with_port[2]) == port and _matches(with_port[1], host, port)
    name = entry.removeprefix("*").strip(".")
    return bool(name) and (host == name or (host.endswith(f".{name}") and _network(host) is None))


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None


def _is_within(host: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False
