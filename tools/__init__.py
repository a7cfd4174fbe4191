"""The MCP tools, one page per subject.

    base.py        strict arguments, error text, progress: what every tool shares
    arguments.py   the arguments that describe a task
    results.py     the data of results
    route.py       route_and_answer, classify_task, estimate_cost
    jobs.py        get_answer, route_batch, the resource answer://{route_id}
    models.py      list_models
    web.py         web_search, fetch_url                              searching/  engines      fetching/  pages
    code.py        execute_python, validate_python_syntax             sandbox/    isolation
    memory.py      memory_store, memory_search, memory_list, memory_delete
    report.py      usage_report, record_feedback                      dashboard/  the page that shows a report
    toolbox.py     the tools as models in the tool loop have them
    readiness.py   which of them can do anything here

A tool validates, calls one routing function and translates errors. Its docstring is what a model reads.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import get_args

from tools import code, jobs, memory, models, report, route, web
from tools.arguments import LoopTool
from tools.base import StrictTool

_IN_THE_LOOP = get_args(LoopTool)


@functools.cache
def all_tools() -> Sequence[StrictTool]:
    """Every tool, in the stable order in which hosts see them. Made once: it takes 5 ms a tool."""
    return (
        *route.tools(),
        *jobs.tools(),
        *models.tools(),
        *web.tools(),
        *code.tools(),
        *memory.tools(),
        *report.tools(),
    )


def loop_tools() -> Sequence[StrictTool]:
    """The tools that a model which answers a task may be given; the registry says which category uses which."""
    return tuple(tool for tool in all_tools() if tool.name in _IN_THE_LOOP)
