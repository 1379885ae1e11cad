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
