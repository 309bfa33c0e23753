#!/bin/bash
# Runs a command beside a watch on EC2's spot notice. Two minutes before this machine is taken back, the command gets
# SIGTERM: `ray start --block` then drains the node, and training saves checkpoints.
#   spot_watch.sh ray start --address=HEAD:6379 --block
# IMDS is the metadata service's address, IMDS_SECONDS the time between questions.
set -uo pipefail
imds=${IMDS:-http://169.254.169.254}
"$@" &
child=$!
trap 'kill -TERM "$child"' TERM INT

taken_back() {
  local token
  token=$(curl -sf -m 2 -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" "$imds/latest/api/token") || return 1
  curl -sf -m 2 -o /dev/null -H "X-aws-ec2-metadata-token: $token" "$imds/latest/meta-data/spot/instance-action"
}

while kill -0 "$child" 2>/dev/null; do
  if taken_back; then
    echo "spot_watch: this machine will be taken back; ending: $*"
    kill -TERM "$child"
    break
  fi
  sleep "${IMDS_SECONDS:-5}" &
  wait $!
done
# A signal interrupts `wait`; the command's own status comes when it has ended.
while wait "$child"; status=$?; kill -0 "$child" 2>/dev/null; do :; done
exit "$status"
