"""The Kubernetes test bed from a shell: `python -m tests.kubernetes.up`; it ends by itself at SIGTERM or Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import sys

from tests.kubernetes.access import Unavailable
from tests.kubernetes.cluster import Cluster


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    cluster = Cluster()
    try:
        cluster.start()
        print(f"up: {cluster.timings}\nexport KUBECONFIG={cluster.kubeconfig}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                signal.pause()
    except Unavailable as reason:
        print(reason, file=sys.stderr)
        return 1
    finally:
        cluster.stop(keep="--keep" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
