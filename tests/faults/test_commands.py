"""Commands as people type them, from job.yaml to the ranks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.lab import Lab

pytestmark = [pytest.mark.deepspeed, pytest.mark.full]

# Each rank says what it was started with.
SCRIPT = """
import json, os, sys
from pathlib import Path
import torch.distributed as dist

def main():
    dist.init_process_group("gloo")
    said = {"argv": sys.argv, "world": dist.get_world_size(), "optimize": sys.flags.optimize}
    Path(os.environ["ORCH_CHECKPOINT_DIR"], f"rank-{dist.get_rank()}.json").write_text(json.dumps(said))
    dist.barrier()
    dist.destroy_process_group()

if __name__ == "__main__":
    main()
"""
SHELL = """
python -m torch.distributed.run --nnodes $NNODES --node-rank $NODE_RANK --nproc-per-node $NPROC_PER_NODE \\
    --master-addr $MASTER_ADDR --master-port $MASTER_PORT pkg/train.py "$@"
"""


@pytest.mark.parametrize(
    ("run", "program", "optimize"),
    [
        ("python -u -O pkg/train.py", "train.py", 1),
        ("torchrun --nnodes 2 --nproc_per_node=2 -m pkg.train", "train.py", 0),
        ("some-tool train", "some-tool", 0),
        ("bash train.sh", "train.py", 0),
    ],
)
def test_each_rank_gets_the_arguments_and_a_launcher_of_ones_own_gets_its_ranks(
    lab: Lab, run: str, program: str, optimize: int
) -> None:
    code = lab.jobs / "code"
    (code / "pkg").mkdir(parents=True)
    (code / "pkg/train.py").write_text(SCRIPT)
    (code / "train.sh").write_text(SHELL)
    installed = lab.root / "site/tool-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[console_scripts]\nsome-tool = some_tool:main\n")
    (lab.root / "site/some_tool.py").write_text(SCRIPT)
    job = lab.job(
        **dict.fromkeys(("model", "data", "training", "deepspeed")),
        code="code",
        run=f"{run} --dir $ORCH_CHECKPOINT_DIR/x --text 'a $b  c' $KEY",
        env={"PYTHONPATH": str(lab.root / "site"), "KEY": "its value"},
        resources={"nodes": 2, "gpus_per_node": 2},
        checkpoint={"dir": "ckpt"},
    )
    name = lab.submit(job)
    lab.finish(name)
    checkpoints = lab.generations(name)[0] / "checkpoints"
    said = [json.loads((checkpoints / f"rank-{rank}.json").read_text()) for rank in range(4)]
    assert [one["world"] for one in said] == [4] * 4
    for one in said:
        assert Path(one["argv"][0]).name == program
        assert one["optimize"] == optimize
        assert one["argv"][-5:] == ["--dir", f"{checkpoints}/x", "--text", "a $b  c", "its value"]
