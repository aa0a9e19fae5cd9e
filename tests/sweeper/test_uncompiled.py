"""torch's compiler is loaded only by what compiles, and then as it is. One new process sees all of it: to import torch takes seconds."""

import json
import subprocess
import sys
from collections.abc import Mapping

SCRIPT = """
import json, sys
from types import ModuleType
import torch
from sweeper.cli.rooms import check, layers
from sweeper.cli.uncompiled import bring_compiler_back, compiler_left_out, leave_compiler_out

def loaded():
    return type(sys.modules.get("torch._dynamo")) is ModuleType

def trained():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    (weight * 2).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    return weight.detach().tolist()

told = {}
data, mask = {"name": "photos", "image_px": 32}, {"kind": "centre", "hole_px": 8}
check("cnn_autoencoder", {}, data, mask, 1)
told["layers"] = len(layers("cnn_autoencoder", {}, data, mask))
told["loaded by looking at a model"] = loaded()
leave_compiler_out()
without = trained()
told["loaded by training"] = loaded()
bring_compiler_back()
with compiler_left_out():
    told["loaded by the with"] = loaded()
    torch.compile(lambda value: value)
    told["loaded by what compiles"] = loaded()
real = torch._dynamo
leave_compiler_out()
with compiler_left_out():
    told["stays"] = torch._dynamo is real and sys.modules["torch._dynamo"] is real and loaded()
told["equal"] = trained() == without
print(json.dumps(told))
"""


def test_the_compiler_is_loaded_by_what_compiles_alone_and_training_comes_to_the_same(driver_environment: Mapping[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=dict(driver_environment), check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told.pop("layers") > 5
    loaded = {"looking at a model": False, "training": False, "the with": False, "what compiles": True}
    assert told == {f"loaded by {what}": value for what, value in loaded.items()} | {"stays": True, "equal": True}
