"""Following the links of a report's Markdown pages."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt


def dead_links(folder: Path) -> Iterator[str]:
    """Every relative link or picture of every page that leads nowhere, as "page: target"."""
    for page in sorted(folder.rglob("*.md")):
        for target in targets(page.read_text(encoding="utf-8")):
            address = urlsplit(target)
            if address.scheme or address.netloc:
                continue
            file = page if not address.path else (page.parent / unquote(address.path)).resolve()
            inside = file.is_relative_to(folder.resolve())
            if not inside or not file.exists() or (address.fragment and address.fragment not in anchors(file)):
                yield f"{page.relative_to(folder)}: {target}"


def targets(text: str) -> list[str]:
    """Addresses of all links and pictures of a Markdown text."""
    inline = [token for block in MarkdownIt("commonmark").enable("table").parse(text) for token in block.children or ()]
    found = [token.attrGet("href" if token.type == "link_open" else "src") for token in inline if token.type in ("link_open", "image")]
    return [str(target) for target in found]


def anchors(page: Path) -> set[str]:
    """Fragments that a forge makes of a page's headings."""
    titles = re.findall(r"^#+ +(.*?)\s*$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
