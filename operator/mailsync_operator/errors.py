"""What can go wrong between the operator and the API server.

::

    ClusterError
     +-- RetryableError            the same request may succeed later
     |    +-- TransientError       no answer, a time-out, 401, 5xx
     |    |    +-- ExpiredError    410: a list or a watch must begin anew
     |    +-- ThrottledError       429, with the wait that the server asked for
     |    +-- ConflictError        409: the object changed since it was read
     +-- NotFoundError             404: it is gone, or never was
     +-- AlreadyExistsError        409 on creation
     +-- RefusedError              the same request will be refused again
          +-- ForbiddenError       403: RBAC, a quota or an admission policy
          +-- InvalidError         400, 422: the API server does not accept the object

The type says whether to try again; nothing outside the cluster adapter looks at status codes.
"""

from __future__ import annotations

__all__ = [
    "AlreadyExistsError",
    "ClusterError",
    "ConflictError",
    "ExpiredError",
    "ForbiddenError",
    "InvalidError",
    "NotFoundError",
    "RefusedError",
    "RetryableError",
    "ThrottledError",
    "TransientError",
]


class ClusterError(Exception):
    """The API server did not do what it was asked."""


class RetryableError(ClusterError):
    """Time may help."""


class TransientError(RetryableError):
    """No answer in time, or one that blames the server."""


class ExpiredError(TransientError):
    """The server no longer knows the version from which to go on."""


class ThrottledError(RetryableError):
    """The server asked to wait ``retry_after`` seconds."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ConflictError(RetryableError):
    """The object changed since it was read: read it again."""


class NotFoundError(ClusterError):
    """There is no such object."""


class AlreadyExistsError(ClusterError):
    """There is such an object already."""


class RefusedError(ClusterError):
    """The request is not acceptable; repeating it changes nothing until somebody acts."""


class ForbiddenError(RefusedError):
    """RBAC, a quota or an admission policy is against it."""


class InvalidError(RefusedError):
    """The object is not valid."""
