"""Large catalogues."""

from pathlib import Path


def write(path: Path, rows: int, urls_per_row: int) -> Path:
    """A catalogue with so many rows of so many URLs."""
    with path.open("w", encoding="utf-8") as file:
        file.write("Serial Number,Product Name,Input Image Urls\n")
        for row in range(rows):
            urls = ",".join(f"https://cdn.example.com/pictures/{row}/{n}.jpg" for n in range(urls_per_row))
            file.write(f'{row},Product {row},"{urls}"\n')
    return path
