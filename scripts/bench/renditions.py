"""The cost of three renditions beside a picture: CPU of the service, and requests to the origin.

    python scripts/servers.py nginx -- python -m scripts.bench.renditions [--pictures COUNT]

Photographs of 1000 px, repeated under other addresses, are made once alone and once with their renditions, in
turns; the least CPU of three rounds counts. Prints a table. Ends with an error if a picture is requested more
than once.
"""

import argparse
import json
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from scripts.bench.contenders import Service, embedded
from scripts.bench.measure import cpu_seconds
from scripts.bench.origin import nginx
from scripts.bench.photographs import photographs, scaled

ROUNDS = 3
PHOTOGRAPHS = 40
SIDES = (400, 200, 100)
MAINS: dict[str, dict[str, Any]] = {
    "within 800 px": {"max_width": 800, "max_height": 800},
    "as large as its source": {},
}
RENDITIONS = json.dumps([{"name": f"w{side}", "max_width": side, "max_height": side} for side in SIDES])


def main() -> None:
    parser = argparse.ArgumentParser(description="What renditions cost.")
    parser.add_argument("--pictures", type=int, default=1000)
    count = parser.parse_args().pictures
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, ExitStack() as stack:
        root = Path(directory)
        folder = scaled(photographs(), root / "scaled", PHOTOGRAPHS)[1000]
        shutil.copytree(folder, root / "pictures")
        files = sorted(path.name for path in folder.iterdir())
        log = root / "access.log"
        url = stack.enter_context(nginx(root, f"access_log {log} bytes;"))
        (root / "embedded").mkdir()
        service = embedded(stack, root / "embedded")
        print(f"| main picture | alone, CPU ms | with {len(SIDES)} renditions | times |\n|---|---|---|---|")
        for name, options in MAINS.items():
            least: dict[str, float] = {}
            for number in range(ROUNDS):
                for renditions in ("", RENDITIONS):
                    urls = [
                        f"{url}/{files[n % len(files)]}?{name[:1]}{number}{bool(renditions)}{n}"
                        for n in range(count)
                    ]
                    used = _cpu_ms(
                        service, urls, options | ({"renditions": renditions} if renditions else {}), log
                    )
                    least[renditions] = min(used, least.get(renditions, used))
            alone, together = least.values()
            print(f"| {name} | {alone:.2f} | {together:.2f} | {together / alone:.2f} |", flush=True)


def _cpu_ms(service: Service, urls: list[str], options: dict[str, Any], log: Path) -> float:
    """Do the job, and return CPU ms per picture."""
    asked = len(log.read_text().splitlines())
    before = cpu_seconds(service.groups)
    batch = service.finished(service.submit(urls, **options)["id"])
    used = cpu_seconds(service.groups) - before
    requests = len(log.read_text().splitlines()) - asked
    if batch["images"]["completed"] != len(urls) or requests != len(urls):
        sys.exit(f"bench: {batch['images']} of {len(urls)} images, {requests} requests")
    return used * 1000 / len(urls)


if __name__ == "__main__":
    main()
