"""Images given as URLs, fetched for Kiro, which takes bytes only (`fetchImageUrls`).

A URL is a caller's choice of where this server connects to, so: https only, the name resolved once
and the connection made to that very address, no private, link-local or metadata address, no
redirect, a size and a time limit.
"""

import base64
import ipaddress
import socket
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import msgspec

from kiroproxy.addresses import carried, is_off_limits
from kiroproxy.conversation import Block, Conversation, Image, ToolResult
from kiroproxy.errors import InvalidRequest, Unreachable
from kiroproxy.kiro.request import MAX_IMAGE_BYTES, MAX_IMAGES
from kiroproxy.transport import Answer, fetch_pinned

TIMEOUT_S = 10.0
Resolve = Callable[[str, int], Iterable[str]]
Fetch = Callable[[str, str], Answer]
"""URL and address → answer."""


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet."""
    ip = carried(ipaddress.ip_address(address.partition("%")[0]))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not is_off_limits(ip)


class ImageFetcher(msgspec.Struct, frozen=True):
    """Fetches images, if the operator allows it at all."""

    enabled: bool
    verify: str = ""
    resolve: Resolve = resolve
    fetch: Fetch | None = None

    def fill(self, conversation: Conversation) -> None:
        """Put the bytes of each URL image into the conversation.

        Raises:
            InvalidRequest: names the image and why it cannot be had.
        """
        wanted = [image for image in _images(conversation) if image.url and not image.data]
        if len(wanted) > MAX_IMAGES:
            raise InvalidRequest(
                f"messages: {len(wanted)} image URLs, Kiro takes at most {MAX_IMAGES} images"
            )
        for image in wanted:
            if not self.enabled:
                raise InvalidRequest(
                    f"{image.where}: images given as URLs are not fetched here "
                    "(fetchImageUrls is off); send the image as base64",
                    param=image.where,
                )
            image.data = base64.b64encode(self._get(image)).decode()

    def _get(self, image: Image) -> bytes:
        def refused(why: str) -> InvalidRequest:
            return InvalidRequest(f"{image.where}: the image URL {why}", param=image.where)

        try:
            parts = urlsplit(image.url)
            port = parts.port or 443
        except ValueError:
            raise refused("is malformed") from None
        if parts.scheme != "https" or not parts.hostname or parts.username is not None:
            raise refused("must begin with https:// and hold no user name")
        try:
            addresses = list(self.resolve(parts.hostname, port))
        except (OSError, UnicodeError):
            raise refused("has a host that cannot be resolved") from None
        if not addresses or not all(is_public(address) for address in addresses):
            raise refused("leads to an address that is not public")
        fetch = self.fetch or self._fetch
        try:
            answer = fetch(image.url, addresses[0])
        except Unreachable as error:
            raise refused(f"cannot be fetched: {error}") from None
        if answer.status != 200:
            raise refused(f"was answered with status {answer.status}; redirects are not followed")
        if len(answer.body) > MAX_IMAGE_BYTES:
            raise refused(f"leads to more than {MAX_IMAGE_BYTES} bytes")
        return answer.body

    def _fetch(self, url: str, address: str) -> Answer:
        return fetch_pinned(
            url, address, verify=self.verify, limit_bytes=MAX_IMAGE_BYTES, timeout_s=TIMEOUT_S
        )


def _images(conversation: Conversation) -> Iterable[Image]:
    for message in conversation.messages:
        yield from _in(message.content)


def _in(blocks: Iterable[Block]) -> Iterable[Image]:
    for block in blocks:
        if isinstance(block, Image):
            yield block
        elif isinstance(block, ToolResult):
            yield from _in(block.content)
