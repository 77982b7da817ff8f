#!/bin/sh
# Usage: tools/system-packages.sh PYTHON compiler|venv|slurm|ssh|kubernetes [--dry-run]
#
# Makes sure of what only the system's package manager can bring: a C++ compiler with Python's headers (DeepSpeed
# compiles its operators on first use), or Python's venv module. Missing: as root it is installed, else the command to
# type is printed and the exit status is 1. With --dry-run root is only told, too.
#
# slurm, ssh and kubernetes are what the tests on real clusters need; no daemon is started by their installation. A
# machine that cannot have them is told so and the exit status is 0: those tests skip there.
#
# shellcheck disable=SC2086 # lists of words are split on purpose
set -eu
python=$1
need=$2
dry_run=${3:-}

has_python() { "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
has_venv() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }
has_compiler() { command -v "${CXX:-c++}" >/dev/null; }
has_headers() {
    "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' 2>/dev/null
}

has_all() { # PROGRAM... of which an administrator's PATH finds each
    for program in "$@"; do
        PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v "$program" >/dev/null || return 1
    done
}

has_bridge() { # the plugin that connects pods
    [ -e /usr/lib/cni/bridge ] || [ -e /opt/cni/bin/bridge ] || [ -e /usr/libexec/cni/bridge ]
}
wants_go() { # it builds Kubernetes; from 1.21 on, which these have, it fetches the version that it is asked for
    command -v go >/dev/null && return 1
    case $(sed -n 's/^ID=//p; s/^VERSION_ID="*\([0-9]*\).*/\1/p' /etc/os-release 2>/dev/null | sort | paste -sd :) in
    1[3-9]:debian | 2[4-9]:ubuntu) ;;
    *) return 1 ;;
    esac
}

missing() {
    case $need in
    compiler)
        has_compiler || echo compiler
        has_headers || echo headers
        ;;
    venv) has_venv || echo venv ;;
    slurm) has_all slurmctld slurmd slurmdbd sbatch srun sacctmgr mariadbd munge munged || echo slurm ;;
    ssh) has_all sshd ssh ssh-keygen || echo ssh ;;
    kubernetes)
        has_all containerd ctr runc iptables conntrack ip nsenter unshare setpriv openssl && has_bridge || echo kubernetes
        ! wants_go || echo go
        ;;
    *)
        echo "wanted compiler, venv, slurm, ssh or kubernetes, found $need" >&2
        exit 2
        ;;
    esac
}

manager() {
    for candidate in apt-get dnf yum zypper apk pacman; do
        if command -v $candidate >/dev/null; then
            echo $candidate
            return
        fi
    done
}

package() { # MANAGER THING
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    case "$1:$2" in
    apt-get:compiler | apk:compiler) echo g++ ;;
    pacman:compiler) echo gcc ;;
    *:compiler) echo gcc-c++ ;;
    apt-get:headers) echo "python$version-dev" ;;
    apt-get:venv) echo "python$version-venv" ;;
    apt-get:slurm)
        echo slurm-wlm slurmctld slurmd slurm-client slurm-wlm-basic-plugins slurmdbd mariadb-server munge
        ;;
    *:slurm) ;; # their Slurm is another one, or none: not tried
    apt-get:ssh) echo openssh-server openssh-client ;;
    dnf:ssh | yum:ssh) echo openssh-server openssh-clients ;;
    *:ssh) echo openssh ;;
    apt-get:kubernetes)
        echo containerd runc containernetworking-plugins iptables conntrack iproute2 util-linux openssl
        ;;
    *:kubernetes) ;; # not tried
    *:go) echo golang-go ;;
    apk:*) echo python3-dev ;;
    pacman:*) echo python ;;
    *) echo python3-devel ;;
    esac
}

install_command() { # MANAGER PACKAGE...
    tool=$1
    shift
    case $tool in
    apt-get) echo "apt-get update -qq && apt-get install -y -qq --no-install-recommends $*" ;;
    apk) echo "apk add $*" ;;
    pacman) echo "pacman -Sy --noconfirm $*" ;;
    *) echo "$tool install -y $*" ;;
    esac
}

give_up() { # the exit status of a need that was not met
    case $need in
    slurm | ssh | kubernetes)
        echo "The tests that need $need will be skipped." >&2
        exit 0
        ;;
    *) exit 1 ;;
    esac
}

hold_daemons() { # Debian asks this program before it starts what it has installed
    policy=/usr/sbin/policy-rc.d
    [ "$tool" = apt-get ] && [ ! -e $policy ] || return 0
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
}

if ! has_python; then
    found=$("$python" --version 2>/dev/null || echo missing)
    echo "Python 3.11 or newer is wanted; '$python' is $found." >&2
    echo "Install one and name it: make PYTHON=python3.11 ..." >&2
    exit 1
fi

things=$(missing)
[ -n "$things" ] || exit 0

tool=$(manager)
if [ -z "$tool" ]; then
    echo "Missing for $python:" $things "- and no known package manager to install it with." >&2
    give_up
fi
packages=""
for thing in $things; do
    packages="$packages $(package "$tool" "$thing")"
done
if [ -z "${packages# }" ]; then
    echo "Missing:" $things "- which packages of $tool bring it is not known here." >&2
    give_up
fi
command=$(install_command "$tool" $packages)

if [ "$(id -u)" -ne 0 ] || [ -n "$dry_run" ]; then
    echo "Missing for $python:" $things >&2
    echo "Type this, then make again:  sudo sh -c '$command'" >&2
    give_up
fi
hold_daemons
echo "Installing$packages ($tool)"
if ! said=$(DEBIAN_FRONTEND=noninteractive sh -c "$command" 2>&1); then
    echo "$said" >&2
    give_up
fi
things=$(missing)
if [ -n "$things" ]; then
    echo "Still missing after '$command':" $things >&2
    give_up
fi
