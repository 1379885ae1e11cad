"""Reads a Dockerfile, as far as ours goes: what it says, and what rules it breaks."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

SETTINGS_ALLOWED = {"KIROPROXY_HOST", "KIROPROXY_CONFIG", "KIROPROXY_CREDENTIALS"}
"""S163: the image sets the host, and where the files lie; nothing else."""


@dataclass
class Instruction:
    """One line of it, continuations joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Of the exec form, or as a shell splits them."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)

    @property
    def exec_form(self) -> bool:
        return self.text.startswith("[")


@dataclass
class Stage:
    """From one FROM to the next."""

    image: str
    alias: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[Instruction]:
        return [one for one in self.instructions if one.name == name]

    def last(self, name: str) -> Instruction:
        return self.all(name)[-1]

    def environment(self) -> dict[str, str]:
        pairs = (word.partition("=") for one in self.all("ENV") for word in one.words)
        return {name: value for name, _, value in pairs}


def parse(text: str) -> list[Stage]:
    """All stages, in order."""
    stages: list[Stage] = []
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            image, _, alias = rest.partition(" AS ")
            stages.append(Stage(image.strip(), alias.strip()))
        else:
            stages[-1].instructions.append(Instruction(name, rest.strip()))
    return stages


def health_command(stage: Stage) -> list[str]:
    """What HEALTHCHECK runs."""
    _, _, command = stage.last("HEALTHCHECK").text.partition("CMD ")
    words: list[str] = json.loads(command)
    return words


def broken_rules(text: str) -> Iterator[str]:
    """What is wrong with a Dockerfile of ours."""
    stages = parse(text)
    final = stages[-1]
    if len(stages) < 2:
        yield "not built in stages: compilers and sources stay in the image"
    for stage in stages:
        yield from _stage_rules(stage, {one.alias for one in stages})
    names = [one.name for one in final.instructions]
    for name in ("USER", "HEALTHCHECK", "ENTRYPOINT", "CMD", "WORKDIR", "EXPOSE", "VOLUME"):
        if name not in names:
            yield f"{name} is missing"
    if "USER" in names:
        if final.last("USER").text not in ("10001", "10001:10001"):
            yield "USER is not the number 10001: orchestrators check for a number that is not 0"
        if any(one.name in ("RUN", "COPY") for one in final.instructions[names.index("USER") :]):
            yield "changes the image after USER"
    for name in ("ENTRYPOINT", "CMD"):
        if name in names and not final.last(name).exec_form:
            yield f"{name} runs in a shell, which hears no signal"
    if "ENTRYPOINT" in names and final.last("ENTRYPOINT").words[:1] != ["tini"]:
        yield "no init: orphans are not reaped"
    if "HEALTHCHECK" in names and "CMD [" not in final.last("HEALTHCHECK").text:
        yield "HEALTHCHECK runs in a shell"
    settings = {name for name in final.environment() if name.startswith("KIRO")}
    if settings - SETTINGS_ALLOWED or final.environment().get("KIROPROXY_HOST") != "0.0.0.0":
        yield "S163: the image sets the host to 0.0.0.0 and no other setting"


def _stage_rules(stage: Stage, aliases: set[str]) -> Iterator[str]:
    if stage.image not in aliases:
        if not re.search(r":\d+\.\d+", stage.image):
            yield f"{stage.image} is not pinned to a version"
        if "slim" not in stage.image:
            yield f"{stage.image} is not slim"
    for one in stage.instructions:
        if one.name == "ADD":
            yield "ADD unpacks and downloads: COPY"
        if one.name == "COPY" and "." in one.words[:-1]:
            yield "COPY of everything: secrets get in"
        if one.name == "WORKDIR" and not one.text.startswith("/"):
            yield "WORKDIR is relative"
        if one.name == "ENV" and re.search(r"(?i)(token|secret|password|_key)=", one.text):
            yield "a secret in ENV"
        if one.name == "RUN":
            yield from _run_rules(one.text)


def _run_rules(text: str) -> Iterator[str]:
    if "apt-get install" in text:
        for wanted in ("--no-install-recommends", "-y", "rm -rf /var/lib/apt/lists/*"):
            if wanted not in text:
                yield f"apt-get install without {wanted}"
        if "apt-get update" not in text:
            yield "apt-get install without apt-get update in the same layer"
    if "pip install" in text:
        for wanted in ("--no-cache-dir", "--constraint constraints.txt"):
            if wanted not in text:
                yield f"pip install without {wanted}"
    for unwanted in ("sudo ", "curl ", "wget ", "chmod 777"):
        if unwanted in text:
            yield f"RUN uses {unwanted.strip()}"
