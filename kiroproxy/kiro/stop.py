"""Stop sequences, which Kiro does not know: found in the text that passes by."""

from collections.abc import Sequence

from kiroproxy.kiro.thinking import held_suffix


class StopScanner:
    """Cuts a text, given in pieces, in front of the stop sequence that is first complete in it.

    `matched` is that sequence once it has come.
    """

    def __init__(self, sequences: Sequence[str]) -> None:
        self.matched: str | None = None
        self._sequences = [sequence for sequence in sequences if sequence]
        self._held = ""

    def feed(self, text: str) -> str:
        """Return what certainly belongs to the answer."""
        if self.matched is not None:
            return ""
        text = self._held + text
        found = [(at + len(s), at, s) for s in self._sequences if (at := text.find(s)) >= 0]
        if found:
            _, at, self.matched = min(found)  # complete first, as if it came letter by letter
            self._held = ""
            return text[:at]
        held = max((held_suffix(text, s) for s in self._sequences), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        """The text ends here: what was held back is text after all."""
        held, self._held = self._held, ""
        return held
