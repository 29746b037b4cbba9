"""The image has no shell: the service works where none is."""

import subprocess
from pathlib import Path

import pytest

from tests.support.factories import make_csv
from tests.support.origin import Origin
from tests.support.pictures import photo_jpeg
from tests.support.stack import Embedded, wait_for

pytestmark = pytest.mark.needs("the service in a process of its own")

HIDE_SHELLS = """
for shell in sh bash dash; do
  path=$(readlink -f "$(command -v $shell)") && mount --bind /dev/null "$path"
done
exec "$@"
"""


def test_the_service_works_without_a_shell(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/a.jpg", photo_jpeg(60, 40, seed=1))
    with Embedded(tmp_path) as service:
        service.prefix = ["unshare", "--map-root-user", "--mount", "bash", "-c", HIDE_SHELLS, "bash"]
        shell = subprocess.run([*service.prefix, "sh", "-c", "true"], capture_output=True, check=False)
        assert shell.returncode != 0
        service.serve()
        with service.client() as client:
            batch = client.post("/api/requests/", files={"file": ("a.csv", make_csv((1, "a", url)))}).json()

            def finished() -> bool:
                state: str = client.get(f"/api/requests/{batch['id']}/").json()["status"]
                return state == "completed"

            wait_for(finished, "the picture is processed")
            assert client.get("/readyz").status_code == 200
