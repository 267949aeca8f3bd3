#!/usr/bin/env bash
# Installs the OS packages that a target needs: os_packages.sh PYTHON run|test|bench
#
# As root on Debian or Ubuntu it installs what is missing and says which; elsewhere it names the command and stops.
set -euo pipefail

python=$1
purpose=$2

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "testbed: $python is older than 3.11: name a newer one with  make PYTHON=python3.12 …" >&2
    exit 3
}

# One line a need: the test that it is there, and Debian's package.
needs_run() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    if command -v docker >/dev/null; then
        # The base image is made from Debian's packages where the engine lacks it and no registry answers.
        command -v mmdebstrap >/dev/null || command -v debootstrap >/dev/null || echo mmdebstrap
    else
        # The programs are built here, the nodes are namespaces, and links are shaped by this machine's own tools.
        command -v cc >/dev/null || echo gcc
        [ -e /usr/include/stdio.h ] || echo libc6-dev
        { command -v ip && command -v tc; } >/dev/null || echo iproute2
        command -v iptables-legacy >/dev/null || echo iptables
    fi
}

needs_test() {
    command -v gcc >/dev/null || echo gcc
    [ -e /usr/include/stdio.h ] || echo libc6-dev
    [ -e /usr/include/linux/io_uring.h ] || echo linux-libc-dev
    command -v clang >/dev/null || echo clang
    compgen -G '/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*' >/dev/null ||
        compgen -G '/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.asan-*' >/dev/null || echo libclang-rt-dev
    command -v ip >/dev/null || echo iproute2
    command -v tc >/dev/null || echo iproute2
    command -v iptables-legacy >/dev/null || echo iptables
    command -v tcpdump >/dev/null || echo tcpdump
    command -v curl >/dev/null || echo curl
    command -v strace >/dev/null || echo strace
    if command -v docker >/dev/null && ! docker compose version >/dev/null 2>&1; then
        command -v docker-compose >/dev/null || echo docker-compose
    fi
    # A kernel with netem for the tests, whatever this machine's own has. Only Debian has it, for x86 only.
    if [ "$(uname -m)" = x86_64 ] && grep -qs '^ID=debian$' /etc/os-release; then
        command -v linux.uml >/dev/null || echo user-mode-linux
        command -v insmod >/dev/null || [ -x /sbin/insmod ] || echo kmod
    fi
}

needs_bench() {
    command -v ab >/dev/null || echo apache2-utils
    command -v wrk >/dev/null || echo wrk
    command -v valgrind >/dev/null || echo valgrind
    command -v iperf3 >/dev/null || echo iperf3
}

mapfile -t missing < <("needs_$purpose" | sort -u)
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "testbed: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # libclang-rt has the compiler's version in its name on Debian 12 and later.
    for index in "${!missing[@]}"; do
        if [ "${missing[$index]}" = libclang-rt-dev ]; then
            missing[index]="libclang-rt-$(apt-cache depends clang | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p' | head -n 1)-dev"
        fi
    done
    apt-get install -y -qq "${missing[@]}" >/dev/null
else
    echo "testbed: this machine lacks ${missing[*]}; install them (Debian, Ubuntu: sudo apt-get install ${missing[*]})" >&2
    [ "$purpose" = run ] || exit 3
    # The base image can be pulled on a machine with a registry: only the virtual environment is needed for sure.
    case " ${missing[*]} " in *" python3-venv "*) exit 3 ;; esac
fi
