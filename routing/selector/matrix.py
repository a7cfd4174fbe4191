"""The decision matrix: which column of a category's row speaks for a task, and which model stands there."""

from __future__ import annotations

from typing import Literal

from routing.registry import Cell, MatrixRow
from routing.types import Task, TaskAnalysis

Column = Literal[
    "default",
    "cost_optimized",
    "self_hosted",
    "long_context",
    "high_quality",
    "high_complexity",
    "math_heavy",
]
HIGH_COMPLEXITY = 4
"""From this complexity on, the column ``high_complexity`` is asked."""


def columns_for(task: Task, analysis: TaskAnalysis) -> tuple[Column, ...]:
    """The columns that apply, the most specific first; ``default`` always ends them."""
    preference = task.constraints.cost_preference
    wishes: tuple[tuple[Column, bool], ...] = (
        ("self_hosted", task.constraints.self_hosted_only),
        ("cost_optimized", preference == "cheapest"),
        ("long_context", analysis.requires_long_context),
        ("math_heavy", analysis.math_heavy),
        ("high_complexity", analysis.complexity >= HIGH_COMPLEXITY),
        ("high_quality", preference == "best_quality"),
    )
    return (*(column for column, applies in wishes if applies), "default")


def cell_for(row: MatrixRow, task: Task, analysis: TaskAnalysis) -> tuple[Column, str]:
    """The column that speaks for the task, and the id of the model in it."""
    for column in columns_for(task, analysis):
        cell: Cell | None = getattr(row, column)
        if cell is not None and cell.only_at in (None, task.constraints.cost_preference):
            return column, cell.model
    return "default", row.default.model
