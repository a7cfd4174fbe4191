"""The MCP tools, one page per subject.

    base.py        strict arguments, error text, progress: what every tool shares
    arguments.py   the arguments that describe a task
    results.py     the data of results
    route.py       route_and_answer, classify_task, estimate_cost
    jobs.py        get_answer, route_batch, answer://{route_id}
    sessions.py    session://{session_id}
    models.py      list_models, models://{model_id}
    web.py         web_search, fetch_url                              searching/  engines      fetching/  pages
    code.py        execute_python, validate_python_syntax             sandbox/    isolation
    memory.py      memory_store, memory_search, memory_list, memory_delete
    report.py      usage_report, record_feedback, report://{period}     dashboard/  the page that shows a report
    resources.py   what a resource is
    prompts.py     delegate, compare_models, cost_check
    completions.py what may be put for an argument of these
    offering.py    of all this, what the settings leave
    toolbox.py     the tools as models in the tool loop have them
    readiness.py   which of them can do anything here

A tool validates, calls one routing function and translates errors. Its docstring is what a model reads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import get_args

from routing.errors import SettingsError
from routing.settings import Settings, Toolset, check_names
from tools import code, jobs, memory, models, prompts, report, route, sessions, web
from tools.arguments import LoopTool
from tools.base import StrictTool
from tools.completions import completed
from tools.prompts import Offer
from tools.resources import Readable

__all__ = ["all_prompts", "all_resources", "all_tools", "by_toolset", "completed", "loop_tools", "offered_tools"]
_IN_THE_LOOP = get_args(LoopTool)


_PAGES: Mapping[Toolset, Sequence[Callable[[], Sequence[StrictTool]]]] = {
    "routing": (route.tools, jobs.tools, models.tools),
    "web": (web.tools,),
    "code": (code.tools,),
    "memory": (memory.tools,),
    "report": (report.tools,),
}


@functools.cache
def by_toolset() -> Mapping[Toolset, Sequence[StrictTool]]:
    """Every tool, by the toolset that it is in. Made once: it takes 5 ms a tool."""
    return {toolset: tuple(tool for page in pages for tool in page()) for toolset, pages in _PAGES.items()}


def all_tools() -> Sequence[StrictTool]:
    """Every tool, in the stable order in which hosts see them."""
    return tuple(chain.from_iterable(by_toolset().values()))


def offered_tools(settings: Settings) -> Sequence[StrictTool]:
    """The tools that the settings leave, to hosts and to models, in the same order.

    Raises:
        SettingsError: one is to be disabled that there is not, or none is left.

    """
    try:
        check_names(settings.disable_tools, [tool.name for tool in all_tools()], "tool")
    except ValueError as problem:
        raise SettingsError(f"POINTSMAN_DISABLE_TOOLS: {problem}. Correct the variable or the option.") from problem
    wanted = chain.from_iterable(tools for toolset, tools in by_toolset().items() if toolset in settings.toolsets)
    left = tuple(
        tool
        for tool in wanted
        if tool.name not in settings.disable_tools and (tool.changes_nothing or not settings.read_only)
    )
    if not left:
        raise SettingsError(
            "no tool is left to offer. Take one of POINTSMAN_TOOLSETS, POINTSMAN_READ_ONLY and POINTSMAN_DISABLE_TOOLS back."
        )
    return left


def all_resources() -> Sequence[Readable]:
    """Every resource, in the stable order in which hosts see them."""
    return (*models.resources(), *jobs.resources(), *sessions.resources(), *report.resources())


@functools.cache
def all_prompts() -> Sequence[Offer]:
    """Every prompt, in the stable order in which hosts see them. Made once, too."""
    return prompts.prompts()


def loop_tools(offered: Sequence[StrictTool]) -> Sequence[StrictTool]:
    """Those that a model which answers a task may be given; the registry says which category uses which."""
    return tuple(tool for tool in offered if tool.name in _IN_THE_LOOP)
