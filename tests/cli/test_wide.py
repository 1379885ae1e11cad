"""Help pages with characters of two columns."""

from click.testing import CliRunner

from kiroproxy.cli.base import PlainErrors
from kiroproxy.cli.wide import Pages, cells, is_wide, padded, wrapped


def test_columns() -> None:
    assert (cells("ab"), cells("令牌"), cells("a令，")) == (2, 4, 5)
    assert padded("令牌", 6) + "|" == "令牌  |"
    assert padded("令牌", 1) == "令牌"
    assert is_wide("a 令")
    assert not is_wide("…café →")
    assert not is_wide("")


def test_lines_are_broken_between_wide_characters_and_words() -> None:
    assert list(wrapped("刷新令牌，然后运行。", 10)) == ["刷新令牌，", "然后运行。"]
    assert list(wrapped("刷新令牌，然后运行。", 9)) == ["刷新令", "牌，然后", "运行。"]
    assert list(wrapped("用 `kiroproxy login` 登录（重新）", 12)) == [
        "用",
        "`kiroproxy",
        "login` 登录",
        "（重新）",
    ]
    assert list(wrapped("令https://example.com/牌", 6)) == ["令", "https://example.com/", "牌"]
    assert list(wrapped("", 10)) == list(wrapped("  ", 10)) == []


def test_a_line_neither_begins_with_closing_nor_ends_with_opening_punctuation() -> None:
    text = "凭据、令牌（访问令牌）；设置：端口，区域。" * 3
    for width in range(6, 40):
        lines = list(wrapped(text, width))
        assert "".join(lines) == text
        assert all(cells(line) <= width for line in lines), width
        assert not any(line[0] in "、）；：，。" or line[-1] == "（" for line in lines), width


def test_definitions_and_paragraphs() -> None:
    pages = Pages(width=40)
    with pages.section("选项"):
        pages.write_dl(
            [("--group NAME", "分组；" * 8), ("-x" * 20, "长"), ("文件", ""), ("-h", "h")]
        )
    pages.write_paragraph()
    with pages.indentation():
        pages.write_text("第一段" * 10 + "\n\nsecond")
    lines = pages.getvalue().splitlines()
    assert all(cells(line) <= 44 for line in lines)
    assert lines[1].startswith("  --group NAME                    分组；")
    assert lines[2].startswith(" " * 34 + "组；")
    assert "  -h                              h" in lines
    assert lines[-2:] == ["", "  second"]


def test_without_wide_characters_click_does_it() -> None:
    ours, clicks = Pages(width=40), Pages.__base__(width=40)
    for pages in (ours, clicks):
        with pages.section("Options"):
            pages.write_dl([("--group NAME", "words " * 20)])
            pages.write_text("words… " * 20)
    assert ours.getvalue() == clicks.getvalue()


def test_every_command_writes_its_help_that_way() -> None:
    command = PlainErrors("x", help="第一句。第二句。", callback=lambda: None)
    assert command.get_short_help_str(3) == "第一句。"
    shown = CliRunner().invoke(command, ["--help"], terminal_width=20).output
    assert "  第一句。第二句。\n" in shown
