"""Mixed precision where the processor computes in it, told from what Linux says of the processor."""

from pathlib import Path

import pytest
import torch

from trainables.precision import computes_in_bfloat16, mixed

CPUINFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(not CPUINFO.is_file(), reason="only Linux tells of the processor in /proc/cpuinfo")
def test_a_processor_that_computes_in_bfloat16_is_told_from_one_that_does_not() -> None:
    flags = set(CPUINFO.read_text().split())
    assert computes_in_bfloat16("cpu") == bool(flags & {"avx512_bf16", "amx_tile"})


@pytest.mark.parametrize("computes", [True, False])
def test_bfloat16_is_float32_where_the_processor_lacks_it(computes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.precision.computes_in_bfloat16", lambda device_type: computes)
    kinds = {}
    for precision in ("float32", "bfloat16"):
        with mixed("cpu", precision):
            kinds[precision] = torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype
    assert kinds == {"float32": torch.float32, "bfloat16": torch.bfloat16 if computes else torch.float32}
