"""PDFs as text, or a 400 that says why not (protocol notes 3.6)."""

import base64
import io
import random

import pypdf
import pytest
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from kiroproxy.dialects import documents
from kiroproxy.dialects.documents import pdf_text
from kiroproxy.errors import InvalidRequest


def pdf(*pages: str, password: str = "") -> bytes:
    """A small PDF with one line of text a page."""
    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(300, 300)
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 150 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = stream
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_text_of_each_page() -> None:
    text = pdf_text(encoded(pdf("Hello world", "Second page")), "messages.0.content.1")
    assert text == "[Page 1]\nHello world\n\n[Page 2]\nSecond page"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("no base64!", "not valid base64"),
        (encoded(b"plain text"), "not a readable PDF"),
        (encoded(b""), "not a readable PDF"),
        (encoded(pdf("x")[:200]), "not a readable PDF|holds no text"),
        (encoded(pdf("")), "holds no text"),
        (encoded(pdf("secret", password="p")), "encrypted"),
    ],
)
def test_unreadable_documents_are_named(data: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=f"messages.3.content.0: .*({why})"):
        pdf_text(data, "messages.3.content.0")


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match="101 pages, at most 100"):
        pdf_text(encoded(pdf(*["x"] * 101)), "d")
    monkeypatch.setattr(documents, "MAX_CHARACTERS", 10)
    with pytest.raises(InvalidRequest, match="characters of text, at most 10"):
        pdf_text(encoded(pdf("more than ten characters")), "d")
    monkeypatch.setattr(documents, "MAX_BYTES", 10)
    with pytest.raises(InvalidRequest, match="bytes, at most 10"):
        pdf_text(encoded(pdf("x")), "d")


def test_damaged_documents_are_400_and_nothing_else() -> None:
    sound = pdf("Hello world")
    chance = random.Random(7)
    for _ in range(150):
        damaged = bytearray(sound)
        for _ in range(chance.randint(1, 12)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            pdf_text(encoded(bytes(damaged)), "d")
        except InvalidRequest:
            continue
