"""Documents → text, since Kiro takes none (pure).

Extracting takes as long as a document is large: callers run it off the event loop.
Limits: protocol notes 3.6.
"""

import base64
import binascii
import io
import logging

from kiroproxy.errors import InvalidRequest

MAX_BYTES = 10 * 1024 * 1024
MAX_PAGES = 100
MAX_CHARACTERS = 200_000

logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it reports each oddity of a file

BROKEN = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OSError,
    RecursionError,
    NotImplementedError,
    ArithmeticError,
    AssertionError,
)
"""What a damaged file makes the reader raise, beside its own errors."""


def pdf_text(data: str, where: str) -> str:
    """The text of a base64 PDF, page by page.

    Raises:
        InvalidRequest: names the document and what is wrong with it.
    """
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{where}: the document is not valid base64", param=where) from None
    if len(raw) > MAX_BYTES:
        raise InvalidRequest(
            f"{where}: the document has {len(raw)} bytes, at most {MAX_BYTES} can be read",
            param=where,
        )
    pages = _pages(raw, where)
    text = "\n\n".join(f"[Page {n}]\n{page}" for n, page in enumerate(pages, 1) if page)
    if not text:
        raise InvalidRequest(
            f"{where}: the document holds no text, only pictures of it perhaps", param=where
        )
    if len(text) > MAX_CHARACTERS:
        raise InvalidRequest(
            f"{where}: the document has {len(text)} characters of text, at most "
            f"{MAX_CHARACTERS} can be passed on",
            param=where,
        )
    return text


def _pages(raw: bytes, where: str) -> list[str]:
    import pypdf  # 30 ms of a start-up that most servers never need
    from pypdf.errors import PyPdfError

    try:
        reader = pypdf.PdfReader(io.BytesIO(raw))
        if reader.is_encrypted and not reader.decrypt(""):
            raise InvalidRequest(f"{where}: the document is encrypted", param=where)
        count = len(reader.pages)
        if count > MAX_PAGES:
            raise InvalidRequest(
                f"{where}: the document has {count} pages, at most {MAX_PAGES} can be read",
                param=where,
            )
        return [page.extract_text().strip() for page in reader.pages]
    except (PyPdfError, *BROKEN) as error:
        raise InvalidRequest(
            f"{where}: the document is not a readable PDF ({type(error).__name__})", param=where
        ) from None
