"""SSRF: where nobody may send us."""

import pytest

from kiroproxy.credentials.model import Credential
from kiroproxy.errors import InvalidRequest
from kiroproxy.web.admin.targets import check_host, check_proxy_url, check_same_host, check_sent


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254",
        "http://169.254.169.254:80/latest",
        "http://user:password@169.254.170.2:8080",
        "http://2852039166",
        "http://0xA9FEA9FE",
        "http://0251.0376.0251.0376",
        "http://[fe80::1]:80",
        "http://[::ffff:169.254.169.254]:80",
        "http://[fd00:ec2::254]",
        "http://[2002:a9fe:a9fe::1]",
        "http://100.100.100.200",
        "http://168.63.129.16",
        "http://metadata.google.internal",
        "http://METADATA.google.internal.",
        "http://metadata",
        "http://0.0.0.0:80",
        "http://[::169.254.169.254]",
        "http://[64:ff9b::a9fe:a9fe]",
        "http://instance-data.ec2.internal",
        "http://169.254.169.254..",
        # one library sees the host before the backslash, another behind it
        "http://169.254.169.254\\@proxy.example:80",
        "http://proxy.example\\@169.254.169.254:80",
        "http://169.254.169%2e254",
        "http://[fe80::1%25eth0]:80",
        "http://①69.254.169.254",
        "http://metadata。google.internal",
        "http://224.0.0.1",
    ],
)
def test_metadata_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_proxy_url(url)
    assert caught.value.param == "proxyUrl"


@pytest.mark.parametrize(
    "url", ["ftp://proxy:21", "file:///etc/passwd", "gopher://x:1", "proxy:8080", "http://", "x"]
)
def test_schemes_are_those_of_proxies(url: str) -> None:
    with pytest.raises(InvalidRequest):
        check_proxy_url(url)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:3128", "socks5h://localhost:1080", "https://10.0.0.7:8443", "direct"],
)
def test_proxies_may_be_near(url: str) -> None:
    assert check_proxy_url(url) == url


def test_a_name_that_nobody_knows_now_may_be_known_later() -> None:
    check_host("http://no-such-host.invalid:8080", "countTokensApiUrl")


@pytest.mark.parametrize("url", ["http://***@127.0.0.1:3128", "socks5://***@proxy:1080"])
def test_what_was_shown_masked_is_not_stored(url: str) -> None:
    with pytest.raises(InvalidRequest, match="masked"):
        check_proxy_url(url)


@pytest.mark.parametrize(
    ("before", "after", "good"),
    [
        ("http://proxy:80", "https://PROXY:8443", True),
        ("http://proxy:80", "http://proxy.evil.example:80", False),
        ("", "http://proxy:80", False),
        ("direct", "http://proxy:80", False),
        ("http://proxy:80", "http://proxy@evil.example:80", False),
    ],
)
def test_a_secret_goes_to_its_own_host_alone(before: str, after: str, good: bool) -> None:
    if good:
        return check_same_host("proxyUrl", before, after, "proxyPassword")
    with pytest.raises(InvalidRequest, match="proxyPassword"):
        check_same_host("proxyUrl", before, after, "proxyPassword")
    return None


def test_a_file_that_was_sent_reaches_for_nothing_here() -> None:
    one = check_sent(
        Credential(refresh_token="r", linked_to="/etc/passwd", disabled_reason="<script>")
    )
    assert (one.linked_to, one.disabled_reason) == (None, None)
    assert check_sent(Credential(disabled_reason="QuotaExceeded")).disabled_reason


@pytest.mark.parametrize(
    "one",
    [
        Credential(priority=-1),
        Credential(priority=10**30),
        Credential(max_concurrent=10**18),
        Credential(proxy_url="http://169.254.169.254"),
        Credential(proxy_url="file:///etc/passwd"),
        Credential(label="a\x1b[31m"),
        Credential(email="a\0@example.org"),
    ],
)
def test_a_file_that_was_sent_has_limits(one: Credential) -> None:
    with pytest.raises(InvalidRequest):
        check_sent(one)
