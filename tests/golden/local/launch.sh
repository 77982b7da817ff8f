#!/usr/bin/env bash
# Starts the agents of all nodes on this machine, and ends as node 0's agent ends. Needs no orch.
# Arguments go to every agent: --from-step N, --from-scratch.
set -euo pipefail

die() {
  printf 'orch: %s\n' "$1" >&2
  exit 86
}

bundle=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
[[ $bundle != *:* ]] || die "$bundle: move it, Python's path cannot hold a directory with a colon in its name"
run_dir=${ORCH_RUN_DIR:-$bundle/run}
attempt=1
attempt=${ORCH_ATTEMPT:-$attempt}
nodes=2
python=''
python=${python:-${PYTHON:-python3}}

# Python looks for modules in the current directory first, so the agents start where there are none.
[[ $run_dir == /* ]] || run_dir=$PWD/$run_dir
[[ $python != */* || $python == /* ]] || python=$PWD/$python
cd -- "$bundle"

attempt_dir=$run_dir/attempts/$(printf '%06d' "$attempt")
mkdir -p -- "$attempt_dir"
start=$HOSTNAME.$$.$(date +%s)
export PYTHONPATH=$bundle/lib.zip${PYTHONPATH:+:$PYTHONPATH}

agents=()
asked=
# shellcheck disable=SC2329 # called by a trap
forward() {
  asked=yes
  kill -TERM "${agents[@]}" 2>/dev/null || true
}
trap forward TERM INT

for ((node = 0; node < nodes; node++)); do
  "$python" -m orchestrator.job.agent --bundle "$bundle" --run-dir "$run_dir" --node "$node" --attempt "$attempt" \
    --start "$start" --address 127.0.0.1 --slot-lock "$attempt_dir/lock-$node" "$@" &
  agents+=("$!")
done

status=()
for agent in "${agents[@]}"; do
  while :; do
    asked=
    code=0
    wait "$agent" || code=$?
    [[ -n $asked ]] || break # a signal ends `wait` early, with a status of its own
  done
  status+=("$code")
done
exit "${status[0]}"
