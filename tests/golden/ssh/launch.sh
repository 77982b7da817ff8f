#!/usr/bin/env bash
# Starts one agent on each of the first hosts of the hostfile, and ends as node 0's agent ends. Needs no orch.
# When ssh to a host fails, all agents are asked to stop.
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
exclude=( )
config=''
read -ra ssh <<<"${ORCH_SSH:-ssh}"
[[ -z $config || -n ${ORCH_SSH-} ]] || ssh+=(-F "$config")

# The hosts that have enough slots, as DeepSpeed would read them; what DeepSpeed only lets pass is refused, too.
read_hosts() {
  local LC_ALL=C content line host machine count few='' number=0 seen=' '
  local entry='^([A-Za-z0-9_:][A-Za-z0-9_.:%@-]*)[[:blank:]]+slots=0*([1-9][0-9]{0,5})([[:blank:]]*#.*)?$'
  if LC_ALL=C.UTF-8 grep -axvq '.*' "$hostfile"; then
    die "$hostfile: it is not UTF-8 text"
  fi
  if IFS= read -r -d '' content <"$hostfile"; then
    die "$hostfile: it holds a NUL character"
  fi
  content=${content//$'\r\n'/$'\n'}
  while IFS= read -r line; do
    number=$((number + 1))
    line=${line#"${line%%[![:blank:]]*}"}
    line=${line%"${line##*[![:blank:]]}"}
    [[ -n $line && $line != \#* ]] || continue
    [[ $line =~ $entry ]] || die "$hostfile:$number: wanted HOST slots=N, N at least 1 and nothing more, found: $line"
    host=${BASH_REMATCH[1]} count=${BASH_REMATCH[2]}
    [[ ! $host =~ ^[^:]*:[0-9]+$ ]] || die "$hostfile:$number: $host has a port in its name: it belongs into ~/.ssh/config"
    machine=${host##*@} machine=${machine,,}
    [[ $seen != *" $machine "* ]] || die "$hostfile:$number: $host stands there for the second time"
    seen+="$machine "
    [[ " ${exclude[*]} " != *" $host "* && " ${exclude[*]} " != *" ${host##*@} "* ]] || continue
    if ((count >= slots)); then
      hosts+=("$host")
    else
      few+="; line $number: $host has slots=$count, the job needs $slots"
    fi
  done <<<"${content//$'\r'/$'\n'}"
  [[ $seen != ' ' ]] || die "$hostfile names no host: write one line a host, as in: node1 slots=$slots"
  ((${#hosts[@]} >= nodes)) || die "$hostfile names ${#hosts[@]} hosts that do, the job needs $nodes$few"
}

[[ -r $hostfile ]] || die "no hostfile at $hostfile: write one line a host, as in: node1 slots=$slots"
hosts=()
read_hosts

# Where the others meet node 0: the name behind it in ssh's configuration, which only this machine may know.
address=$("${ssh[@]}" -G -- "${hosts[0]}" 2>/dev/null | sed -n 's/^hostname //p') || true
address=${ORCH_ADDRESS:-${address:-${hosts[0]##*@}}}
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
  trap '' TERM INT USR1
  asked=yes
  exec {hold}>&-
}
lost=
trap stop TERM INT
trap 'lost=yes; stop' USR1

# One agent, until it ends. A host that ssh does not reach would never answer.
connect() {
  local node=$1 code=0
  shift
  "${ssh[@]}" -T -o BatchMode=yes -- "${hosts[node]}" "exec bash$(quoted "$bundle/agent.sh" --run-dir "$run_dir" \
    --node "$node" --attempt "$attempt" --start "$start" --address "$address" "$@")" || code=$?
  if ((code == 255)); then
    printf 'orch: ssh to %s failed (node %d)\n' "${hosts[node]}" "$node" >&2
    kill -USR1 "$$"
  fi
  return "$code"
}

agents=()
for ((node = 0; node < nodes; node++)); do
  connect "$node" "$@" <&"$reading" {hold}>&- &
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
  status+=("$code")
done
if [[ -n $lost ]]; then
  case ${status[0]} in 82 | 143 | 255) exit 84 ;; esac # nobody asked node 0 to stop but the lost host: start again
fi
exit "${status[0]}"
