"""Data, style and scripts as one HTML file that loads nothing and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from mopd.page.sampling import dumped

SCRIPTS = ("page.js", "charts.js", "groups.js", "tokens.js", "start.js")


def document(title: str, data: Mapping[str, Any], refresh_s: int = 0) -> bytes:
    """The page, in UTF-8. Each part of `data` is a block of JSON of its own, read when its view is opened. With
    `refresh_s` the browser reads the file again after so many seconds.

    The browser runs and styles by what has the digests that stand in the page, and fetches nothing: whatever a model
    wrote stays text.
    """
    style, script = _asset("page.css"), "\n".join(map(_asset, SCRIPTS))
    policy = f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; base-uri 'none'"
    again = f'<meta http-equiv="refresh" content="{refresh_s}">' if refresh_s else ""
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}; form-action \'none\'">{again}'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><title>{html.escape(title)}</title><style>{style}</style></head>\n<body>'
        "<noscript>This page draws itself with JavaScript that is in the file; it loads nothing.</noscript>\n"
    )
    blocks = [
        f'<script type="application/json" id="data-{name}">'.encode() + dumped(value) + b"</script>\n"
        for name, value in data.items()
    ]
    return head.encode() + b"".join(blocks) + f"<script>{script}</script></body></html>\n".encode()


def _asset(name: str) -> str:
    return (files("mopd.page") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
