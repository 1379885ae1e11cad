import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.stores.document import build_document, parse_document, with_ids
from kiroproxy.errors import ConfigError

ONE = {"refreshToken": "a", "x": 1}
TWO = {"refreshToken": "b", "priority": 2}


def encode(value: object) -> bytes:
    return json.dumps(value).encode()


def rebuilt(value: object) -> Any:
    document = parse_document(encode(value))
    return json.loads(build_document(document, document.credentials))


@pytest.mark.parametrize(
    "value",
    [
        ONE,
        [ONE],
        [ONE, TWO],
        [],
        {"tokens": [ONE, TWO], "groups": {"pro": {}}, "api_keys": []},
        {"credentials": [ONE], "version": 1},
    ],
)
def test_the_shape_survives(value: Any) -> None:
    """S93, S96: also that of a single object, and unknown keys of the wrapper."""
    out = rebuilt(value)
    assert type(out) is type(value)
    bare = json.loads(json.dumps(out))
    entries = (
        bare if isinstance(bare, list) else bare.get("tokens", bare.get("credentials", [bare]))
    )
    assert [entry.pop("id") for entry in entries] == list(range(1, len(entries) + 1))
    assert {entry.pop("authMethod") for entry in entries} <= {"social"}
    assert bare == value


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[NaN]",
        b'[{"x": 1e999}]',
        b"\xff\xfe",
        b'"text"',
        b"7",
        b"null",
        b"\0" * 50,
        b"[" * 100_000,
        b'[{"id": ' + b"9" * 5000 + b"}]",
    ],
)
def test_what_is_no_credentials_file(data: bytes) -> None:
    with pytest.raises(ConfigError) as error:
        parse_document(data)
    assert error.value.setting == "credentials"


@pytest.mark.parametrize("data", [b"", b" \n", b"[]", b"{}", b"\xef\xbb\xbf[]"])
def test_files_without_credentials(data: bytes) -> None:
    """S97."""
    assert parse_document(data).credentials == ()


def test_bad_entries_are_named_and_kept() -> None:
    """S91: the others still load."""
    bad = {"authMethod": "idc", "refreshToken": "c"}
    document = parse_document(encode([ONE, bad, "text", TWO]))
    assert [one.refresh_token for one in document.credentials] == ["a", "b"]
    assert [problem.split(":")[0] for problem in document.problems] == [
        "credentials[1].clientId",
        "credentials[2]",
    ]
    out = json.loads(build_document(document, document.credentials))
    assert out[1:3] == [bad, "text"]


def test_ids_are_given_above_all_others() -> None:
    """S96: so that a deleted credential's id does not come back with another one."""
    raws = [ONE, {**TWO, "id": 5}, {**TWO, "id": 5}, {**TWO, "id": "uuid"}, {**TWO, "id": -1}]
    document = parse_document(encode(raws))
    assert [one.id for one in document.credentials] == [6, 5, 7, 8, 9]
    assert not document.settled
    assert parse_document(build_document(document, document.credentials)).settled
    new = with_ids([*document.credentials, Credential(refresh_token="n")])
    assert new[-1].id == 10


def test_adding_and_deleting() -> None:
    document = parse_document(encode(ONE))
    both = with_ids([*document.credentials, Credential(refresh_token="n")])
    out = parse_document(build_document(document, both))
    assert [one.refresh_token for one in out.credentials] == ["a", "n"]
    assert json.loads(build_document(out, [])) == []


def test_lone_surrogates_do_not_stop_a_rewrite() -> None:
    data = b'{"refreshToken": "a", "label": "\\ud800", "\\udfff": 1}'
    document = parse_document(data)
    changed = [replace(one, access_token="x") for one in document.credentials]
    again = parse_document(build_document(document, changed))
    assert again.credentials[0].label == "\ud800"
    assert again.credentials[0].extra == {"\udfff": 1}


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_load_or_are_refused(data: bytes) -> None:
    try:
        document = parse_document(data)
    except ConfigError:
        return
    build_document(document, document.credentials)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["id", "refreshToken", "authMethod", "auth", "expiresAt", "priority", "z"])


@given(st.lists(st.dictionaries(keys, json_values), max_size=4))
def test_any_objects_survive_a_rewrite(raws: list[dict[str, Any]]) -> None:
    """Nothing is lost, whatever a file holds: unknown keys, bad entries, odd types."""
    document = parse_document(encode(raws))
    out = json.loads(build_document(document, document.credentials))
    assert len(out) == len(raws)
    for before, after in zip(raws, out, strict=True):
        assert after.get("z") == before.get("z")
        if before.get("refreshToken"):
            assert after["refreshToken"] == before["refreshToken"]
    again = parse_document(encode(out))
    assert again.settled
    assert again.credentials == document.credentials


# ---- what a person writes by hand ------------------------------------------------------------

ODD = {"refreshToken": "o", "endpoint": "desktop", "x": 1}


def test_an_unknown_endpoint_switches_off_its_credential_alone() -> None:
    document = parse_document(encode([ONE, ODD, TWO]))
    one, odd, two = document.credentials
    assert (odd.disabled, odd.disabled_reason) == (True, "InvalidConfig")
    assert not one.disabled
    assert not two.disabled
    [problem] = document.problems
    assert problem == "credentials[1].endpoint: must be ide or cli, not 'desktop'"
    written = json.loads(build_document(document, document.credentials))[1]
    assert written == {**ODD, "id": 2, "authMethod": "social"}, "that is for nobody to write"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"label": "mine"}, {"label": "mine"}),
        ({"endpoint": "cli"}, {"endpoint": "cli"}),
        ({"disabled": False, "disabled_reason": None}, {}),
        ({"disabled_reason": "Manual"}, {"disabled": True, "disabledReason": "Manual"}),
    ],
)
def test_editing_such_a_credential(change: dict[str, Any], told: dict[str, Any]) -> None:
    document = parse_document(encode(ODD))
    changed = [replace(document.credentials[0], **change)]
    out = json.loads(build_document(document, changed))
    assert out == {**ODD, "id": 1, "authMethod": "social"} | told
    again = parse_document(encode(out)).credentials[0]
    assert again.disabled == ("endpoint" not in change)


def test_a_stored_switch_of_such_a_credential_stays() -> None:
    off = {**ODD, "disabled": True, "disabledReason": "Manual", "disabledUntil": "2030-01-01"}
    assert rebuilt([off]) == [{**off, "id": 1, "authMethod": "social"}]


KIRO2API = {
    "default_group": "pro",
    "groups": {
        "pro": {"name": "pro", "display_name": "Pro", "settings": {"cooldown_sec": 5}, "x": 1},
        "default": {"settings": {"priority": 3}},
    },
    "api_keys": [{"key": "k", "name": "n", "allowed_groups": ["pro"]}],
    "tokens": [{"refreshToken": "a"}, {"refreshToken": "b", "group": "other", "y": [2]}],
}


def test_s121_groups_and_their_default() -> None:
    document = parse_document(encode(KIRO2API))
    assert [one.group for one in document.credentials] == ["pro", "other"]
    assert {one.name: one.display_name for one in document.groups} == {"pro": "Pro", "default": ""}
    assert document.groups[0].settings.cooldown_sec == 5
    assert document.problems == ()


def test_s121_the_shape_survives_a_rotation() -> None:
    document = parse_document(encode(KIRO2API))
    changed = [replace(one, refresh_token="new") for one in document.credentials]
    out = json.loads(build_document(document, changed))
    first, second = out.pop("tokens")
    assert first == {"refreshToken": "new", "id": 1, "authMethod": "social"}, "still no group"
    assert (second["group"], second["y"]) == ("other", [2])
    assert out == {key: value for key, value in KIRO2API.items() if key != "tokens"}


@pytest.mark.parametrize("group", [None, "default"])
def test_s121_no_group_is_named_where_it_means_another(group: str | None) -> None:
    """A credential that is added, or moved, to `default` must not land in the file's own."""
    document = parse_document(encode(KIRO2API))
    moved, other = document.credentials
    new = Credential(refresh_token="n", group=group)
    after = with_ids([replace(moved, group=group), other, new])
    again = parse_document(build_document(document, after))
    assert [one.group for one in again.credentials] == ["default", "other", "default"]


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        ([], "groups: is not an object"),
        ({"v1": {}}, "groups.v1: its name or its settings cannot be used"),
        ({"pro": {"settings": {"priority": "x"}}}, "groups.pro: its name or its settings"),
        (None, ""),
    ],
)
def test_groups_that_cannot_be_used_are_named(groups: object, problem: str) -> None:
    """The credentials serve all the same."""
    document = parse_document(encode({"groups": groups, "tokens": [ONE]}))
    assert len(document.credentials) == 1
    assert document.groups == ()
    assert "".join(document.problems).startswith(problem)
    assert bool(document.problems) == bool(problem)


@pytest.mark.parametrize("name", ["", "  ", None, 5, []])
def test_no_default_group_is_default(name: object) -> None:
    document = parse_document(encode({"default_group": name, "tokens": [ONE]}))
    assert document.credentials[0].group is None


def test_a_token_that_is_there_twice_is_told() -> None:
    """Without showing it; both serve, for who knows which one its owner means."""
    key = {"kiroApiKey": "ksk_example"}
    document = parse_document(encode([ONE, TWO, {**ONE, "label": "again"}, key, key]))
    assert len(document.credentials) == 5
    [problem] = document.problems
    assert problem.startswith("#3 has the same refresh token as #1")


def test_comments_and_last_commas_are_for_people() -> None:
    """X11: document A's sample has them. What is written is plain JSON."""
    text = """
    [ // mine
      {"refreshToken": "a//b/*c*/", "note": "say \\"// hi\\", ]",  /* of
         work */ "priority": 1,},
      {"refreshToken": "two"}, // the other
    ]
    """
    document = parse_document(text.encode())
    assert [one.refresh_token for one in document.credentials] == ["a//b/*c*/", "two"]
    assert document.credentials[0].extra["note"] == 'say "// hi", ]'
    assert document.credentials[0].priority == 1
    json.loads(build_document(document, document.credentials))


@pytest.mark.parametrize("text", ["[{'refreshToken': 1}]", "[{},,]", "[/* ]", "[//]", '["a,]'])
def test_other_liberties_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="not JSON"):
        parse_document(text.encode())
