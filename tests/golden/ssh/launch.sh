#!/usr/bin/env bash
# Starts one agent on each of the first hosts of the hostfile, and ends as node 0's agent ends. Needs no orch.
# This directory must be the same on all hosts. Arguments go to every agent: --from-step N, --from-scratch.
set -euo pipefail

die() {
  printf 'orch: %s\n' "$1" >&2
  exit 86
}

bundle=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
[[ $bundle != *:* ]] || die "$bundle: move it, Python's path cannot hold a directory with a colon in its name"
run_dir=/nfs/me/runs/tiny-llama
run_dir=${ORCH_RUN_DIR:-${run_dir:-$bundle/run}}
[[ $run_dir == /* ]] || run_dir=$PWD/$run_dir
hostfile=''
hostfile=${ORCH_HOSTFILE:-${hostfile:-$bundle/hostfile}}
attempt=1
attempt=${ORCH_ATTEMPT:-$attempt}
nodes=2
slots=4
read -ra ssh <<<"${ORCH_SSH:-ssh}"

[[ -r $hostfile ]] || die "no hostfile at $hostfile: write one line a host, as in: node1 slots=$slots"
hosts=()
while read -r host count _ || [[ -n $host ]]; do
  [[ -n $host && $host != \#* ]] || continue
  [[ $count =~ ^slots=0*([1-9][0-9]{0,5})$ ]] || die "$hostfile: $host has no slots=N"
  ((BASH_REMATCH[1] >= slots)) || die "$hostfile: $host has $count, the job needs $slots a node"
  hosts+=("$host")
done <"$hostfile"
((${#hosts[@]} >= nodes)) || die "$hostfile names ${#hosts[@]} hosts, the job needs $nodes"

start=$HOSTNAME.$$.$(date +%s)

# The words of a command for the remote login shell.
quoted() {
  local word
  for word in "$@"; do
    printf " '%s'" "${word//\'/\'\\\'\'}"
  done
}

# Every ssh reads from a pipe that only this shell holds open: when it closes, or this shell dies, the agents stop.
place=$(mktemp -d)
mkfifo -- "$place/pipe"
exec {hold}<>"$place/pipe"
exec {reading}<"$place/pipe"
rm -r -- "$place"
asked=
# shellcheck disable=SC2329 # called by a trap
stop() {
  trap '' TERM INT
  asked=yes
  exec {hold}>&-
}
trap stop TERM INT

agents=()
for ((node = 0; node < nodes; node++)); do
  "${ssh[@]}" -T -o BatchMode=yes -- "${hosts[node]}" "exec bash$(quoted "$bundle/agent.sh" --run-dir "$run_dir" \
    --node "$node" --attempt "$attempt" --start "$start" --address "${hosts[0]}" "$@")" <&"$reading" {hold}>&- &
  agents+=("$!")
done

status=()
for ((node = 0; node < nodes; node++)); do
  while :; do
    asked=
    code=0
    wait "${agents[node]}" || code=$?
    [[ -n $asked ]] || break # a signal ends `wait` early, with a status of its own
  done
  ((code != 255)) || printf 'orch: ssh to %s failed (node %d)\n' "${hosts[node]}" "$node" >&2
  status+=("$code")
done
exit "${status[0]}"
