"""SSRF: where nobody may send us."""

import pytest

from kiroproxy.errors import InvalidRequest
from kiroproxy.web.admin.targets import check_host, check_proxy_url


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
