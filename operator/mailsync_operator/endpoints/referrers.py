"""Has the MailSyncs of a MailEndpoint looked at when it says something else to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mailsync_operator.gate import EndpointState, endpoint_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailsync_operator.snapshot import EndpointObject, Key

__all__ = ["ReferrerView", "Referrers"]


class ReferrerView(Protocol):
    """What is known without asking."""

    def endpoint(self, key: Key) -> EndpointObject | None:
        """Return a MailEndpoint, None if there is none of that name."""

    def users(self, endpoint: Key) -> frozenset[Key]:
        """Return which MailSyncs refer to a MailEndpoint, whether it exists or not."""


class Referrers:
    """Remembers what each MailEndpoint said last.

    Its status changes with every probe, and thousands of mailboxes may refer to it: they are looked
    at only when that changes something for them.
    """

    def __init__(self, view: ReferrerView, *, news: Callable[[Key], None]) -> None:
        self._view = view
        self._news = news
        self._seen: dict[Key, EndpointState] = {}

    def endpoint_seen(self, key: Key) -> None:
        """Take note of a MailEndpoint that was made, changed or deleted."""
        found = self._view.endpoint(key)
        if found is None or found.deleting:
            self._seen.pop(key, None)
        else:
            state = endpoint_state(found)
            if self._seen.get(key) == state:
                return
            self._seen[key] = state
        for user in sorted(self._view.users(key)):
            self._news(user)
