"""Mixed precision, where the hardware computes in it.

A processor without bfloat16 of its own converts every value there and back, which makes a step several times as slow as in float32.
"""

from functools import cache

import torch


def mixed(device_type: str, precision: str) -> torch.autocast:
    """The context in which a model's networks run.

    Args:
        device_type: "cpu" or "cuda".
        precision: "bfloat16" = mixed precision where `computes_in_bfloat16` says so, and float32 elsewhere; "float32" = that everywhere.
    """
    return torch.autocast(device_type, torch.bfloat16, enabled=precision == "bfloat16" and computes_in_bfloat16(device_type))


@cache
def computes_in_bfloat16(device_type: str) -> bool:
    """Whether a device has instructions for it: CPUs with AVX-512 BF16 or AMX, GPUs from Nvidia's Ampere on."""
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
