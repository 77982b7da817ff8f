"""What a rank does not load. In a process of its own: nothing takes a module out of one again."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from deepspeed.runtime import compiler
from orchestrator.job.training.compiler import leave_out

before = compiler.compile
leave_out({"optimizer": {"type": "Muon"}})
assert compiler.compile is before
leave_out({"optimizer": {"type": "AdamW"}})
from deepspeed.runtime.zero.muon.muon_optimizer import MuonWithAuxAdam
print("compiler:", "torch._inductor.compile_fx" in sys.modules)
"""


def test_deepspeeds_question_whether_this_is_muon_loads_no_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "compiler: False"
