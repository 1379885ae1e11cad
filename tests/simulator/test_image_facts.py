"""Image formats by their first bytes."""

import pytest

from kiroproxy.simulator.image_facts import image_format


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x89PNG\r\n\x1a\nxx", "png"),
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"GIF89a", "gif"),
        (b"GIF87a", "gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"%PDF", None),
        (b"", None),
    ],
)
def test_the_bytes_say_the_format(data: bytes, name: str | None) -> None:
    assert image_format(data) == name
