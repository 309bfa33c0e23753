#!/bin/bash
# A Ceph Object Gateway (S3) of one node, for a local cluster and for tests. Any user, no systemd, one address only.
#   once, as root:  apt-get update && apt-get install -y --no-install-recommends ceph-mon ceph-osd radosgw ceph-common
#   s3.sh start ROOT PORT [AK SK] | stop ROOT | kill ROOT (SIGKILL)      (uses TCP PORT, PORT+10, +11, +20..+60)
# S3_HOST is the address that it listens on, 127.0.0.1 unless set.
set -eu
CMD=$1; ROOT=$2; HOST=${S3_HOST:-127.0.0.1}
stop() { for f in 3rgw 2osd 1mon; do p=$(cat "$ROOT/run/$f" 2>/dev/null) || continue; kill -"$1" "$p" 2>/dev/null || true
         for _ in $(seq 150); do kill -0 "$p" 2>/dev/null || break; sleep 0.1; done; rm -f "$ROOT/run/$f"; done; rm -f "$ROOT"/run/*.asok; }
case $CMD in stop) stop TERM; exit;; kill) stop KILL; exit;; esac
PORT=$3; AK=${4:-testkey}; SK=${5:-testsecret}; MP=$((PORT+10)); export CEPH_CONF="$ROOT/ceph.conf"; NEW=0
curl -s -o /dev/null "http://$HOST:$PORT/" && { echo "port $PORT already answers" >&2; exit 1; }
mkdir -p "$ROOT"/{mon,osd/0,run,log,rgw}
if [ ! -f "$ROOT/ready" ]; then NEW=1; FSID=$(cat /proc/sys/kernel/random/uuid)
cat > "$ROOT/ceph.conf" <<E
[global]
fsid = $FSID
mon_host = [v2:127.0.0.1:$MP,v1:127.0.0.1:$((MP+1))]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_port_min = $((MP+10))
ms_bind_port_max = $((MP+50))
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
run_dir = $ROOT/run
admin_socket = $ROOT/run/\$name.\$pid.asok
log_file = $ROOT/log/\$name.log
crash_dir = $ROOT/log
mon_cluster_log_file = $ROOT/log/cluster.log
keyring = $ROOT/keyring
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_data_avail_warn = 2
mon_data_avail_crit = 1
mon_max_pg_per_osd = 1000
log_to_file = false
debug_default = 0/0
debug_ms = 0/0
debug_rgw = 0/0
debug_osd = 0/0
debug_bluestore = 0/0
debug_bdev = 0/0
debug_rocksdb = 0/0
debug_bluefs = 0/0
debug_objecter = 0/0
debug_mon = 0/0
debug_monc = 0/0
debug_paxos = 0/0
debug_auth = 0/0
debug_filer = 0/0
debug_objclass = 0/0
debug_civetweb = 0/0
debug_throttle = 0/0
debug_optracker = 0/0
debug_client = 0/0
osd_enable_op_tracker = false
[mon]
mon_data = $ROOT/mon/\$id
[osd]
osd_data = $ROOT/osd/\$id
osd_objectstore = bluestore
bluestore_block_size = 17179869184
bluestore_cache_autotune = false
bluestore_cache_size = 134217728
osd_memory_target = 939524096
[client.rgw.a]
rgw_data = $ROOT/rgw
rgw_frontends = beast endpoint=$HOST:$PORT tcp_nodelay=1
ms_mon_client_mode = crc
rgw_thread_pool_size = 64
rgw_enable_lc_threads = false
rgw_dynamic_resharding = false
rgw_override_bucket_index_max_shards = 1
E
touch "$ROOT/keyring"
monmaptool --create --clobber --fsid "$FSID" --addv a "[v2:127.0.0.1:$MP,v1:127.0.0.1:$((MP+1))]" "$ROOT/monmap" >/dev/null
ceph-authtool --create-keyring "$ROOT/mon.keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
ceph-mon --mkfs -i a --monmap "$ROOT/monmap" --keyring "$ROOT/mon.keyring"
fi
ceph-mon -i a -f >"$ROOT/log/mon.out" 2>&1 & echo $! >"$ROOT/run/1mon"
if [ $NEW = 1 ]; then U=$(cat /proc/sys/kernel/random/uuid)
  ceph --connect-timeout 30 osd new "$U" 0 >/dev/null; ceph-osd -i 0 --mkfs --osd-uuid "$U" >"$ROOT/log/mkfs.out" 2>&1; fi
ceph-osd -i 0 -f >"$ROOT/log/osd.out" 2>&1 & echo $! >"$ROOT/run/2osd"
radosgw -n client.rgw.a -f >"$ROOT/log/rgw.out" 2>&1 & echo $! >"$ROOT/run/3rgw"
for _ in $(seq 600); do curl -s -o /dev/null "http://$HOST:$PORT/" && break; kill -0 "$(cat "$ROOT/run/3rgw")" || exit 1; sleep 0.1; done
[ $NEW = 0 ] || radosgw-admin -n client.rgw.a user create --uid=test --display-name=test --access-key="$AK" --secret-key="$SK" >/dev/null
touch "$ROOT/ready"; echo "ready http://$HOST:$PORT pids $(cat "$ROOT"/run/{1mon,2osd,3rgw} | xargs)"
