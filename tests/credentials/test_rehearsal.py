"""Which credential would serve a request: asked without taking it."""

from pathlib import Path

from kiroproxy.credentials.rehearsal import rehearse
from tests.credentials.bench import Bench

MODEL = "claude-sonnet-4.5"


def add(bench: Bench, n: int) -> None:
    from kiroproxy.credentials.model import Credential

    later = bench.now.replace(year=2099)
    new = Credential(refresh_token=f"rt-{n}", access_token=f"at-{n}", expires_at=later)
    bench.store.edit(lambda credentials: credentials.append(new))


def test_it_is_the_one_that_is_taken(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for n in range(3):
        add(bench, n)
    found = rehearse(bench.pool, MODEL)
    lease = bench.pool.lease(MODEL)
    assert lease.credential.id == found.credential_id
    assert found.following == (2, 3)
    assert rehearse(bench.pool, MODEL).credential_id == found.credential_id, "and takes nothing"
    lease.release()


def test_a_pinned_conversation(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for n in range(2):
        add(bench, n)
    first = bench.pool.lease(MODEL)
    other = bench.pool.borrower("default", "session").lease(MODEL, exclude=[1])
    other.release()
    first.release()
    found = rehearse(bench.pool, MODEL, "default", "session")
    assert (found.credential_id, found.pinned) == (2, True)
    assert rehearse(bench.pool, MODEL, "default", "another").pinned is False


def test_nobody(tmp_path: Path) -> None:
    found = rehearse(Bench(tmp_path).pool, MODEL)
    assert (found.credential_id, found.following, found.pinned) == (0, (), False)
