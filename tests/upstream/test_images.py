"""URL images: off by default, and with the SSRF rules where they are on."""

import base64
from collections.abc import Iterable
from typing import Any

import pytest

from kiroproxy.conversation import Conversation, Image, Message, Text, ToolResult
from kiroproxy.errors import InvalidRequest, Unreachable
from kiroproxy.kiro.request import MAX_IMAGE_BYTES
from kiroproxy.transport import Answer
from kiroproxy.upstream.images import ImageFetcher, is_public

PUBLIC = "93.184.215.14"
URL = "https://images.example/a.png"


def asked(*urls: str) -> Conversation:
    images = [Image("", f"messages.0.content.{n}", url) for n, url in enumerate(urls)]
    nested = ToolResult("id", [Text("x"), *images])
    return Conversation("m", [Message("user", [nested])])


class Net:
    """A network in which every name has the same addresses."""

    def __init__(self, *addresses: str, answer: Answer | Exception | None = None) -> None:
        self.addresses = addresses
        self.answer = answer or Answer(200, {}, b"bytes")
        self.fetched: list[tuple[str, str]] = []

    def resolve(self, host: str, port: int) -> Iterable[str]:
        return self.addresses

    def fetch(self, url: str, address: str) -> Answer:
        self.fetched.append((url, address))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def fetcher(self) -> ImageFetcher:
        return ImageFetcher(True, resolve=self.resolve, fetch=self.fetch)


def test_off_by_default_with_a_clear_400() -> None:
    with pytest.raises(InvalidRequest, match=r"messages\.0\.content\.0: .*fetchImageUrls is off"):
        ImageFetcher(False).fill(asked(URL))


def test_images_are_fetched_from_the_address_that_was_checked() -> None:
    net = Net(PUBLIC)
    conversation = asked(URL)
    net.fetcher().fill(conversation)
    assert net.fetched == [(URL, PUBLIC)]
    [block] = conversation.messages[0].content
    assert isinstance(block, ToolResult)
    image = block.content[1]
    assert isinstance(image, Image)
    assert base64.b64decode(image.data) == b"bytes"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "2002:a9fe:a9fe::",
        "64:ff9b::a9fe:a9fe",
    ],
)
def test_no_address_behind_our_own_walls(address: str) -> None:
    net = Net(PUBLIC, address)
    with pytest.raises(InvalidRequest, match="not public"):
        net.fetcher().fill(asked(URL))
    assert net.fetched == []


@pytest.mark.parametrize("address", [PUBLIC, "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://images.example/a.png",
        "ftp://images.example/a",
        "file:///etc/passwd",
        "https://user:pw@images.example/",
        "https:///a.png",
        "https://images.example:99999/",
        "https://[::1/",
        "nonsense",
    ],
)
def test_only_plain_https(url: str) -> None:
    net = Net(PUBLIC)
    with pytest.raises(InvalidRequest, match=r"messages\.0\.content\.0: the image URL"):
        net.fetcher().fill(asked(url))
    assert net.fetched == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(302, {"location": "https://127.0.0.1/"}, b""), "status 302"),
        (Answer(404, {}, b""), "status 404"),
        (Answer(200, {}, b"x" * (MAX_IMAGE_BYTES + 1)), "more than"),
        (Unreachable("images.example is too slow"), "too slow"),
    ],
)
def test_answers_that_are_no_image(answer: Any, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        Net(PUBLIC, answer=answer).fetcher().fill(asked(URL))


def test_not_more_than_kiro_takes() -> None:
    net = Net(PUBLIC)
    with pytest.raises(InvalidRequest, match="11 image URLs"):
        net.fetcher().fill(asked(*[URL] * 11))
    assert net.fetched == []


def test_unresolvable_host() -> None:
    def fail(host: str, port: int) -> Iterable[str]:
        raise OSError(host)

    with pytest.raises(InvalidRequest, match="cannot be resolved"):
        ImageFetcher(True, resolve=fail).fill(asked(URL))
