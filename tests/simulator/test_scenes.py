"""Every named script: sound frames unless it says otherwise, and a name for every error."""

import json

import pytest
from botocore.eventstream import EventStreamBuffer, ParserError

from kiroproxy.simulator.kiro_errors import KIRO_ERRORS
from kiroproxy.simulator.scenes import EXCEPTIONS, MAKERS, SCENES, Scene, find_scene
from kiroproxy.simulator.script import EVENT_STREAM, End, compile_script

EVENT_KINDS = {  # protocol.md 4.1
    "assistantResponseEvent",
    "toolUseEvent",
    "reasoningContentEvent",
    "contextUsageEvent",
    "meteringEvent",
    "metadataEvent",
    "messageMetadataEvent",
    "invalidStateEvent",
    "codeReferenceEvent",
    "supplementaryWebLinksEvent",
    "citationEvent",
    "followupPromptEvent",
    "codeEvent",
    "intentsEvent",
    "interactionComponentsEvent",
    "toolResultEvent",
    "dryRunSucceedEvent",
}
STREAMED = {name: scene for name, scene in SCENES.items() if "body" not in scene.script}


def decode(scene: Scene) -> tuple[list[str], int]:
    """Event types by botocore's decoder, and how many bytes were left over."""
    body = compile_script(scene.script, lambda: "tooluse_x").body
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    kinds, size = [], 0
    for message in buffer:
        kinds.append(str(message.headers.get(":event-type", "")))
        size += message.prelude.total_length
    return kinds, len(body) - size


@pytest.mark.parametrize("name", [n for n, s in STREAMED.items() if not s.damaged])
def test_botocore_decodes_every_sound_script(name: str) -> None:
    _, left = decode(STREAMED[name])
    assert left == 0


@pytest.mark.parametrize("name", [n for n, s in STREAMED.items() if s.damaged])
def test_botocore_refuses_every_damaged_script(name: str) -> None:
    try:
        _, left = decode(STREAMED[name])
    except ParserError:
        return
    assert left > 0


def test_every_event_of_the_protocol_is_played_by_one_script() -> None:
    kinds, _ = decode(SCENES["every-event"])
    assert set(kinds) >= EVENT_KINDS


def test_every_error_has_a_script() -> None:
    for name, error in KIRO_ERRORS.items():
        script = SCENES[f"error-{name}"].script
        assert script["status"] == error.status
        assert script["body"] == error.body()


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_exceptions_come_at_once_after_text_and_inside_a_call(name: str) -> None:
    for suffix in ("", "-late", "-tool"):
        assert f"exception-{name}{suffix}" in SCENES


@pytest.mark.parametrize(
    ("words", "frames"), [("burst 7", 9), ("paced 3 0.01", 5), ("tools 2", 8), ("burst", 202)]
)
def test_scripts_with_arguments(words: str, frames: int) -> None:
    kinds, left = decode(Scene("", find_scene(words)))
    assert (len(kinds), left) == (frames, 0)


def test_fragments_makes_one_big_call() -> None:
    kinds, _ = decode(Scene("", find_scene("fragments 120")))
    assert kinds.count("toolUseEvent") == 122


@pytest.mark.parametrize("words", ["error throttled", "error 429 always", "error 503", "error 418"])
def test_errors_by_name_or_status(words: str) -> None:
    assert find_scene(words)["status"] in (429, 503, 418)


@pytest.mark.parametrize("words", ["nope", "burst x", "burst 1 2", "text 3", "error", "error nope"])
def test_unknown_names_are_refused(words: str) -> None:
    with pytest.raises(ValueError):
        find_scene(words)


def test_scripts_survive_json_and_streams_are_event_streams() -> None:
    for name, scene in SCENES.items():
        again = json.loads(json.dumps(scene.script))
        program = compile_script(again, lambda: "x")
        assert isinstance(program.ops[-1], End), name
        if name in STREAMED:
            assert program.headers["content-type"] == EVENT_STREAM
    assert not set(MAKERS) & set(SCENES)
