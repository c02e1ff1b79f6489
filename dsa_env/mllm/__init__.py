"""A controller inside a generating multimodal language model."""

from __future__ import annotations

from dsa_env.mllm.attachment import Attachment, attach

__all__ = ["Attachment", "attach"]
