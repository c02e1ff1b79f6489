"""Training in bfloat16 where the processor multiplies it by itself."""

from __future__ import annotations

import torch


def quick() -> torch.autocast:
    """The context of a forward pass: bfloat16 with AMX, where it is up to eight times as fast.

    Elsewhere bfloat16 is put together from float32 and slower than that, so float32 it stays.
    """
    tell = getattr(torch.cpu, "get_capabilities", None)  # of newer versions of torch
    able = tell is not None and bool(tell().get("amx_bf16", False))
    return torch.autocast("cpu", torch.bfloat16, enabled=able)
