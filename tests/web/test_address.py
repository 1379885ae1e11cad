"""Q15: the client's address is right behind proxies, and cannot be forged.

tests/flows/test_nginx.py shows it in the log, behind a real nginx.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.web.address import believed_address, parse_address

NGINX = ("127.0.0.1/32", "::1/128")
CHAIN = ("10.0.0.0/8", "fd00::/8", "unix")


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "client"),
    [
        ("203.0.113.9", "", (), "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", (), "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", NGINX, "203.0.113.9"),
        ("127.0.0.1", "", NGINX, "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9", NGINX, "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9", (), "127.0.0.1"),
        # what the client itself wrote stands to the left
        ("127.0.0.1", "198.51.100.1, 203.0.113.9", NGINX, "203.0.113.9"),
        ("127.0.0.1", "127.0.0.1, 203.0.113.9", NGINX, "203.0.113.9"),
        ("127.0.0.1", "unix, 203.0.113.9", NGINX, "203.0.113.9"),
        # several proxies
        ("10.0.0.2", "198.51.100.1, 203.0.113.9, 10.0.0.1", CHAIN, "203.0.113.9"),
        ("10.0.0.2", "10.9.9.9, 10.0.0.1", CHAIN, "10.9.9.9"),
        ("10.0.0.2", "2001:db8::7, fd00::1", CHAIN, "2001:db8::7"),
        # nonsense is believed of nobody
        ("127.0.0.1", "nonsense", NGINX, "127.0.0.1"),
        ("10.0.0.2", "203.0.113.9, unknown, 10.0.0.1", CHAIN, "10.0.0.1"),
        ("127.0.0.1", ",,", NGINX, "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9,", NGINX, "127.0.0.1"),
        # unix sockets
        ("", "", (), "unix"),
        ("", "203.0.113.9", (), "unix"),
        ("", "203.0.113.9", NGINX, "unix"),
        ("", "203.0.113.9", CHAIN, "203.0.113.9"),
        ("", "", CHAIN, "unix"),
        # how addresses are written
        ("::ffff:127.0.0.1", "203.0.113.9:4711", NGINX, "203.0.113.9"),
        ("::1", "[2001:DB8::7]:4711", NGINX, "2001:db8::7"),
        ("::1", "::ffff:203.0.113.9", NGINX, "203.0.113.9"),
        ("fe80::1%eth0", "203.0.113.9", ("fe80::/10",), "203.0.113.9"),
    ],
)
def test_whose_word_counts(peer: str, forwarded: str, trusted: Any, client: str) -> None:
    assert believed_address(peer, forwarded, trusted) == client


@given(st.text(max_size=60))
def test_a_client_cannot_choose_its_address(forged: str) -> None:
    """Whatever it sends, nginx writes its address behind it."""
    header = f"{forged}, 203.0.113.9"
    assert believed_address("127.0.0.1", header, NGINX) == "203.0.113.9"
    assert believed_address("203.0.113.9", forged, NGINX) == "203.0.113.9"


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_none(text: str) -> None:
    address = parse_address(text)
    assert address is None or parse_address(str(address)) == address
