"""The Kubernetes test bed from a shell; it ends at SIGTERM or Ctrl-C, and with this process whatever happens.

Usage: python -m testbeds.kubernetes.up [--keep] [--place N]   (N: 0, or another for one more beside it)
"""

from __future__ import annotations

import argparse
import signal
import sys

from testbeds.kubernetes.access import Unavailable
from testbeds.kubernetes.cluster import PLACE, Cluster


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the logs")
    parser.add_argument("--place", type=int, default=PLACE)
    asked = parser.parse_args()
    cluster = Cluster(asked.place)
    try:
        cluster.start()
        print(f"up: {cluster.timings}\nexport KUBECONFIG={cluster.kubeconfig}", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        pass
    except Unavailable as reason:
        print(reason, file=sys.stderr)
        return 1
    finally:
        cluster.stop(keep=asked.keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
