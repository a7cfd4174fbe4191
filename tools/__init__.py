"""The MCP tools, one page per subject.

    base.py        strict arguments, error text, progress: what every tool shares
    arguments.py   the arguments that describe a task
    results.py     the data of results
    route.py       route_and_answer, classify_task, estimate_cost
    models.py      list_models

A tool validates, calls one routing function and translates errors. Its docstring is what a model reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from tools import models, route
from tools.base import StrictTool


def all_tools() -> Sequence[StrictTool]:
    """Every tool, in the stable order in which hosts see them."""
    return (*route.tools(), *models.tools())
