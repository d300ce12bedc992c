#!/bin/sh
# Stands in for `kodikon`. As `up`: says that it runs and that the peers of $PEERS are up, then whatever is put into the
# file `say` of its data directory, until SIGTERM. As a verb: prints its arguments as JSON.
verb=$1
while [ $# -gt 0 ]; do
    case $1 in
    --node-id) name=$2 ;;
    --data-dir) data=$2 ;;
    --api) api=$2 ;;
    esac
    shift
done
case $verb in
up) ;;
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
