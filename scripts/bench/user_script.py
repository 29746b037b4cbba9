"""The job as a user would write it: requests and Pillow in eight threads.

python user_script.py URLS.txt FOLDER
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import requests
from PIL import Image


def compress(number: int, url: str, folder: Path) -> None:
    response = requests.get(url, timeout=30)
    response.raise_for_status()
    Image.open(BytesIO(response.content)).convert("RGB").save(folder / f"{number}.jpg", quality=50)


def main() -> None:
    urls, folder = Path(sys.argv[1]).read_text().split(), Path(sys.argv[2])
    folder.mkdir()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(compress, range(len(urls)), urls, [folder] * len(urls)))


if __name__ == "__main__":
    main()
