#!/bin/sh
# Installs the servers that the tests start, where root may. Elsewhere the tests name what is missing.
set -eu
missing=""
for pair in mosquitto:mosquitto mosquitto_pub:mosquitto-clients victoria-metrics:victoria-metrics \
    influxd:influxdb systemd-analyze:systemd; do
    program=${pair%%:*}
    PATH=$PATH:/usr/sbin command -v "$program" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "not installed, and only root may install them:$missing" >&2
    exit 0
fi
echo "installing$missing (apt)" >&2
apt-get update -q >/dev/null
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get install -y -q $missing >/dev/null
