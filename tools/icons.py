"""The icon, in the place where a host looks for it. Tools have none: their list is paid for in tokens."""

from __future__ import annotations

import base64

from mcp_types import Icon

_SVG = (  # a track, and one that turns off it
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#0e7490" stroke-width="3" '
    'stroke-linecap="round"><path d="M7 22V2M7 15c0-6 10-4 10-13"/></svg>'
)
ICON = Icon(
    src="data:image/svg+xml;base64," + base64.b64encode(_SVG.encode()).decode(),
    mime_type="image/svg+xml",
    sizes=["any"],
)
