"""The documentation as text: both languages say the same, of what there is (S172 to S174)."""

import gettext
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from flask import Flask
from werkzeug.routing import Rule

from kiroproxy.app import build_services, create_app
from kiroproxy.cli import main
from kiroproxy.cli.kiro2api import main as kiro2api
from kiroproxy.config import PATHS, SETTINGS, Config, Setting, load_config
from kiroproxy.credentials.model import KEYS
from kiroproxy.web.admin.app import build_admin_app
from tests.markdown import (
    PAGES,
    anchor,
    code_blocks,
    code_spans,
    headings,
    languages,
    links,
    read,
    table_rows,
)
from tests.servers import REPOSITORY

ENGLISH, CHINESE = REPOSITORY / "README.md", REPOSITORY / "README.zh-CN.md"
READMES = [pytest.param(path, id=path.name) for path in (ENGLISH, CHINESE)]
PAIRS = [
    pytest.param(path.with_name(path.name.replace(".zh-CN", "")), path, id=path.name)
    for path in PAGES
    if path.name.endswith(".zh-CN.md")
]
COMMENT = re.compile(r"(^|\s+)#\s.*$", re.MULTILINE)


# ---- two languages -------------------------------------------------------------------------


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_both_languages_have_the_same_parts(english: Path, chinese: Path) -> None:
    """Headings, code but for its comments, and what tables are about. Words are their own."""
    ours, theirs = read(english), read(chinese)
    assert [level for level, _ in headings(ours)] == [level for level, _ in headings(theirs)]
    assert languages(ours) == languages(theirs)
    for one, other in zip(code_blocks(ours), code_blocks(theirs), strict=True):
        assert COMMENT.sub("", one) == COMMENT.sub("", other)
    rows, others = list(table_rows(ours)), list(table_rows(theirs))
    for row, other in zip(rows, others, strict=True):
        assert len(row) == len(other), row
        assert sorted(code_spans(row[0])) == sorted(code_spans(other[0]))


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_each_language_leads_to_the_other(english: Path, chinese: Path) -> None:
    for page, other in ((english, chinese), (chinese, english)):
        assert f"]({other.name})" in read(page).splitlines()[2], page.name


def test_the_chinese_pages_prefer_chinese_ones() -> None:
    translated = {path.name for path in PAGES if path.name.endswith(".zh-CN.md")}
    for page in PAGES:
        if page.name not in translated:
            continue
        chinese = {Path(link).name for link in links(read(page))} & translated
        for name in chinese:
            assert (REPOSITORY / name).is_file() or (REPOSITORY / "docs" / name).is_file()
    index = [Path(link).name for link in links(read(CHINESE))]
    assert translated - {CHINESE.name} <= set(index)


# ---- links and the index -------------------------------------------------------------------


@pytest.mark.parametrize("page", [pytest.param(path, id=path.name) for path in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(read(page)):
        target, _, name = link.partition("#")
        if "://" in target:
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.is_file(), link
        if name:
            assert name in [anchor(words) for _, words in headings(read(path))], link


@pytest.mark.parametrize("readme", READMES)
def test_every_page_is_in_the_index(readme: Path) -> None:
    """One language of it at least."""
    rows = [cell for row in table_rows(read(readme)) for cell in links(row[0])]
    listed = {Path(link).name.replace(".zh-CN", "") for link in rows}
    pages = {path.name.replace(".zh-CN", "") for path in (REPOSITORY / "docs").glob("*.md")}
    assert pages <= listed


# ---- settings, keys, endpoints, commands ---------------------------------------------------

CHINESE_DEFAULTS = {
    "derived per credential": "按凭据推算",
    "directory of the credentials file": "凭据文件所在目录",
    "SQLite at `databasePath`": "`databasePath` 处的 SQLite",
    "`darwin#24.6.0` or `win32#10.0.22631`, always the same on one machine": (
        "`darwin#24.6.0` 或 `win32#10.0.22631`，同一台机器上始终相同"
    ),
}
CATALOGUE = gettext.translation("messages", REPOSITORY / "kiroproxy/translations", ["zh"])


def chinese_row(row: Setting) -> str:
    names = "<br>".join(f"`{name}`" for name in row.environment)
    default = f"`{row.default}`" if row.default and " " not in row.default else row.default
    default = CHINESE_DEFAULTS.get(row.default, default) or "–"
    return f"| `{row.key}` | {names} | {default} | {CATALOGUE.gettext(row.help)} |"


def test_the_chinese_readme_lists_every_setting() -> None:
    """As `tests/test_config.py` has it of the English one; paste the missing lines."""
    lines = read(CHINESE).splitlines()
    missing = [line for line in map(chinese_row, SETTINGS) if line not in lines]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("readme", READMES)
def test_every_environment_name_and_key(readme: Path) -> None:
    """S89, S94, S173."""
    spans = set(code_spans(read(readme)))
    names = {name for row in SETTINGS for name in row.environment}
    names |= {variable for variable, _ in PATHS.values()}
    assert names <= spans
    assert set(KEYS.values()) | {"auth"} <= spans
    assert any("~/.aws/sso/cache/kiro-auth-token.json" in span for span in spans), "S174"
    assert "LOG_LEVEL=debug kiroproxy serve" in spans, "S168"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    place = tmp_path_factory.mktemp("documented")
    given = {"KIROPROXY_API_KEY": "client", "KIROPROXY_ADMIN_API_KEY": "admin"}
    return load_config(environ=given, cwd=place)


def plain(rule: Rule) -> str:
    """A rule's path as documentation writes it."""
    path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
    return re.sub(r"\{\w*id\}", "{id}", path)


def served(app: Flask) -> set[tuple[str, str]]:
    """Method and path of everything that is there, but for what means the same."""
    found = set()
    for rule in app.url_map.iter_rules():
        path = plain(rule)
        if rule.endpoint.endswith(".not_offered") or "/v1/v1/" in path or "/static/" in path:
            continue
        if path.startswith("/{group}/"):
            assert path.startswith("/{group}/v1/"), "README says only this of groups"
            continue
        found |= {(method, path) for method in rule.methods or () if method != "OPTIONS"}
    return found


def documented(text: str) -> set[tuple[str, str]]:
    """Methods and paths in the first cells of the tables: `GET`, `DELETE /v1/responses/{id}`."""
    found = set()
    for row in table_rows(text):
        methods: list[str] = []
        for span in code_spans(row[0]):
            words = span.split()
            if not all(re.fullmatch("[A-Z]+", word) for word in words[:-1]):
                continue
            if words[-1].startswith("/"):
                found |= {(method, words[-1]) for method in (*methods, *words[:-1])}
                methods = []
            elif re.fullmatch("[A-Z]+", words[-1]):
                methods += words
    return found | {("HEAD", path) for method, path in found if method == "GET"}


@pytest.mark.parametrize("readme", READMES)
def test_endpoints(readme: Path, config: Config) -> None:
    """S173: every endpoint is in README, and nothing else is."""
    said = {one for one in documented(read(readme)) if "…" not in one[1]}
    there = served(create_app(config))
    admin = served(build_admin_app(build_services(config)))
    assert there - said == set()
    assert said - there - admin == set()


def lines_of(page: Path) -> Iterator[str]:
    """Each command line in the code blocks of a page, continued ones joined."""
    for block in code_blocks(read(page), "bash"):
        yield from block.replace("\\\n", " ").splitlines()


def commands() -> Iterator[tuple[str, str]]:
    """Each call of our own programs on any page: page and words."""
    for page in PAGES:
        for line in lines_of(page):
            for part in re.split(r"\||&&|;|\$\(|\s#\s|^#", line):
                call = re.split(r"\s[<>]\s|\)", part.strip())[0]
                if re.match(r"kiro(?:proxy|2api) ", call):
                    yield page.name, call


def options(command: click.Command) -> set[str]:
    """Its options; a group that is called without a command has those of its default one."""
    inner = command.commands.values() if isinstance(command, click.Group) else [command]
    return {
        name for each in inner for one in each.params for name in (*one.opts, *one.secondary_opts)
    }


def test_command_lines_can_be_typed() -> None:
    """Their commands and options are there; see `tests/cli/test_tree.py` for --help's examples."""
    checked = 0
    for page, call in commands():
        program, *words = shlex.split(call)
        command: click.Command = main if program == "kiroproxy" else kiro2api
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            name = words.pop(0)
            found = command.commands.get(name)
            assert found is not None, f"{page}: {call}: no command {name}"
            command = found
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= options(command) | {"--help"}, f"{page}: {call}"
        checked += 1
    assert checked > 50


# ---- secrets -------------------------------------------------------------------------------


def test_s172_secrets_are_ignored() -> None:
    """What the documentation calls a secret is not committed by mistake."""
    names = ["config.json", "credentials.json", "credentials.json.bak.1", ".env"]
    names += ["credentials.json.corrupt-20260101", "data/kiroproxy.db", "responses.db"]
    names += ["credentials.work.json", "config/credentials.json", "runtime.db-wal"]
    names += ["kiroproxy-backup-20260101-000000.tar.gz"]
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", *names],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode > 1:
        pytest.skip("not a checkout")
    assert done.stdout.split() == names
    for readme in (ENGLISH, CHINESE):
        assert ".gitignore" in read(readme)
