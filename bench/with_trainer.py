"""Kubeflow's Trainer SDK in one process; prints seconds. It runs in the interpreter of build/peers.

python bench/with_trainer.py submit NAMESPACE N     N TrainJobs, one after another; it chooses their names
python bench/with_trainer.py status NAMESPACE       list them, once
"""

from __future__ import annotations

import sys
import time

from kubeflow.common.types import KubernetesBackendConfig
from kubeflow.trainer import CustomTrainer, TrainerClient

RUNTIME = "torch-distributed"


def train() -> None:
    """What the jobs would do."""


def main(what: str, namespace: str, count: int = 0) -> float:
    client = TrainerClient(backend_config=KubernetesBackendConfig(namespace=namespace))
    started = time.perf_counter()
    if what == "submit":
        runtime = client.get_runtime(RUNTIME)
        for _ in range(count):
            client.train(runtime=runtime, trainer=CustomTrainer(func=train, num_nodes=1))
    else:
        client.list_jobs()
    return time.perf_counter() - started


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))
