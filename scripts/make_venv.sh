#!/bin/sh
# Makes a virtual environment with jabberd and one of its extras in it, or says what to do.
# Usage: make_venv.sh PYTHON FOLDER EXTRA
set -u
cd "$(dirname "$0")/.." || exit 1
python=$1 venv=$2 extra=$3

say() { printf '%s\n' "$*" >&2; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

make_venv() {
    rm -rf "$venv"
    "$python" -m venv "$venv" >/dev/null 2>&1 && return 0
    rm -rf "$venv"
    if "$python" -m pip --version >/dev/null 2>&1; then # pip is there, ensurepip is not
        "$python" -m venv --without-pip "$venv" &&
            "$python" -m pip --python "$venv/bin/python" install --quiet pip >/dev/null 2>&1 && return 0
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then # a bare Debian, as root
        say "Installing Debian's python3-venv ..."
        { apt-get install -qq -y python3-venv || { apt-get update -qq && apt-get install -qq -y python3-venv; }; } \
            >/dev/null 2>&1
        "$python" -m venv "$venv" >/dev/null 2>&1 && return 0
    fi
    rm -rf "$venv"
    return 1
}

# Runs a command in silence but for dots; what it printed is shown if it fails.
with_dots() {
    log=$(mktemp)
    "$@" >"$log" 2>&1 &
    running=$!
    trap 'kill "$running" 2>/dev/null; rm -f "$log"; exit 130' INT TERM
    while kill -0 "$running" 2>/dev/null; do
        printf . >&2
        sleep 1
    done
    wait "$running"
    status=$?
    say ""
    [ "$status" = 0 ] || cat "$log" >&2
    rm -f "$log"
    trap - INT TERM
    return "$status"
}

if ! command -v "$python" >/dev/null; then
    say "There is no $python here. Install Python 3.11 or newer, or name one: make PYTHON=python3.13"
    exit 1
fi
if ! new_enough "$python"; then
    say "jabberd needs Python 3.11 or newer, and $python is $("$python" -V 2>&1). Name another: make PYTHON=python3.13"
    exit 1
fi
if [ "$(cat "$venv/.python" 2>/dev/null)" != "$python" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    say "Making $venv with $("$python" -V) ..."
    if ! make_venv; then
        say "Python cannot make a virtual environment here. On Debian and Ubuntu: apt install python3-venv"
        exit 1
    fi
    printf '%s\n' "$python" >"$venv/.python"
fi
printf 'Installing jabberd[%s] into %s ' "$extra" "$venv" >&2
with_dots "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$extra]"
status=$?
# Twisted keeps a list of its plug-ins beside them; without it the first twistd imports all that Twisted has.
[ "$status" != 0 ] || "$venv/bin/twistd" --help >/dev/null 2>&1 || true
exit "$status"
