#!/bin/sh
# Makes a folder from which install.sh installs without a network: copy it to a USB stick.
#
#     bundle.sh FOLDER                                      for this machine and its Python
#     bundle.sh FOLDER aarch64-3.11 aarch64-3.13            for these: a Raspberry Pi with bookworm, with trixie
#
# In it: install.sh and what it puts in place, wheels/ (the versions of constraints.txt, only ready-made wheels),
# requirements.txt with the SHA-256 of every wheel for pip --require-hashes, and SHA256SUMS. It takes the network,
# and python3 with venv.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
fail() { printf '%s\n' "bundle.sh: $*" >&2; exit 1; }
[ $# -ge 1 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
case $1 in -*) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;; esac
folder=$1
shift
[ $# -gt 0 ] || set -- "$(uname -m)-$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
[ ! -e "$folder" ] || fail "$folder is there already; move it away first"
for target in "$@"; do
    case $target in x86_64-3.[0-9]* | aarch64-3.[0-9]*) ;; *) fail "'$target' is not like aarch64-3.11" ;; esac
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv" || fail "python3 -m venv failed: apt-get install python3-venv"
pip() { "$work/venv/bin/python" -m pip --disable-pip-version-check "$@"; }
mkdir -p "$folder/wheels"
folder=$(cd "$folder" && pwd)
wheels=$folder/wheels

pip wheel --quiet --no-deps --wheel-dir "$wheels" "$top" || fail "the wheel could not be built; see above"
pip download --quiet --no-deps --dest "$wheels" pip || fail "pip could not be downloaded; see above"
for target in "$@"; do
    machine=${target%-*} python=${target#*-}
    platforms=
    for glibc in 17 24 26 27 28 31 34 35 36; do platforms="$platforms --platform manylinux_2_${glibc}_$machine"; done
    # shellcheck disable=SC2086  # $platforms is a list of words
    pip download --quiet --only-binary :all: --implementation cp --python-version "$python" \
        --abi "cp$(printf %s "$python" | tr -d .)" --abi abi3 --abi none \
        --platform "manylinux2014_$machine" --platform "linux_$machine" $platforms \
        --constraint "$top/constraints.txt" --find-links "$wheels" --dest "$wheels" "$wheels"/suuaba-*.whl ||
        fail "not everything is there as a wheel for $target; see above"
done

"$work/venv/bin/python" "$here/hashes.py" "$wheels" > "$folder/requirements.txt"
for part in install.sh certificates.sh station.example.toml collector.example.toml systemd udev mosquitto rules README.md; do
    cp -R "$here/$part" "$folder/"
done
cp "$top/LICENSE" "$folder/"
printf '%s\n' "$*" > "$folder/TARGETS"
(cd "$folder" && find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs -d '\n' sha256sum > "$work/sums" &&
    mv "$work/sums" SHA256SUMS)
printf '%s\n' "bundle.sh: $folder is for $*: $(find "$wheels" -name '*.whl' | wc -l) wheels, $(du -sm "$folder" | cut -f1) MB"
