#!/bin/sh
# Installs Suu-Aba as a service on Debian 12 or 13, or 64-bit Raspberry Pi OS. Asks nothing; may be run again at any time.
#
#     install.sh                     install; upgrade where an older version is there
#     install.sh --offline FOLDER    the same from a folder of wheels (deploy/bundle.sh made it); no network is used
#     install.sh --upgrade           the same, but only where a version is there
#     install.sh --roll-back         back to the version that was in use before
#     install.sh --uninstall         remove the program; /etc/suuaba and /var/lib/suuaba stay (--purge: they go too)
#
#     --appliance, --no-appliance    set the machine up for years alone (log limits, hardware watchdog, /tmp in
#                                    memory), or leave it; default: only on a Raspberry Pi
#     --trial SECONDS                how long a new version must live before it is trusted (default 60)
#
# Versions stand side by side in /opt/suuaba; `current` is the one in use, `good` the last one that reported life.
# A new version that does not come to life is taken back, and the exit code is 1.
# In a folder that bundle.sh made it takes the wheels beside it; in a clone it makes them first, which takes the network.
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
opt=/opt/suuaba etc=/etc/suuaba units=/etc/systemd/system
say() { printf '%s\n' "install.sh: $*"; }
fail() { printf '%s\n' "install.sh: $*" >&2; exit 1; }

deed=install folder='' purge='' trial_s=60 appliance=
while [ $# -gt 0 ]; do
    case $1 in
        --offline) [ $# -ge 2 ] || fail "--offline: which folder?"; folder=$2; shift ;;
        --upgrade) deed=upgrade ;;
        --roll-back) deed=roll_back ;;
        --uninstall) deed=uninstall ;;
        --purge) purge=yes ;;
        --appliance) appliance=yes ;;
        --no-appliance) appliance=no ;;
        --trial) [ $# -ge 2 ] || fail "--trial: how many seconds?"; trial_s=$2; shift ;;
        -h | --help) sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) fail "'$1' is not understood; see install.sh --help" ;;
    esac
    shift
done
case $trial_s in *[!0-9]* | '') fail "--trial takes whole seconds, not '$trial_s'" ;; esac
[ "$(id -u)" = 0 ] || fail "run it as root: sudo $0"

running() { [ -d /run/systemd/system ]; }       # false while an image is made
control() { if running; then systemctl "$@"; fi; }
link() { ln -s "$2" "$1.new$$" && mv -Tf "$1.new$$" "$1"; } # at once, so that a power cut leaves the old or the new
pointed() { readlink "$opt/$1" 2> /dev/null || true; }

# ── a version ───────────────────────────────────────────────────────────────────────────────────────────────

find_wheels() { # sets $folder
    if [ -n "$folder" ]; then
        [ -d "$folder" ] || fail "there is no folder $folder"
        folder=$(cd "$folder" && pwd)
    elif [ -d "$here/wheels" ]; then
        folder=$here
    else
        [ -e "$here/../pyproject.toml" ] || fail "there are no wheels here; say --offline FOLDER"
        made=$(mktemp -d)
        trap 'rm -rf "$made"' EXIT
        if ! python3 -c 'import venv, ensurepip' 2> /dev/null; then
            say "installing python3-venv"
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv > /dev/null ||
                fail "apt-get could not install python3-venv; see above"
        fi
        sh "$here/bundle.sh" "$made/bundle"
        folder=$made/bundle
    fi
    [ -e "$folder/requirements.txt" ] || fail "$folder is no bundle: requirements.txt is missing; make it with bundle.sh"
    (cd "$folder" && sha256sum --quiet --strict -c SHA256SUMS) ||
        fail "$folder is damaged; copy it anew. Nothing was changed"
}

put_version() { # sets $version
    wheel=$(cd "$folder/wheels" && ls suuaba-*.whl) || fail "$folder/wheels has no suuaba-….whl"
    [ "$(printf '%s\n' "$wheel" | wc -l)" = 1 ] || fail "$folder/wheels has more than one suuaba-….whl"
    version=${wheel#suuaba-}
    version=${version%%-*}-$(sha256sum "$folder/requirements.txt" | cut -c1-8)
    [ ! -e "$opt/$version/complete" ] || return 0
    say "putting version $version into $opt"
    mkdir -p "$opt"
    rm -rf "${opt:?}/$version" # half of it, of a run that was cut off
    python3 -m venv --without-pip "$opt/$version"
    pip=$(ls "$folder"/wheels/pip-*.whl)
    # The hashes were checked by sha256sum for damage; pip checks every file against requirements.txt once more.
    "$opt/$version/bin/python" "$pip/pip" --isolated --no-cache-dir --disable-pip-version-check install --quiet \
        --root-user-action ignore --no-index --find-links "$folder/wheels" --require-hashes -r "$folder/requirements.txt" ||
        { rm -rf "${opt:?}/$version"; fail "pip could not install it; see above. Nothing was changed"; }
    "$opt/$version/bin/suuaba" --version > /dev/null ||
        { rm -rf "${opt:?}/$version"; fail "version $version does not start on this machine. Nothing was changed"; }
    sync
    : > "$opt/$version/complete"
}

drop_old_versions() {
    for one in "$opt"/*/; do
        one=$(basename "$one")
        case $one in "$(pointed current)" | "$(pointed good)" | "$(pointed before)" | current | good | before) ;;
            *) rm -rf "${opt:?}/$one" ;; esac
    done
}

# ── what is around it ───────────────────────────────────────────────────────────────────────────────────────

put_file() { # from, to, mode
    mkdir -p "$(dirname "$2")"
    cmp -s "$1" "$2" || { cp "$1" "$2.new$$" && mv -f "$2.new$$" "$2"; }
    chmod "$3" "$2"
}

put_user() {
    id suuaba > /dev/null 2>&1 ||
        useradd --system --user-group --home-dir /var/lib/suuaba --no-create-home --shell /usr/sbin/nologin suuaba
    usermod --groups dialout suuaba # these, and no others
}

put_configuration() {
    install -d -o root -g suuaba -m 0750 $etc
    install -d -o root -g root -m 0700 $etc/secrets # systemd hands them over (LoadCredential=)
    if [ ! -e $etc/station.toml ]; then
        install -o root -g suuaba -m 0640 "$here/station.example.toml" $etc/station.toml
    fi
}

adapted() { ! cmp -s "$here/station.example.toml" $etc/station.toml; }

is_appliance() {
    case $appliance in yes) return 0 ;; no) return 1 ;; esac
    grep -qs 'Raspberry Pi' /proc/device-tree/model
}

put_system() {
    for unit in suuaba.service suuaba-alive.service suuaba-recover.service suuaba-collect@.service; do
        put_file "$here/systemd/$unit" $units/$unit 644
    done
    put_file "$here/systemd/keep.sh" $opt/keep.sh 755
    put_file "$here/udev/70-suuaba.rules" /etc/udev/rules.d/70-suuaba.rules 644
    ln -sfn $opt/current/bin/suuaba /usr/local/bin/suuaba
    if is_appliance; then
        put_file "$here/systemd/journald.conf" /etc/systemd/journald.conf.d/suuaba.conf 644
        put_file "$here/systemd/watchdog.conf" /etc/systemd/system.conf.d/suuaba.conf 644
        if [ -e /usr/share/systemd/tmp.mount ] && ! grep -qsE '^[^#]\S*\s+/tmp\s' /etc/fstab; then
            put_file /usr/share/systemd/tmp.mount $units/tmp.mount 644
            systemctl --quiet enable tmp.mount
        fi
        say "log limits, hardware watchdog and /tmp in memory are set; they count from the next start of the machine"
    fi
    control daemon-reload
    if running && command -v udevadm > /dev/null; then
        if udevadm control --reload 2> /dev/null; then
            udevadm trigger --subsystem-match=tty --action=change || say "the ports get their names when plugged in again"
        fi
    fi
}

# ── life ────────────────────────────────────────────────────────────────────────────────────────────────────

lives() { # starts the service anew; false unless it says READY and then goes on for the trial without a restart
    systemctl reset-failed suuaba.service 2> /dev/null || true
    systemctl restart suuaba.service || return 1
    first=$(systemctl show --property MainPID --value suuaba.service)
    left_s=$trial_s
    while :; do
        [ "$(systemctl is-active suuaba.service)" = active ] || return 1
        [ "$(systemctl show --property MainPID --value suuaba.service)" = "$first" ] || return 1
        [ "$left_s" -gt 0 ] || return 0
        sleep 1
        left_s=$((left_s - 1))
    done
}

left() { # the one left, the one in use: what --roll-back goes to
    if [ -n "$1" ] && [ "$1" != "$2" ]; then link $opt/before "$1"; fi
}

switch() { # to a version, with trial; back to what was good when it does not live
    now=$(pointed current)
    [ "$now" = "$1" ] || link $opt/current "$1"
    if ! running; then
        left "$now" "$1"
        say "systemd does not run here: version $1 is in place and has not been tried"
        return 0
    fi
    if ! adapted; then
        left "$now" "$1"
        say "$etc/station.toml is still the example. Adapt it, then:"
        say "    suuaba check $etc/station.toml && systemctl enable --now suuaba"
        return 0
    fi
    systemctl --quiet enable suuaba.service
    say "starting version $1; it must live for $trial_s s"
    if lives; then
        link $opt/good "$1"
        left "$now" "$1"
        return 0
    fi
    last=$(systemctl status --no-pager --lines 5 suuaba.service 2>&1 | tail -n 5)
    good=$(pointed good)
    [ -n "$good" ] || good=$now
    if [ -z "$good" ] || [ "$good" = "$1" ]; then
        fail "version $1 does not live, and there is no other. journalctl -u suuaba says why:
$last"
    fi
    link $opt/current "$good"
    if lives; then what="lives"; else what="does not live either"; fi
    rm -f "$opt/$1/complete" # the next run puts it there anew
    fail "version $1 did not live; back to $good, which $what. It said:
$last"
}

# ── the verbs ───────────────────────────────────────────────────────────────────────────────────────────────

install_it() {
    command -v python3 > /dev/null || fail "python3 is missing: apt-get install python3"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$(python3 --version) is too old: 3.11 or later (Debian 12, Raspberry Pi OS bookworm)"
    case $(uname -m) in x86_64 | aarch64) ;; *) fail "this is $(uname -m); take a 64-bit system" ;; esac
    find_wheels
    put_version
    put_user
    put_configuration
    put_system
    switch "$version"
    drop_old_versions
    say "version $version is installed"
}

upgrade() {
    [ -n "$(pointed current)" ] || fail "nothing is installed; leave --upgrade out"
    install_it
}

roll_back() {
    before=$(pointed before)
    [ -e "$opt/${before:-none}/bin/suuaba" ] || fail "there is no version from before"
    switch "$before"
    say "version $before is in use"
}

uninstall() {
    control disable --quiet --now suuaba.service suuaba-alive.service 2> /dev/null || true
    running || systemctl --quiet disable suuaba.service 2> /dev/null || true
    for one in $units/suuaba.service $units/suuaba-alive.service $units/suuaba-recover.service \
        $units/suuaba-collect@.service /etc/udev/rules.d/70-suuaba.rules \
        /etc/systemd/journald.conf.d/suuaba.conf /etc/systemd/system.conf.d/suuaba.conf; do
        rm -f "$one"
    done
    if cmp -s /usr/share/systemd/tmp.mount $units/tmp.mount; then
        systemctl --quiet disable tmp.mount 2> /dev/null || true
        rm -f $units/tmp.mount
    fi
    [ "$(readlink /usr/local/bin/suuaba)" != $opt/current/bin/suuaba ] || rm -f /usr/local/bin/suuaba
    rm -rf $opt
    control daemon-reload
    if [ -n "$purge" ]; then
        rm -rf $etc /var/lib/suuaba /var/lib/suuaba-collect
        userdel suuaba 2> /dev/null || true
        say "removed, with configuration and data"
    else
        say "removed; $etc, /var/lib/suuaba and the user suuaba are still there (--purge removes them)"
    fi
}

case $deed in
    install) install_it ;;
    *) $deed ;;
esac
