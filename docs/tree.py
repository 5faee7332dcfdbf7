#!/usr/bin/env python3
"""A preprocessor of mdbook, so that the pages of this checkout read well on a forge and in the book.

A chapter may consist of a single include, `{{#include ../FILE.md}}`: a page that has its place outside of docs/. Links of
every page are relative to the page's own file. In the book,

- a link to a file that is a chapter, by itself or by such an include, leads to that chapter;
- a link to any other file of the checkout becomes its text alone: the book does not contain the sources.
"""

import json
import os
import pathlib
import re
import sys

INCLUDE = re.compile(r"\A\{\{#include (\S+)\}\}\s*\Z")
LINK = re.compile(r"(?<!!)\[((?:[^\]\[]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^(?:    |\t)[^\n]*$|^```.*?^```", re.MULTILINE | re.DOTALL)


def chapters(items):
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter:
            if chapter.get("path"):
                yield chapter
            yield from chapters(chapter["sub_items"])


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "supports":
        sys.exit(0)
    context, book = json.load(sys.stdin)
    docs = pathlib.Path(context["root"]).resolve()
    all_chapters = list(chapters(book.get("items") or book.get("sections")))
    files = {}
    for chapter in all_chapters:
        file = docs / chapter["path"]
        if include := INCLUDE.match(chapter["content"]):
            file = (file.parent / include[1]).resolve()
            chapter["content"] = file.read_text()
        files[file] = chapter["path"]
    for file, chapter in zip(list(files), all_chapters):
        def link(match, file=file, here=pathlib.Path(chapter["path"]).parent):
            text, target = match.groups()
            name, hash_sign, fragment = target.partition("#")
            if not name or re.match(r"[a-z][a-z0-9+.-]*:", name, re.IGNORECASE):
                return match[0]
            found = (file.parent / name).resolve()
            if found not in files:
                return text
            return f"[{text}]({os.path.relpath(files[found], here)}{hash_sign}{fragment})"

        # Blocks of code stay as they are.
        pieces, end = [], 0
        for block in BLOCK.finditer(chapter["content"]):
            pieces += [LINK.sub(link, chapter["content"][end:block.start()]), block[0]]
            end = block.end()
        chapter["content"] = "".join(pieces) + LINK.sub(link, chapter["content"][end:])
    json.dump(book, sys.stdout)


main()
