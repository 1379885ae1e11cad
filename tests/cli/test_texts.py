"""English and Chinese by `LANG`."""

import gettext
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

from kiroproxy.cli.texts import TRANSLATIONS, counted, marked, translated
from kiroproxy.cli.wide import cells, is_wide
from tests.texts import catalogue, missing, sentences

PLACE = re.compile(r"\{\w*(?:!r)?(?::[^{} ]*)?\}")
CATALOGUE = TRANSLATIONS / "zh" / "LC_MESSAGES"


def run(*arguments: str, **environment: str) -> str:
    """What the command line prints in an environment."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("LANG", "LANGUAGE", "LC_ALL", "LC_MESSAGES")
    }
    done = subprocess.run(
        [sys.executable, "-m", "kiroproxy", *arguments],
        capture_output=True,
        env=kept | {"PYTHONUTF8": "1"} | environment,
        check=True,
    )
    return done.stdout.decode()


def test_the_language_is_the_environments() -> None:
    for chinese in ({"LANG": "zh_CN.UTF-8"}, {"LC_ALL": "zh_TW", "LANG": "en_US"}):
        assert "显示此帮助并退出" in run("--help", **chinese)
        assert "用 Kiro 订阅" in run("--help", **chinese)
    for english in ({}, {"LANG": "en_GB.UTF-8"}, {"LANG": "C"}, {"LANG": "fr_FR.UTF-8"}):
        assert "Show this message and exit." in run("--help", **english)


def test_the_compiled_catalogue_is_in_step() -> None:
    """`make translations` was run after the last edit."""
    source = read_po(BytesIO((CATALOGUE / "messages.po").read_bytes()))
    with (CATALOGUE / "messages.mo").open("rb") as file:
        compiled = read_mo(file)
    assert forms(compiled) == forms(source)


def forms(messages: Catalog) -> dict[tuple[str, ...], tuple[str, ...]]:
    """What is translated: singular and plural to all forms of the translation."""
    return {_tuple(one.id): _tuple(one.string) for one in messages if one.id and one.string}


def _tuple(texts: str | Sequence[str]) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)


def test_a_sentence_without_translation_stays() -> None:
    assert translated("No one has translated this") == "No one has translated this"
    assert translated("") == ""
    assert marked(("a", 1)) == ("a", 1)
    assert counted("{n} row", "{n} rows", 2).format(n=2) == "2 rows"
    assert Path(gettext.bindtextdomain("messages")) == TRANSLATIONS


def test_every_sentence_is_in_chinese_too() -> None:
    assert missing("zh") == []


def test_translations_keep_the_places_of_values() -> None:
    for sentence, translations in forms(catalogue("zh")).items():
        for translation in translations:
            assert set(PLACE.findall(translation)) == set(PLACE.findall(sentence[-1])), sentence


def test_what_is_not_said_any_more_is_not_in_the_catalogue() -> None:
    assert {sentence[-1] for sentence in forms(catalogue("zh"))} - sentences() == set()


PAGES = """
from tests.texts import commands
for one in commands():
    print(one.get_help(one.context_class(one, info_name=one.name, terminal_width=78)))
"""


def test_help_in_chinese_fits_a_terminal_and_is_in_chinese() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PAGES],
        capture_output=True,
        cwd=TRANSLATIONS.parents[1],
        env={**os.environ, "LANGUAGE": "zh", "PYTHONUTF8": "1"},
        check=True,
    )
    lines = done.stdout.decode().splitlines()
    typed = [line for line in lines if "kiroproxy " in line and not is_wide(line)]
    assert [line for line in lines if cells(line) > 80 and line not in typed] == []
    assert [line for line in lines if re.search(r"[a-z]\.$|  [A-Z][a-z]+ [a-z]+ ", line)] == []
