#!/bin/sh
# A small authority of your own for MQTT over TLS, by openssl. Run it on a machine that is not on the network's
# edge, keep the folder safe: who has ca.key can pass for any station.
#
#     certificates.sh FOLDER authority             once: ca.crt (goes everywhere), ca.key (stays here)
#     certificates.sh FOLDER server NAME [NAME|IP…] the broker: server.crt, server.key; every name it is reached by
#     certificates.sh FOLDER client NAME           a station or a collector: NAME.crt, NAME.key; NAME is its id
#
# Nothing that is there is overwritten. The authority lasts 20 years, a server 2, a client 5: nobody visits a
# station for months, and `suuaba doctor` says how long a certificate still has.
set -eu
umask 077
usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
fail() { printf '%s\n' "certificates.sh: $*" >&2; exit 1; }
[ $# -ge 2 ] || usage
command -v openssl > /dev/null || fail "openssl is missing: apt-get install openssl"
folder=$1 what=$2
shift 2
mkdir -p "$folder"
cd "$folder"

new() { # file, name
    [ ! -e "$1.crt" ] || fail "$folder/$1.crt is there already; move it away first"
    case $2 in *[!A-Za-z0-9._-]* | '') fail "'$2' is no name: letters, digits, '.', '-', '_'" ;; esac
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" 2> /dev/null
}
signed() { # file, name, days, extensions
    [ -e ca.key ] || fail "there is no authority in $folder; first: certificates.sh $folder authority"
    printf '%s\n' "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" "$4" > "$1.ext"
    openssl req -new -key "$1.key" -subj "/CN=$2" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days "$3" -sha256 -extfile "$1.ext" \
        -out "$1.crt" 2> /dev/null
    rm -f "$1.csr" "$1.ext"
    chmod 644 "$1.crt"
    printf '%s\n' "$folder/$1.crt and $folder/$1.key"
}

case $what in
    authority)
        new ca suuaba-authority
        openssl req -x509 -new -key ca.key -subj "/CN=Suu-Aba authority" -days 7300 -sha256 \
            -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign" \
            -out ca.crt
        chmod 644 ca.crt
        printf '%s\n' "$folder/ca.crt; keep $folder/ca.key to yourself" ;;
    server)
        [ $# -ge 1 ] || usage
        names=
        for name in "$@"; do
            case $name in *[!0-9.]*) kind=DNS ;; *) kind=IP ;; esac
            names="$names,$kind:$name"
        done
        new server "$1"
        signed server "$1" 730 "subjectAltName=${names#,}
extendedKeyUsage=serverAuth" ;;
    client)
        [ $# -eq 1 ] || usage
        new "$1" "$1"
        signed "$1" "$1" 1825 "extendedKeyUsage=clientAuth" ;;
    *) usage ;;
esac
