#!/bin/sh
# What systemd runs to keep the station alive; install.sh puts it into /opt/suuaba.
#
#     keep.sh good      the version in use has lived for a while: remember it (suuaba-alive.service)
#     keep.sh recover   it failed again and again: back to the last good version, or try once more after a while
set -eu
cd /opt/suuaba
link() { ln -s "$2" "$1.new$$" && mv -Tf "$1.new$$" "$1"; }
current=$(readlink current) good=$(readlink good || true)

case ${1-} in
    good)
        sleep "${ALIVE_AFTER_S:-120}"
        [ "$good" = "$current" ] || link good "$current"
        ;;
    recover)
        if [ -n "$good" ] && [ "$good" != "$current" ] && [ -x "$good/bin/suuaba" ]; then
            echo "version $current failed again and again; back to $good"
            link current "$good"
        else
            echo "it failed again and again; once more in ${RECOVER_AFTER_S:-600} s"
            sleep "${RECOVER_AFTER_S:-600}"
        fi
        systemctl reset-failed suuaba.service || true
        systemctl start --no-block suuaba.service
        ;;
    *) echo "say good or recover" >&2; exit 2 ;;
esac
