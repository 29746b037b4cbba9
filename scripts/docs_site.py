"""A hook of MkDocs: pages that are kept outside docs/, and links that lead there.

In the repository links are relative to the file they stand in, and lead to code as well. On the site they
lead to the pages, and what names code is plain text.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
#: Files that become pages or pictures, and their names on the site.
OUTSIDE = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "vulnerabilities.md",
    "clients/python/README.md": "client-python.md",
    "products/static/products/icon.svg": "images/icon.svg",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/."""
    for path, name in OUTSIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make the links of a page lead to pages of the site."""
    parts = FENCE.split(markdown)  # every second one is a block of code
    return "".join(
        part if number % 2 else LINK.sub(lambda link: site_link(link, page.file.src_uri), part)
        for number, part in enumerate(parts)
    )


def site_link(link: re.Match[str], page: str) -> str:
    """Return a link of the page with this name on the site; text if it leads to neither page nor picture."""
    mark, text, target = link.groups()
    if "://" in target or target.startswith(("#", "mailto:")):
        return link[0]
    path, hash_sign, anchor = target.partition("#")
    sources = {name: path for path, name in OUTSIDE.items()}
    folder = posixpath.dirname(sources.get(page, f"docs/{page}"))
    source = posixpath.normpath(posixpath.join(folder, path))
    if source in OUTSIDE:
        name = OUTSIDE[source]
    elif source.startswith("docs/"):
        name = source.removeprefix("docs/")
    else:
        return text
    return f"{mark}[{text}]({posixpath.relpath(name, posixpath.dirname(page) or '.')}{hash_sign}{anchor})"
