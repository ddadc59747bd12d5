"""Builders of API objects for tests: a valid default, and words for what a test is about."""

from __future__ import annotations

from typing import Any

from mailsync_api.manifest import MailSync

__all__ = ["account", "endpoint_manifest", "mailsync", "manifest", "merged"]


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``changes`` laid over it, level by level; None takes a field away."""
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def account(side: str, **changes: Any) -> dict[str, Any]:
    """Return one side of a spec; ``changes`` are laid over it."""
    base = {
        "host": f"{side}.example.org",
        "username": "alice@example.org",
        "authentication": {"secretRef": {"name": f"{side}-password"}},
    }
    return merged(base, changes)


def manifest(name: str = "alice", namespace: str = "default", **spec: Any) -> dict[str, Any]:
    """Return a MailSync as an object; ``spec`` is laid over a valid one."""
    base = {"source": account("source"), "destination": account("destination")}
    return {
        "apiVersion": "mailsync.dev/v1alpha1",
        "kind": "MailSync",
        "metadata": {"name": name, "namespace": namespace},
        "spec": merged(base, spec),
    }


def mailsync(name: str = "alice", namespace: str = "default", **spec: Any) -> MailSync:
    """Return a MailSync as a model; ``spec`` is laid over a valid one."""
    return MailSync.from_object(manifest(name, namespace, **spec))


def endpoint_manifest(name: str = "old", namespace: str = "default", **spec: Any) -> dict[str, Any]:
    """Return a MailEndpoint as an object; ``spec`` is laid over a valid one."""
    return {
        "apiVersion": "mailsync.dev/v1alpha1",
        "kind": "MailEndpoint",
        "metadata": {"name": name, "namespace": namespace},
        "spec": merged({"host": "imap.old.example.org"}, spec),
    }
