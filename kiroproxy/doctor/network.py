"""The way to Kiro: proxy, names, TLS, and whether the clocks agree."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from kiroproxy.config import Config, mask_password
from kiroproxy.credentials.model import (
    Credential,
    effective_api_region,
    effective_auth_region,
)
from kiroproxy.doctor.finding import Finding, _, failure, ok, warning
from kiroproxy.doctor.patient import Patient
from kiroproxy.errors import Unreachable, UpstreamTimeout
from kiroproxy.transport import Route, bypasses, causes
from kiroproxy.upstream.endpoint import api_base
from kiroproxy.upstream.usage import DATA_REGIONS

STEP_S: Final = 3.0
"""To connect, and to answer."""
WALK_S: Final = 9.0
"""For one way, all steps together; resolving a name has no limit of its own."""
SKEW_WARNING_S: Final = 60.0
SKEW_FAILURE_S: Final = 300.0
"""Access tokens live an hour and are renewed some minutes before: a clock this wrong loses that."""
DEFAULT_PORTS: Final = {"https": 443, "http": 80, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True)
class Way:
    """An address that is needed, and how it is reached."""

    url: str
    route: Route

    @property
    def host(self) -> str:
        """Its name."""
        return urlsplit(self.url).hostname or self.url

    @property
    def proxy(self) -> str:
        """The proxy in between; empty for none."""
        direct = not self.route.proxy_url or bypasses(self.host, self.route.no_proxy)
        return "" if direct else self.route.proxy_url


def ways(patient: Patient) -> list[Way]:
    """Every server that the enabled credentials need, once per way to it."""
    config, voice = patient.config, patient.voice
    found: dict[Way, None] = {}
    for one in patient.credentials() or [Credential()]:
        route = voice.route_of(one)
        urls = [api_base(voice.identity, one)]
        if address := auth_url(config, one):
            urls.append(address)
        for url in urls:
            parts = urlsplit(url)
            found[Way(f"{parts.scheme}://{parts.netloc}/", route)] = None
    return list(found)


def auth_url(config: Config, credential: Credential) -> str:
    """Where a credential's token is renewed; empty if it is not."""
    if not credential.renewable and credential.id:
        return ""
    if credential.auth_method == "external_idp":
        return credential.token_endpoint or ""
    template = config.oidc_url if credential.auth_method == "idc" else config.social_auth_url
    region = effective_auth_region(credential, config.auth_region, config.region)
    return template.replace("{region}", region)


def check_network(patient: Patient) -> Iterator[Finding]:
    """Each way, all at the same time."""
    found: dict[Way, list[Finding]] = {}

    def walk(way: Way) -> None:
        found[way] = list(_walk(way, patient))

    all_ways = ways(patient)
    threads = [threading.Thread(target=walk, args=(way,), daemon=True) for way in all_ways]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + WALK_S
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0.0))
    for way in all_ways:
        slow = failure(
            "dns", _("{host} was not reached in time"), _remedy_connection(way), **_at(way)
        )
        yield from found.get(way) or [slow]


def _at(way: Way) -> dict[str, str]:
    return {"host": way.host, "proxy": mask_password(way.proxy)}


def _remedy_connection(way: Way) -> str:
    if way.proxy:
        return _("correct proxyUrl, or start that proxy")
    return _("check the network and its firewall; set proxyUrl if a proxy is needed")


def _walk(way: Way, patient: Patient) -> Iterator[Finding]:
    """Proxy, name, connection, clock: the first that fails ends it."""
    facts = _at(way)
    if way.proxy:
        if why := _why_no_proxy(way.proxy):
            message = _("the proxy {proxy} on the way to {host} cannot be reached: {why}")
            yield failure("proxy", message, _remedy_connection(way), **facts, why=why)
            return
    elif why := _why_no_address(way.host):
        message = _("the name {host} cannot be resolved: {why}")
        remedy = _("check the DNS of this machine, and region and URLs in the configuration")
        yield failure("dns", message, remedy, **facts, why=why)
        return
    before = patient.now()
    try:
        answer = patient.voice.transport.call_once(
            "GET",
            way.url,
            headers={},
            route=way.route,
            timeout_s=STEP_S,
            connect_timeout_s=STEP_S,
        )
    except (Unreachable, UpstreamTimeout) as error:
        yield _unreachable(way, error)
        return
    middle = before + (patient.now() - before) / 2
    through = _("{host} answers through {proxy}") if way.proxy else _("{host} answers")
    yield ok("tls" if way.url.startswith("https") else "network", through, **facts)
    yield _clock(way.host, answer.headers.get("date", ""), middle)


def _why_no_address(host: str) -> str:
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        return error.strerror or type(error).__name__
    except UnicodeError:
        return "it is no host name"
    return ""


def _why_no_proxy(url: str) -> str:
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 80))
    try:
        socket.create_connection(address, timeout=STEP_S).close()
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return ""


def _unreachable(way: Way, error: Exception) -> Finding:
    facts = _at(way) | {"why": str(error)}
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in causes(error)):
        message = _("the certificate of {host} is not trusted")
        remedy = _("set caBundle to the CA of your network, or tlsBackend to native-tls")
        return failure("tls", message, remedy, **facts)
    if any(isinstance(one, ssl.SSLError) for one in causes(error)):
        remedy = _("check that the URL's https and port are right and nothing intercepts it")
        return failure("tls", _("no TLS with {host}: {why}"), remedy, **facts)
    check = "proxy" if way.proxy else "network"
    return failure(check, "{why}", _remedy_connection(way), **facts)


def _clock(host: str, date: str, now: datetime) -> Finding:
    try:
        off_s = (now - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError):  # TypeError: a date without a zone
        message = _("{host} does not say what time it is")
        return ok("clock", message, host=host)
    facts = {"host": host, "seconds": round(abs(off_s))}
    if abs(off_s) <= SKEW_WARNING_S:
        return ok("clock", _("agrees with {host}'s"), **facts)
    message = (
        _("this machine's clock is {seconds} s ahead of {host}'s")
        if off_s > 0
        else _("this machine's clock is {seconds} s behind {host}'s")
    )
    make = failure if abs(off_s) > SKEW_FAILURE_S else warning
    remedy = _("set the clock: turn on NTP (timedatectl set-ntp true)")
    return make("clock", message, remedy, **facts)


def check_regions(patient: Patient) -> Iterator[Finding]:
    """Whether Kiro exists where the credentials call it."""
    name, config = "region", patient.config
    credentials = patient.credentials()
    regions = {
        effective_api_region(one, config.api_region, config.region)
        for one in credentials or [Credential()]
    }
    odd = sorted(regions - set(DATA_REGIONS))
    if odd and "{region}" in config.api_url:
        message = _("calls go to {regions}, where Kiro's API does not exist")
        remedy = _("set apiRegion to us-east-1 or eu-central-1, where the account's profile is")
        yield warning(name, message, remedy, regions=", ".join(odd))
    else:
        yield ok(name, _("calls go to {regions}"), regions=", ".join(sorted(regions)))
