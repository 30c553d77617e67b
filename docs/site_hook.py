"""Builds the site from pages where they lie: docs/, README and the pages beside the code.

A hook of mkdocs. The site mirrors the repository, so that a link between two pages is the same
here and there; a link to anything else in the repository leads to the repository's host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<=\]\()([\w./-]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of docs/ by its pages and by those that the navigation names."""
    docs = [f"docs/{page.src_uri}" for page in files.documentation_pages()]
    for file in list(files):
        files.remove(file)
    for path in dict.fromkeys([*named_pages(config.nav), *docs]):
        files.append(File(path, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def named_pages(nav: object) -> Iterator[str]:
    """Yield the paths in a navigation, from the repository's root."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        yield from named_pages(list(nav.values()))
    elif isinstance(nav, list):
        for entry in nav:
            yield from named_pages(entry)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to what is no page of the site, such as a source, to the repository."""

    def absolute(link: re.Match[str]) -> str:
        target = (ROOT / page.file.src_uri).parent.joinpath(link[0]).resolve()
        path = target.relative_to(ROOT).as_posix()
        if files.get_file_from_path(path) or not target.exists():
            return link[0]  # mkdocs leads to the page, or complains
        return f"{config.repo_url}/{'tree' if target.is_dir() else 'blob'}/main/{path}"

    return LINK.sub(absolute, markdown)
