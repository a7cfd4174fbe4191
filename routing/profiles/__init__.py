"""Agent profiles: which of the specialised agents of the registry a message is for, and what follows from it.

    registry.json     the profiles as data: examples, keywords, system prompt, preferences, tools
    wording.py        a message as features: words, their parts, whom it speaks of, keywords
    chooser.py        a linear scorer, fitted to the examples and keywords when they are first needed
    this page         an analyzer that adds the profile to what another found, and a task with its profile applied

No model is called. Fitting takes about a fifth of a second, in a worker thread, once for each state of the registry; a message
then takes a fifth of a millisecond.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio.to_thread

from routing.registry import Profile, Registry
from routing.types import Analyzer, CostPreference, Task, TaskAnalysis

if TYPE_CHECKING:
    from routing.profiles.chooser import Chooser

Profiles = Mapping[str, Profile]
Apply = Callable[[Task, TaskAnalysis, Registry], Task]
"""What the profile that was found makes of a task."""


@dataclass(slots=True, kw_only=True)
class ProfilingAnalyzer:
    """Another analyzer's word, with the profile that the message is for; ``profiles`` gives those of the moment."""

    inner: Analyzer
    profiles: Callable[[], Profiles]
    _fitted: tuple[Profiles, Chooser] | None = field(default=None, init=False)
    _fitting: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def notices(self) -> tuple[str, ...]:
        """What every caller should know of the analyzer."""
        return self.inner.notices

    async def analyze(self, task: Task) -> TaskAnalysis:
        """Understand a task; raises what the other analyzer raises."""
        analysis = await self.inner.analyze(task)
        profiles = self.profiles()
        if not profiles or task.texts:
            return analysis
        if self._fitted is None or self._fitted[0] is not profiles:
            await anyio.to_thread.run_sync(self._fit, profiles)
        return replace(analysis, profile=self._chooser(profiles).choose(task.prompt))

    def _fit(self, profiles: Profiles) -> None:
        from routing.profiles.chooser import fitted  # noqa: PLC0415 - numpy and the wording; this is a worker thread

        with self._fitting:
            if self._fitted is None or self._fitted[0] is not profiles:
                self._fitted = (profiles, fitted(profiles))

    def _chooser(self, profiles: Profiles) -> Chooser:
        if self._fitted is None or self._fitted[0] is not profiles:  # the registry changed meanwhile
            self._fit(profiles)
        assert self._fitted is not None  # noqa: S101 - it was fitted just now
        return self._fitted[1]


def as_it_is(task: Task, _analysis: TaskAnalysis, _registry: Registry) -> Task:
    """The task without what its profile would make of it."""
    return task


def with_profile(task: Task, analysis: TaskAnalysis, registry: Registry, *, usual: CostPreference) -> Task:
    """The task with what its profile says wherever the caller said nothing.

    A preference that differs from the ``usual`` one of the settings is the caller's.
    """
    profile = registry.profiles.get(analysis.profile or "")
    if profile is None or task.texts:
        return task
    wishes = task.constraints
    if profile.cost_preference is not None and wishes.cost_preference == usual:
        wishes = replace(wishes, cost_preference=profile.cost_preference)
    if wishes.min_quality is None:
        wishes = replace(wishes, min_quality=profile.min_quality)
    return replace(
        task,
        system=profile.system_prompt if task.system is None else task.system,
        tools=profile.tools if task.tools is None else task.tools,
        constraints=wishes,
    )
