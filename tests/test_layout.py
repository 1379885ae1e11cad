"""The repository as a whole: twins, packaging, and nothing that only works on one machine."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from kiroproxy import __version__

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "kiroproxy"

WITHOUT_TWIN = {
    "__main__.py": "tests/cli runs it",
    "simulator/__main__.py": "the simulator's tests run it",
}
IGNORED = {".git", ".venv", "build", "dist", "__pycache__", "htmlcov"}


def modules() -> list[str]:
    """Every module with code of its own, as a path below the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if path.name != "__init__.py" and path.stem.isidentifier() and name not in WITHOUT_TWIN:
            found.append(name)
    return found


def text_files() -> list[Path]:
    """What would be committed: everything git does not ignore, else everything below here."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    names = listing.stdout.split("\0") if listing.returncode == 0 else []
    paths = [REPOSITORY / name for name in names if name] or [
        path for path in REPOSITORY.rglob("*") if not IGNORED & set(path.parts)
    ]
    return [path for path in paths if path.is_file()]


@pytest.mark.parametrize("module", modules())
def test_every_module_has_a_twin(module: str) -> None:
    path = Path(module)
    twin = REPOSITORY / "tests" / path.parent / f"test_{path.name}"
    assert twin.exists(), f"{module} has no test {twin.relative_to(REPOSITORY)}"


def test_exceptions_are_still_needed() -> None:
    for name in WITHOUT_TWIN:
        path = Path(name)
        twin = REPOSITORY / "tests" / path.parent / f"test_{path.name}"
        assert not twin.exists(), f"{name} has a twin now"


def test_nothing_names_this_machine() -> None:
    """Paths of the machine it was written on, or files beside the repository."""
    machine = re.compile(rb"(?<![\w.])/" + rb"work/|\.\./" + rb"shared/|/" + rb"opt/wheels")
    data = REPOSITORY / "tests" / "data"
    guilty = [
        str(path.relative_to(REPOSITORY))
        for path in text_files()
        if data not in path.parents and machine.search(path.read_bytes())
    ]
    assert not guilty


def test_constraints_are_plain_pins() -> None:
    """`name==version` lines only, in order: nothing that records an address."""
    lines = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line) for line in lines)
    assert len({line.partition("==")[0].lower() for line in lines}) == len(lines)


def test_every_dependency_is_pinned() -> None:
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    pins = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {canonical(line.partition("==")[0]) for line in pins}
    assert {canonical(re.split(r"[\[><=]", line)[0]) for line in wanted} <= pinned


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def test_the_two_gunicorn_configurations_are_twins() -> None:
    """Apart from their docstrings: the packaged one serves wheels."""

    def code(path: Path) -> list[str]:
        return [ast.dump(node) for node in ast.parse(path.read_text("utf-8")).body[1:]]

    assert code(REPOSITORY / "gunicorn.conf.py") == code(PACKAGE / "gunicorn.conf.py")


def test_version_and_changelog() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert "## [Unreleased]" in (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
