"""A hook of MkDocs: pages and files of the repository outside of docs/ become part of the site, README its first page.

Links in pages are those of the repository, so that they lead somewhere on a forge too; here they are turned into those
of the site. The hook also leaves out what the site says elsewhere: README's table of options.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(\]\()([^)\s#]+)([^)\s]*\))")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"<!-- options: .*?<!-- end of options -->\n", re.DOTALL)
SHORTER = "[Commands and options](docs/options.md#segearth-predict) has them all.\n"
FIRST = {"README.md": "index.md"}


def on_files(files: Any, config: Any) -> Any:
    """The files of docs/, and those outside that the navigation names or a page links to."""
    from mkdocs.structure.files import File

    wanted = [page for page in pages(config["nav"]) if not (ROOT / "docs" / page).exists()]
    outside = {_in_repository(uri) for uri in wanted}
    every = [*sorted(outside), *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    for page in every:
        text = FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
        linked = {_target(page, link) for _, link, _ in LINK.findall(text)}
        outside |= {there for there in linked if there and not there.startswith("docs/")}
    for path in sorted(outside):
        uri = FIRST.get(path, path)
        if not path.endswith(".md"):
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
        else:
            files.append(File.generated(config, uri, content=(ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """A page's text with the links of the site."""
    here = _in_repository(page.file.src_uri)
    if here == "README.md":
        markdown = TABLE.sub(SHORTER, markdown)

    def turned(found: re.Match[str]) -> str:
        there = _target(here, found[2])
        if there is None:
            return found[0]
        uri = FIRST.get(there, there.removeprefix("docs/"))
        return found[1] + posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".") + found[3]

    parts, end = [], 0
    for fence in [*FENCE.finditer(markdown), None]:
        parts.append(LINK.sub(turned, markdown[end : fence.start() if fence else None]))
        if fence:
            parts.append(fence[0])
            end = fence.end()
    return "".join(parts)


def pages(nav: Any) -> list[str]:
    """The pages that a navigation names, in its order."""
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in pages(part)]


def _in_repository(uri: str) -> str:
    """The path in the repository of a page of the site."""
    if uri in FIRST.values():
        return next(path for path, first in FIRST.items() if first == uri)
    return f"docs/{uri}" if (ROOT / "docs" / uri).exists() else uri


def _target(page: str, link: str) -> str | None:
    """The file of the repository that a page's link leads to; None where it leads elsewhere."""
    if ":" in link:
        return None
    there = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    return there if (ROOT / there).is_file() else None
