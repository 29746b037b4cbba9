"""A disk that can be full, for processes that are started for it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Disk:
    """A small disk at `folder`, which processes started by `prefix` see; others see the folder below it.

    It exists in a namespace of its own, which root may make, and others where user namespaces are allowed.
    """

    def __init__(self, folder: Path, size: str) -> None:
        self._folder = folder
        script = 'mount -t tmpfs -o size="$1" tmpfs "$0" && echo mounted && exec cat'
        self._holder = subprocess.Popen(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", script, folder, size],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline() == b"mounted\n", (
            "A full disk needs a disk of its own: run the tests as root, or where unprivileged users may "
            "make user namespaces (unshare --map-root-user --mount)."
        )
        pid = str(self._holder.pid)
        self.prefix = ["nsenter", "--target", pid, "--user", "--mount", "--preserve-credentials", "--wd=."]

    def grow(self, size: str) -> None:
        subprocess.run(
            [*self.prefix, "mount", "-o", f"remount,size={size}", "tmpfs", self._folder], check=True
        )

    def fill(self) -> None:
        """Leave no room, by a file that is as large as that takes."""
        filling = [*self.prefix, "dd", "if=/dev/zero", f"of={self._folder}/filling", "bs=4k"]
        subprocess.run(filling, stderr=subprocess.DEVNULL, check=False)

    def close(self) -> None:
        self._holder.communicate()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Disk]:
    folder.mkdir(parents=True)
    disk = Disk(folder, size)
    try:
        yield disk
    finally:
        disk.close()
