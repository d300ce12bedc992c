#!/bin/sh
# Stands in for `kodikon`. As `up`: says that it runs and that the peers of $PEERS are up, then whatever is put into the
# file `say` of its data directory, until SIGTERM. As `alert` or `broadcast`: lets the nodes whose data directories lie beside its
# own tell of it at once, and says that they have it. As another verb: prints its arguments as JSON.
verb=$1 payload=$2
while [ $# -gt 0 ]; do
    case $1 in
    --node-id) name=$2 ;;
    --data-dir) data=$2 ;;
    --api) api=$2 ;;
    esac
    shift
done
# heard EVENT FIELD: the others tell of the payload.
heard() {
    delivered=
    for other in "$(dirname "$data")"/*; do
        [ "$other" != "$data" ] || continue
        echo "{\"event\":\"$1\",\"at\":$(date +%s.%N),\"node_id\":\"n1\",\"$2\":$payload}" >"$other/said"
        mv "$other/said" "$other/say"
        delivered="$delivered${delivered:+,}\"$(basename "$other")\""
    done
    echo "{\"delivered\":[$delivered],\"missing\":[]}"
    exit 0
}
case $verb in
up) ;;
alert | broadcast)
    [ "$payload" != --help ] || exit 0
    [ "$verb" = broadcast ] || heard alert alert
    heard message payload
    ;;
fail) echo "it failed" >&2; exit 1 ;;
*) echo "[\"$verb\", \"$(basename "$data")\", \"$HOME\"]"; exit 0 ;;
esac
mkdir -p "$data"
trap 'exit 0' TERM
if [ -n "$COMPLAIN" ]; then echo "$COMPLAIN" >&2; exit 2; fi
echo "{\"event\":\"started\",\"at\":1000.5,\"node_id\":\"$name\",\"api\":\"$api\"}"
for peer in $PEERS; do
    echo "{\"event\":\"peer_up\",\"at\":1000.75,\"node_id\":\"$peer\"}"
done
while :; do
    if [ -e "$data/say" ]; then
        cat "$data/say"
        rm "$data/say"
    fi
    sleep 0.02
done
