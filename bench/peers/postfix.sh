#!/bin/bash
# A Postfix of our own for bench/run: its configuration, queue and data in one directory, everything relayed to one
# address, the machine's own Postfix (if there is one) left alone. Needs root, as Postfix does.
#
# usage: postfix.sh start DIRECTORY LISTEN_PORT RELAY_ADDRESS:PORT SESSIONS   starts it; it holds what it is given
#        postfix.sh release DIRECTORY    sends what it holds
#        postfix.sh waiting DIRECTORY    prints how many messages are in the queue
#        postfix.sh master DIRECTORY     prints the process id of its master
#        postfix.sh stop DIRECTORY
set -euo pipefail

command=$1
directory=$2
config=$directory/etc

write_config() { # LISTEN_PORT RELAY SESSIONS
    local address=${2%:*} port=${2##*:}
    mkdir -p "$config" "$directory/queue" "$directory/data"
    chmod 755 "$directory" "$config"
    chown postfix "$directory/data"
    cat >"$config/main.cf" <<END
compatibility_level = 3.6
queue_directory = $directory/queue
data_directory = $directory/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = peer.shop.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
relayhost = [$address]:$port
disable_dns_lookups = yes
smtp_tls_security_level = none
smtpd_tls_security_level = none
smtpd_client_connection_count_limit = 0
maillog_file_prefixes = $directory
maillog_file = $directory/log
# As fast as it goes: one destination, many sessions that are kept.
default_process_limit = $(($3 + 100))
default_destination_concurrency_limit = $3
initial_destination_concurrency = $3
default_destination_recipient_limit = 1
smtp_connection_cache_on_demand = yes
smtp_connection_reuse_count_limit = 1000
qmgr_message_active_limit = 200000
qmgr_message_recipient_limit = 200000
max_idle = 1000s
max_use = 1000000
in_flow_delay = 0
minimal_backoff_time = 1000s
queue_run_delay = 1000s
defer_transports = smtp
END
    cat >"$config/master.cf" <<END
127.0.0.1:$1 inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1000 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
END
}

case $command in
start)
    write_config "$3" "$4" "$5"
    postfix -c "$config" start >"$directory/start.log" 2>&1 || { cat "$directory/start.log" >&2 && exit 1; }
    ;;
release)
    postconf -c "$config" -e 'defer_transports ='
    postfix -c "$config" reload >/dev/null 2>&1
    sleep 2 # the new queue manager reads the queue
    postqueue -c "$config" -f
    ;;
waiting)
    find "$directory"/queue/{incoming,active,deferred,maildrop} -type f 2>/dev/null | wc -l
    ;;
master)
    tr -d ' ' <"$directory/queue/pid/master.pid"
    ;;
stop)
    postfix -c "$config" stop >/dev/null 2>&1 || true
    ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
