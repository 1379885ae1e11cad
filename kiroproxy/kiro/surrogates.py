"""Rejoin characters beyond U+FFFF whose two halves upstream cut into two frames."""


class Rejoiner:
    """Holds back a high surrogate until its other half has come.

    `feed` is called for every piece of one text; a half that stays alone becomes U+FFFD.
    """

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = ""

    def feed(self, text: str) -> str:
        """Return what is complete."""
        if not self.held and text.isascii():
            return text
        text = self.held + text
        self.held = ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            self.held = text[-1]
            text = text[:-1]
        return sanitize(text)

    def close(self) -> str:
        """Return the replacement of a half that stayed alone, if any."""
        held, self.held = self.held, ""
        return "\ufffd" if held else ""


def sanitize(text: str) -> str:
    """Join pairs of surrogates, replace lone ones; sound text is returned as it is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
