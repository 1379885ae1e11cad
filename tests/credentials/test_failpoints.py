from pathlib import Path

from kiroproxy.credentials import failpoints
from kiroproxy.credentials.pool import Pool
from kiroproxy.credentials.refresh import Refresher, RefreshSettings
from kiroproxy.credentials.stores.file import FileStore
from kiroproxy.runtime import Runtime
from kiroproxy.transport import Transport
from tests.credentials.auth_server import AuthServer


def test_a_refresh_passes_all_of_them_in_order(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    path.write_text('{"id": 1, "authMethod": "social", "refreshToken": "rt-0"}')
    passed: list[str] = []
    with AuthServer() as auth:
        pool = Pool(
            FileStore(path, failpoint=passed.append),
            Refresher(Transport(), RefreshSettings(social_auth_url=auth.url)),
            Runtime(tmp_path / "runtime.db"),
            failpoint=passed.append,
        )
        pool.lease("m").release()
    assert tuple(passed) == failpoints.ALL


def test_no_failpoint_goes_on() -> None:
    failpoints.no_failpoint(failpoints.AFTER_LOCK)
