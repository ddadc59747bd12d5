"""The contract that the operator, the engine and the users share.

The lowest layer: standard library and pydantic only. The CRDs in ``crds/`` are rendered from these
models (``python -m mailsync_api.crd``), the operator and the engine read and write the same ones.
"""

from __future__ import annotations

from mailsync_api.names import API_VERSION, GROUP, VERSION

__all__ = ["API_VERSION", "GROUP", "VERSION"]
