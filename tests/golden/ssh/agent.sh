#!/usr/bin/env bash
# Runs one agent on this host until it ends. When standard input ends, the agent is asked to stop.
# --detached, as the first argument: nobody is at the other end; the agent becomes this very process.
# --check: runs no agent, and prints what the job's interpreter is.
set -euo pipefail

mode=attached
case ${1-} in --detached | --check)
  mode=$1
  shift
  ;;
esac
bundle=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
python=/nfs/venv/bin/python
python=${python:-${PYTHON:-python3}}
cd -- "$bundle" # Python looks for modules in the current directory first: here are none

set +eu # a site's own lines are not written for strict shells
eval 'module load cuda'
set -eu

if [[ $mode == --check ]]; then
  exec "$python" -c 'import importlib.util, json, sys
found = {name: importlib.util.find_spec(name) is not None for name in ("torch", "deepspeed")}
print(json.dumps({"version": list(sys.version_info[:3]), "executable": sys.executable, **found}))' </dev/null
fi

export PYTHONPATH=$bundle/lib.zip${PYTHONPATH:+:$PYTHONPATH}
if [[ $mode == --detached ]]; then
  exec "$python" -m orchestrator.job.agent --bundle "$bundle" "$@" </dev/null
fi
exec 3<&0 # a command in the background would get /dev/null
"$python" -m orchestrator.job.agent --bundle "$bundle" "$@" </dev/null 3<&- &
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
