#!/usr/bin/env bash
# Usage: testbeds/kubernetes/build.sh [--where]
#
# Builds the Kubernetes that tests run on: every program from the Go modules below modules/, and the operators' own
# manifests beside them. They go to ~/.cache/orch-kube-testbed/HASH (XDG_CACHE_HOME is heeded), where HASH
# stands for everything that they are made from; what is there already is not built again. About 6 minutes on 2 cores and
# 3 more for Kueue, 0.8 GB. --where prints that directory and builds nothing.
#
# Programs that are here already are taken as they are:
#   KUBE_TESTBED_BINARIES  a directory with any of the programs, by the names below, and manifests/NAME.yaml
#   KUBEBUILDER_ASSETS     a directory with etcd, kube-apiserver and kubectl
#
# Each file appears under its name when it is whole. Two of these scripts take turns.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/modules"

# name, module directory, package; in the order in which they are wanted
programs='
kubectl cluster k8s.io/kubernetes/cmd/kubectl
etcd cluster go.etcd.io/etcd/server/v3
kube-apiserver cluster k8s.io/kubernetes/cmd/kube-apiserver
kube-controller-manager cluster k8s.io/kubernetes/cmd/kube-controller-manager
kube-scheduler cluster k8s.io/kubernetes/cmd/kube-scheduler
kube-proxy cluster k8s.io/kubernetes/cmd/kube-proxy
kubelet cluster k8s.io/kubernetes/cmd/kubelet
coredns cluster github.com/coredns/coredns
pause cluster ./pause
training-operator cluster github.com/kubeflow/training-operator/cmd/training-operator.v1
jobset cluster sigs.k8s.io/jobset
trainer cluster github.com/kubeflow/trainer/v2/cmd/trainer-controller-manager
kwok cluster sigs.k8s.io/kwok/cmd/kwok
gang-scheduler cluster ./gangs
kueue kueue sigs.k8s.io/kueue/cmd/kueue
'
# name, module directory, module, directory in it for `kubectl kustomize`, or a file as it is
manifests='
training-operator cluster github.com/kubeflow/training-operator manifests/overlays/standalone
jobset cluster sigs.k8s.io/jobset config/default
trainer cluster github.com/kubeflow/trainer/v2 manifests/overlays/manager
trainer-runtimes cluster github.com/kubeflow/trainer/v2 manifests/overlays/runtimes
kwok cluster sigs.k8s.io/kwok kustomize/kwok
kwok-stages cluster sigs.k8s.io/kwok kustomize/stage/fast
gang-scheduler cluster sigs.k8s.io/scheduler-plugins config/crd/bases/scheduling.x-k8s.io_podgroups.yaml
kueue kueue sigs.k8s.io/kueue config/default
'
version=$(awk '$1 == "k8s.io/kubernetes" {print $2}' cluster/go.mod)
minor=${version#v1.}
stamp="-s -w"
for pair in gitVersion="$version" gitMajor=1 gitMinor="${minor%%.*}"; do
    stamp="$stamp -X k8s.io/component-base/version.$pair"
done
hash=$({ find . -type f | LC_ALL=C sort | xargs cat; echo "$programs$manifests$stamp"; uname -m; } | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/orch-kube-testbed/$hash
if [ "${1:-}" = --where ]; then
    echo "$cache"
    exit
fi

program() { # NAME: where it is
    for directory in "${KUBE_TESTBED_BINARIES:-}" "${KUBEBUILDER_ASSETS:-}" "$cache"; do
        if [ -n "$directory" ] && [ -x "$directory/$1" ]; then
            echo "$directory/$1"
            return
        fi
    done
}

have_manifest() { # NAME
    [ -e "$cache/manifests/$1.yaml" ] || [ -e "${KUBE_TESTBED_BINARIES:-$cache}/manifests/$1.yaml" ]
}

missing() {
    while read -r name _; do
        [ -z "$name" ] || [ -n "$(program "$name")" ] || echo "$name"
    done <<<"$programs"
    while read -r name _; do
        [ -z "$name" ] || have_manifest "$name" || echo "$name.yaml"
    done <<<"$manifests"
}

build() { # NAME MODULE PACKAGE
    (
        cd "$2"
        exec go build -trimpath -buildvcs=false -o "$work/$1" -ldflags "$stamp" "$3"
    )
    mv "$work/$1" "$cache/$1"
}

manifest() { # NAME MODULE_DIRECTORY MODULE PATH
    (cd "$2" && go mod download "$3")
    source=$(cd "$2" && go list -m -f '{{.Dir}}' "$3")
    rm -rf "$work/source"
    cp -r "$source/${4%%/*}" "$work/source"
    chmod -R u+w "$work/source"
    # The Trainer's own names a copy of JobSet's on the network; JobSet's comes from its module.
    if [ "$1" = trainer ]; then
        sed -i '/third-party\/jobset/d' "$work/source/overlays/manager/kustomization.yaml"
    fi
    case $4 in
    *.yaml) cp "$work/source/${4#*/}" "$work/$1.yaml" ;;
    *) "$(program kubectl)" kustomize --load-restrictor LoadRestrictionsNone "$work/source/${4#*/}" >"$work/$1.yaml" ;;
    esac
    mv "$work/$1.yaml" "$cache/manifests/$1.yaml"
}

make_all() { # MODULE_DIRECTORY
    while read -r name module package; do
        [ "$module" != "$1" ] || [ -n "$(program "$name")" ] || timed "$name" build "$name" "$module" "$package"
    done <<<"$programs"
    while read -r name module source path; do
        [ "$module" != "$1" ] || have_manifest "$name" || timed "$name.yaml" manifest "$name" "$module" "$source" "$path"
    done <<<"$manifests"
}

timed() { # WHAT COMMAND...
    begun=$SECONDS
    "${@:2}"
    echo "$1: $((SECONDS - begun)) s"
    echo "$1: $((SECONDS - begun)) s" >&3
}

if [ -z "$(missing)" ]; then
    exit 0
fi
if ! command -v go >/dev/null; then
    echo "The tests that need Kubernetes will be skipped: no Go to build $(missing | paste -sd ' ') with." >&2
    exit 1
fi
mkdir -p "$cache/manifests"
exec 9>"$cache/lock"
flock -n 9 || { echo "Waiting for another build of the Kubernetes test bed" && flock 9; }
echo "Building the Kubernetes test bed into $cache (log: build.log there)"
work=$(mktemp -d "$cache/work.XXXXXX")
export CGO_ENABLED=0
# In the background, so that a signal to this script is heard at once and the compiler does not outlive it.
set -m
(make_all cluster; make_all kueue) 3>&1 >>"$cache/build.log" 2>&1 9>&- &
builder=$!
trap 'kill -- -$builder 2>/dev/null || :; rm -rf "$work"' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
if ! wait $builder; then
    tail -n 5 "$cache/build.log" >&2
    echo "Building the Kubernetes test bed failed; all of it: $cache/build.log" >&2
    exit 1
fi
