"""Sentences in the language of the user: English, or Chinese where `LANG` says so.

Write `_("…")` for what a command says; docstrings and `help=` are looked up when help is shown.
What stands in a constant is wrapped in `marked`, so that `python -m tests.texts` finds it.
The catalogue is `kiroproxy/translations/zh/LC_MESSAGES/messages.po`; it also carries click's own
sentences, since both ask gettext's default domain. What the API and the logs say stays English.
"""

import gettext as _gettext
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
TRANSLATIONS = Path(__file__).resolve().parent.parent / "translations"
DOMAIN = "messages"

_gettext.bindtextdomain(DOMAIN, str(TRANSLATIONS))


def translated(text: str) -> str:
    """The sentence in the user's language; itself where nobody has translated it."""
    return _gettext.gettext(text) if text else text  # the empty one is the catalogue's head


def marked(sentences: T) -> T:
    """The same: a sentence, or a structure with sentences, that is translated where it is shown."""
    return sentences


def counted(one: str, many: str, number: int) -> str:
    """The form of a sentence that fits the number."""
    return _gettext.ngettext(one, many, number)
