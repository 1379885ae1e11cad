"""What the doctor looks at."""

from pathlib import Path

from tests.doctor.helpers import credential, make


def test_credentials_that_are_off_are_not_asked_about(tmp_path: Path) -> None:
    patient = make(
        tmp_path, {}, [credential(), credential(id=2, refreshToken="y" * 120, disabled=True)]
    )
    assert [one.id for one in patient.credentials()] == [1]
    assert patient.models.unknown == "reject"
