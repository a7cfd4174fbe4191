"""What can go wrong.

    RoutingError
      RegistryError            a registry file is broken: names file, row and field
      SettingsError            an environment variable or the home folder is unusable
      InvalidTask              the task itself cannot be accepted (empty, too large, malformed history)
      UnknownHandle            no session, memory or route of this caller has that id
      NoEligibleModel          no configured model meets the constraints
      ContextOverflow          the task does not fit the window of the model
      BudgetExceeded           the money that was allowed is spent
      DeadlineExceeded         the time that was allowed is over
      PatternStopped           a step of a pattern did not give what the next one needs
      ToolFailed               a tool could not do what it was asked: .retryable
      StoreUnavailable         what is kept cannot be reached                     retryable
        BookedLater              and this write of it is done when it can be
      AssetError               weights or a vocabulary can be had from no mirror, or are damaged
      TrainingError            what the router should learn from is absent, broken or too little (routing/learning)
      ProviderError            an upstream call failed: .provider .model_id .retryable
        ProviderTimeout          no answer in time                                 retryable
        ProviderUnavailable      unreachable, overloaded, 5xx, cut off             retryable
        RateLimited              429: .retry_after seconds, where the provider said  retryable
        ProviderRejected         it will not take this request: 4xx
        AuthenticationFailed     the key is wrong or lacks a right: 401, 403
        ContentFiltered          refused by the provider's content filter
      AllModelsFailed          every candidate failed: .failures

Every message says what is wrong and what to do about it. A provider's errors are mapped once, in its adapter, with
``raise … from``; `tools/` and `cli.py` are where these become text for a model or a person.
"""

from __future__ import annotations

from typing import ClassVar


class RoutingError(Exception):
    """Anything that this project raises on purpose."""


class RegistryError(RoutingError):
    """A registry file is broken; the message names file, row and field."""


class SettingsError(RoutingError):
    """A setting or the home folder is unusable."""


class InvalidTask(RoutingError):
    """The task cannot be accepted as it stands."""


class UnknownHandle(RoutingError):
    """The caller has no session, memory or route of that id (it may have expired, or be somebody else's)."""


class NoEligibleModel(RoutingError):
    """No configured model meets the constraints; the message says which one each model failed."""


class ContextOverflow(RoutingError):
    """The task does not fit the context window."""


class BudgetExceeded(RoutingError):
    """The money that was allowed is spent; ``resets_at`` is when there is more, ``None`` where there will not be.

    ``negotiable`` where it is a budget of the settings, which the person whose it is may allow a task to exceed.
    """

    def __init__(
        self, message: str, *, left_microusd: int = 0, resets_at: float | None = None, negotiable: bool = False
    ) -> None:
        super().__init__(message)
        self.negotiable = negotiable
        self.left_microusd = left_microusd
        self.resets_at = resets_at


class DeadlineExceeded(RoutingError):
    """The time that was allowed is over."""


class PatternStopped(RoutingError):
    """A step of a pattern gave no answer that the next one could go on with; what the steps before it gave is kept."""


class ToolFailed(RoutingError):
    """A tool could not do what it was asked; ``retryable`` where the same call may work in a moment."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class StoreUnavailable(RoutingError):
    """What is kept (ledger, budgets, sessions, memories) cannot be reached; it may be in a moment."""

    retryable: ClassVar[bool] = True


class BookedLater(StoreUnavailable):
    """A write could not be done now, and is done as soon as the store is back; the message says so to the caller."""


class AssetError(RoutingError):
    """Weights or a vocabulary can be had from no mirror, or are damaged."""


class TrainingError(RoutingError):
    """The training data is not there, is broken, or is too little to learn from."""


class ProviderError(RoutingError):
    """An upstream call failed."""

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, provider: str, model_id: str) -> None:
        super().__init__(message)
        self.provider = provider
        self.model_id = model_id


class ProviderTimeout(ProviderError):
    """The provider did not answer in time."""

    retryable = True


class ProviderUnavailable(ProviderError):
    """The provider cannot be reached, is overloaded, or broke off."""

    retryable = True


class RateLimited(ProviderError):
    """The provider wants fewer requests; ``retry_after`` is in seconds where it said so."""

    retryable = True

    def __init__(self, message: str, *, provider: str, model_id: str, retry_after: float | None = None) -> None:
        super().__init__(message, provider=provider, model_id=model_id)
        self.retry_after = retry_after


class ProviderRejected(ProviderError):
    """The provider will not take this request as it stands."""


class AuthenticationFailed(ProviderError):
    """The provider does not accept the key."""


class ContentFiltered(ProviderError):
    """The provider's content filter refused."""


class AllModelsFailed(RoutingError):
    """Every candidate failed; ``failures`` holds the error of each attempt, in order."""

    def __init__(self, failures: tuple[ProviderError, ...]) -> None:
        self.failures = failures
        tried = "; ".join(f"{failure.model_id}: {failure}" for failure in failures)
        super().__init__(f"every model that was tried failed. {tried}")
