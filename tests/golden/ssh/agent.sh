#!/usr/bin/env bash
# Runs one agent on this host until it ends. When standard input ends, the agent is asked to stop.
set -euo pipefail

bundle=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
python=/nfs/venv/bin/python
python=${python:-${PYTHON:-python3}}
cd -- "$bundle" # Python looks for modules in the current directory first: here are none

set +eu # a site's own lines are not written for strict shells
eval 'module load cuda'
set -eu

export PYTHONPATH=$bundle/lib${PYTHONPATH:+:$PYTHONPATH}
exec 3<&0 # a command in the background would get /dev/null
"$python" -m orchestrator.agent --bundle "$bundle" "$@" </dev/null 3<&- &
agent=$!
interrupted=
# shellcheck disable=SC2329 # called by a trap
stop() {
  interrupted=yes
  kill -TERM "$agent" 2>/dev/null || true
}
trap stop TERM INT HUP

(
  trap - TERM INT HUP
  while read -r -u 3; do :; done
  kill -TERM "$agent" 2>/dev/null
) &
watcher=$!

while :; do
  interrupted=
  code=0
  wait "$agent" || code=$?
  [[ -n $interrupted ]] || break # a signal ends `wait` early, with a status of its own
done
kill "$watcher" 2>/dev/null || true
exit "$code"
