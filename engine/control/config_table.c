/* The one table of keys: whoever adds a setting adds a row here and a field in config.h, and nothing else. */
#include "control/config_table.h"

#define MS     NSEC_PER_MS
#define S      NSEC_PER_S
#define MINUTE (60 * NSEC_PER_S)
#define HOUR   (3600 * NSEC_PER_S)
#define DAY    (24 * HOUR)

#define TOP(field)    CONFIG_TOP, offsetof(struct config, field)
#define LIMITS(field) CONFIG_LIMITS, offsetof(struct config_limits, field)
#define TOTAL(field)  CONFIG_TOTAL, offsetof(struct config_total, field)
#define ISP(field)    CONFIG_ISP, offsetof(struct config_isp, field)
#define SOURCE(field) CONFIG_SOURCE, offsetof(struct config_source, field)
#define RELAY(field)  CONFIG_RELAY, offsetof(struct config_relay, field)
#define ROUTE(field)  CONFIG_ROUTE, offsetof(struct config_route, field)
#define SUPPRESS(field) CONFIG_SUPPRESS, offsetof(struct config_suppress, field)
#define DKIM(field)   CONFIG_DKIM, offsetof(struct config_dkim, field)
#define RULE(field)   CONFIG_RULE, offsetof(struct config_rule, field)
#define WARMUP(field) CONFIG_WARMUP, offsetof(struct warmup_plan, field)
/* place, name, type, min, max, default, what the default is when it has no text, doc */
#define ROW(place, key, kind, least, most, default_text, default_words, words)                                         \
    ROW_(place, key, kind, least, most, default_text, default_words, words)
#define ROW_(scope_, offset_, key, kind, least, most, default_text, default_words, words)                              \
    {                                                                                                                  \
        .scope = scope_, .name = key, .type = kind, .min = least, .max = most, .fallback = default_text,               \
        .fallback_doc = default_words, .offset = offset_, .doc = words                                                 \
    }

/* place, name, words by value, default, doc */
#define ROW_WORD(place, key, texts, default_text, doc_text) ROW_WORD_(place, key, texts, default_text, doc_text)
#define ROW_WORD_(scope_, offset_, key, texts, default_text, doc_text)                                                 \
    {                                                                                                                  \
        .scope = scope_, .name = key, .type = CONFIG_WORD, .min = 1, .max = countof(texts) - 1, .words = texts,        \
        .fallback = default_text, .offset = offset_, .doc = doc_text                                                   \
    }

static const char *const log_levels[] = {[LOG_LEVEL_ERROR] = "error",
                                         [LOG_LEVEL_WARNING] = "warning",
                                         [LOG_LEVEL_INFO] = "info",
                                         [LOG_LEVEL_DEBUG] = "debug"};
static const char *const tls_words[] = {[CONFIG_TLS_OFF] = "off",
                                        [CONFIG_TLS_OPPORTUNISTIC] = "opportunistic",
                                        [CONFIG_TLS_REQUIRED] = "required",
                                        [CONFIG_TLS_VERIFIED] = "verified"};
static const char *const auth_words[] = {[CONFIG_AUTH_NONE] = "none",
                                         [CONFIG_AUTH_PLAIN] = "plain",
                                         [CONFIG_AUTH_LOGIN] = "login",
                                         [CONFIG_AUTH_XOAUTH2] = "xoauth2"};

static const char *const overflow_words[] = {[CONFIG_OVERFLOW_SPILL] = "spill", [CONFIG_OVERFLOW_WAIT] = "wait"};
static const char *const kind_words[] = {[WARMUP_NONE] = "none",
                                         [WARMUP_TABLE] = "table",
                                         [WARMUP_GEOMETRIC] = "geometric",
                                         [WARMUP_LINEAR] = "linear"};
static const char *const then_words[] = {
    [WARMUP_HOLD] = "hold", [WARMUP_THEN_UNLIMITED] = "unlimited", [WARMUP_CONTINUE] = "continue"};
static const char *const advance_words[] = {
    [WARMUP_CALENDAR] = "calendar", [WARMUP_ACTIVE] = "active", [WARMUP_VOLUME] = "volume"};
static const char *const per_words[] = {[WARMUP_PER_DAY] = "day", [WARMUP_PER_HOUR] = "hour"};
static const char *const gate_words[] = {[WARMUP_GATE_NONE] = "none", [WARMUP_GATE_HEALTH] = "health"};
static const char *const dkim_engine_words[] = {[CONFIG_DKIM_AUTO] = "auto", [CONFIG_DKIM_OPENSSL] = "openssl"};

static const char *const reply_line_words[] = {[CONFIG_REPLY_JOINED] = "joined", [CONFIG_REPLY_LAST] = "last"};

/* One of the names from `least` on of an enum whose value `most` is the last that a file may give. */
#define ROW_NAMES(field, key, least_value, most_value, names, default_text, default_words, doc_text)                   \
    {                                                                                                                  \
        .scope = CONFIG_RULE, .name = key, .type = CONFIG_WORD, .min = least_value, .max = most_value, .words = names, \
        .fallback = default_text, .fallback_doc = default_words, .offset = offsetof(struct config_rule, field),        \
        .doc = doc_text                                                                                                \
    }

/* clang-format off */
static const struct config_row table[] = {
    ROW(TOP(redis), "redis", CONFIG_URL, 0, 1024, "", "a private redis-server in state_dir",
        "Where Redis is: unix:/path, redis://[user:password@]host[:port][/db], the master that sentinels name, "
        "sentinel://[user:password@]host[:port],.../name[/db], or a cluster, of which some servers are given, "
        "cluster://[user:password@]host[:port],... . With rediss, sentinels and clusters in their place all of it goes "
        "through TLS. What rights the user needs is in sluice(1). Left out, the engine starts a redis-server of its own, "
        "with its append-only file on, and stops it when it ends."),
    ROW(TOP(redis_access.ca), "redis_ca", CONFIG_PATH, 0, 1024, "", "the system's",
        "A file of certificates (PEM) of the authorities that are trusted where Redis' certificate is verified. A "
        "certificate must be for the host of the address, as it is there or as sentinels and clusters name it, or for "
        "redis_name."),
    ROW(TOP(redis_access.name), "redis_name", CONFIG_HOST, 0, LIMIT_DOMAIN, "", "the host that is connected to",
        "The name that certificates of Redis must be for, where sentinels and clusters name their servers by address."),
    ROW(TOP(redis_access.cert), "redis_cert", CONFIG_PATH, 0, 1024, "", NULL,
        "A file (PEM) of the certificate, with its chain, that is shown to a Redis that asks for one."),
    ROW(TOP(redis_access.key), "redis_key", CONFIG_PATH, 0, 1024, "", NULL,
        "The file (PEM) of its key. Nobody else may be able to read it."),
    ROW(TOP(redis_access.sentinel_user), "redis_sentinel_user", CONFIG_TEXT, 0, 127, "", "the default user",
        "The user as whom sentinels are asked, where they want a password."),
    ROW(TOP(redis_access.sentinel_password), "redis_sentinel_password", CONFIG_TEXT, 0, 255, "", "none is sent",
        "The password for sentinels. That of the address is for the server they name, and they never see it."),
    ROW(TOP(prefix), "prefix", CONFIG_ID, 1, 64, "sluice", NULL,
        "What the names of all keys in Redis begin with."),
    ROW(TOP(engine), "engine", CONFIG_ID, 1, 63, NULL, "the host's name",
        "This engine's id. Engines that share one Redis have different ids; one that starts again keeps its own."),
    ROW(TOP(hostname), "hostname", CONFIG_HOST, 1, LIMIT_DOMAIN, NULL, "the host's name",
        "This host's name. When it is set, it is the EHLO name of sources that name none."),
    ROW(TOP(state_dir), "state_dir", CONFIG_PATH, 1, 90, NULL,
        "/var/lib/sluice if it can be written, else $XDG_STATE_HOME/sluice or ~/.local/state/sluice",
        "The directory of the lock file and of the private Redis."),
    ROW(TOP(default_pool), "default_pool", CONFIG_ID, 0, LIMIT_POOL_NAME, "", "the only pool there is, else none",
        "The pool of campaigns that name none."),
    ROW(TOP(shards), "shards", CONFIG_COUNT, 0, 256, "0", "0: one per usable core",
        "How many threads send, each with its own io_uring."),
    ROW(TOP(sessions_max), "sessions_max", CONFIG_COUNT, 8, 100000, "4096", NULL,
        "Most SMTP sessions of one shard. Each needs a descriptor and a port."),
    ROW(TOP(press_bytes), "press_bytes", CONFIG_SIZE, 1024 * 1024, (int64_t)64 << 30, "64MiB", NULL,
        "Memory of one shard for messages that are rendered and not yet sent."),
    ROW(TOP(resolver), "resolver", CONFIG_SERVERS, 0, 1024, "", "the servers in /etc/resolv.conf",
        "DNS servers, address or address:port, with commas between."),
    ROW(TOP(resolver_timeout), "resolver_timeout", CONFIG_DURATION, 100 * MS, MINUTE, "3s", NULL,
        "How long one try of a DNS query may take."),
    ROW(TOP(resolver_tries), "resolver_tries", CONFIG_COUNT, 1, 10, "3", NULL,
        "How often each DNS server is asked."),
    ROW(TOP(smtp_port), "smtp_port", CONFIG_PORT, 1, 65535, "25", NULL,
        "The port of mail exchangers; for tests."),
    ROW(TOP(mta_sts), "mta_sts", CONFIG_BOOL, 0, 1, "yes", NULL,
        "Whether the MTA-STS policies of recipients' domains (RFC 8461) are fetched and obeyed. They are kept in "
        "state_dir."),
    ROW(TOP(sts_port), "sts_port", CONFIG_PORT, 1, 65535, "443", NULL,
        "The port of the hosts that serve these policies; for tests."),
    ROW(TOP(dane), "dane", CONFIG_BOOL, 0, 1, "yes", NULL,
        "Whether mail hosts in signed zones are authenticated by their TLSA records (DANE, RFC 7672). It takes a "
        "resolver that validates DNSSEC and sets the AD bit, on this machine or on a network that is trusted; with any "
        "other resolver nothing is secure, and nothing is demanded."),
    ROW(TOP(tls_broken_for), "tls_broken_for", CONFIG_DURATION, 0, 30 * DAY, "24h", NULL,
        "How long a host that refuses STARTTLS, or fails in the handshake, has its mail in plain text where tls is "
        "opportunistic. With 0 it is not sent in plain text for that: it waits."),
    ROW(TOP(tls_ca), "tls_ca", CONFIG_PATH, 0, 1024, "", "the system's",
        "A file of certificates (PEM) of the authorities that are trusted where a server's certificate is verified."),
    ROW(TOP(ipv4), "ipv4", CONFIG_BOOL, 0, 1, "yes", NULL,
        "Whether IPv4 addresses of mail exchangers are used, where a source of that family exists."),
    ROW(TOP(ipv6), "ipv6", CONFIG_BOOL, 0, 1, "yes", NULL, "The same for IPv6."),
    ROW(TOP(http), "http", CONFIG_AT, 0, 64, "127.0.0.1:9125", NULL,
        "Where /metrics, /health and /status are served; \"\" for nowhere."),
    ROW(TOP(http_public), "http_public", CONFIG_BOOL, 0, 1, "no", NULL,
        "Allows http to be another address than one of loopback. Whoever reaches it may read it."),
    ROW(TOP(shutdown), "shutdown", CONFIG_DURATION, 0, HOUR, "30s", NULL,
        "How long open messages may take to end after SIGTERM."),
    ROW(TOP(poll), "poll", CONFIG_DURATION, 10 * MS, MINUTE, "900ms", NULL,
        "How often an idle engine looks for campaigns that nobody announced: so that they are seen within a second."),
    ROW(TOP(token_key), "token_key", CONFIG_PATH, 0, 1024, "", "none; campaigns with verp 1 need it",
        "The file of the secrets of VERP return paths, one a line of at least 32 characters (openssl rand -hex 32): the "
        "first makes tokens, all verify them. Nobody but Sluice's user may be able to read it."),
    ROW_WORD(TOP(dkim_engine), "dkim_engine", dkim_engine_words, "auto",
        "What computes RSA-2048 signatures: auto, eight at a time where the CPU has AVX-512 IFMA and proves at start that "
        "it computes as it should, else OpenSSL; or openssl, always."),
    ROW(TOP(suppression), "suppression", CONFIG_BOOL, 0, 1, "yes", NULL,
        "Whether the suppression list is asked before a recipient is sent to, and added to when one is refused for good "
        "(sluice suppress)."),
    ROW(TOP(events_max), "events_max", CONFIG_BIG_COUNT, 1000, 1000000000000, "10000000", NULL,
        "Events in a campaign's stream at which those go that all its consumer groups acknowledged. When that frees "
        "nothing, the campaign waits with the reason \"events not read\"."),
    ROW(TOP(keep_s), "keep", CONFIG_SECONDS, MINUTE, 3650 * DAY, "30d", NULL,
        "How long the keys of a campaign stay after it is done, unless the campaign says otherwise."),
    ROW(TOP(zone_name), "zone", CONFIG_TEXT, 1, 64, "UTC", NULL,
        "The time zone by whose days a warm-up counts, as Europe/Paris: the name of a file below /usr/share/zoneinfo "
        "(package tzdata). A day in which clocks are changed has 23 or 25 hours. UTC needs no file."),
    ROW(TOP(day_starts), "day_starts", CONFIG_COUNT, 0, 23, "0", NULL,
        "The hour at which such a day begins. Where that hour is skipped the day begins with the next, and where it comes "
        "twice with the first."),
    ROW(TOP(day_length), "day_length", CONFIG_DURATION, 0, DAY, "0s", "the days of the zone",
        "How long a day is; for tests, which let weeks of a warm-up pass in minutes. Days are then counted from 1970."),
    ROW(TOP(warmup_settle), "warmup_settle", CONFIG_DURATION, 0, HOUR, "3s", NULL,
        "How long after Redis acknowledged a part of a warm-up's cap it is used: so long that Redis cannot forget it any "
        "more when it dies. 3s is for appendfsync everysec, which loses 2s at most; 0 is for appendfsync always."),
    ROW(TOP(redis_keeps), "redis_keeps", CONFIG_DURATION, 0, HOUR, "3s", NULL,
        "What Redis acknowledged so long ago it does not forget when it dies. What is younger is kept in memory, and done "
        "again when Redis comes back without it; for ten seconds nothing is leased then. 3s is for appendfsync everysec, "
        "which loses 2s at most; 0 is for appendfsync always."),
    ROW_WORD(TOP(log_level), "log_level", log_levels, "info",
        "What is logged: error, warning, info or debug, each with all before it."),
    ROW(TOP(shipped_rules), "shipped_rules", CONFIG_BOOL, 0, 1, "yes", NULL,
        "Whether the rules that come with the program hold too, for the mail exchangers that they name and for everybody, "
        "behind those of this file. One of the same name as a rule here is left out."),

    ROW(ISP(mx), "mx", CONFIG_SUFFIXES, 1, LIMIT_DOMAIN, NULL, "none; it must be given",
        "Mail exchangers of this ISP: suffixes that begin with a dot, or whole host names."),
    ROW_WORD(ISP(reply_line), "reply_line", reply_line_words, "joined",
        "What of its replies rules read: all lines joined, or the last one alone, for an ISP whose last line decides."),

    ROW(LIMITS(connections), "connections", CONFIG_COUNT, 1, 10000, "10", NULL,
        "Most sessions at once from one source to this ISP."),
    ROW(LIMITS(per_connection), "per_connection", CONFIG_COUNT, 0, 1000000, "100", NULL,
        "Most messages in one session; 0 for no limit."),
    ROW(LIMITS(rate), "rate", CONFIG_RATE, 1, 1000000000, "none", NULL,
        "Most messages started from one source to this ISP, as 10/s, 500/min, 3000/h or 50000/day."),
    ROW(LIMITS(burst), "burst", CONFIG_COUNT, 1, 1000000, "1", NULL,
        "How many of these may start at one instant."),
    ROW(LIMITS(connection_rate), "connection_rate", CONFIG_RATE, 1, 1000000000, "none", NULL,
        "Most connections begun from one source to this ISP, as 2/s or 30/min."),
    ROW(LIMITS(connection_burst), "connection_burst", CONFIG_COUNT, 1, 10000, "1", NULL,
        "How many of these may be begun at one instant."),
    ROW(LIMITS(retry), "retry", CONFIG_DELAYS, 10 * MS, 30 * DAY, "10m, 30m, 1h, 2h, 4h", NULL,
        "Delays after the first, second and following deferrals; the last one repeats."),
    ROW(LIMITS(expire), "expire", CONFIG_DURATION, 10 * MS, 90 * DAY, "3d", NULL,
        "How long after its first attempt a recipient is given up."),
    ROW(LIMITS(timeout_connect), "timeout_connect", CONFIG_DURATION, 10 * MS, HOUR, "30s", NULL,
        "How long a TCP connection may take to come up."),
    /* RFC 5321 §4.5.3.2 gives the following as least values. */
    ROW(LIMITS(timeout_greeting), "timeout_greeting", CONFIG_DURATION, 10 * MS, HOUR, "5m", NULL,
        "How long a server may take for its greeting (RFC 5321 4.5.3.2.1)."),
    ROW(LIMITS(timeout_ehlo), "timeout_ehlo", CONFIG_DURATION, 10 * MS, HOUR, "5m", NULL,
        "How long it may take for its reply to EHLO or HELO."),
    ROW(LIMITS(timeout_mail), "timeout_mail", CONFIG_DURATION, 10 * MS, HOUR, "5m", NULL,
        "How long it may take for its reply to MAIL (RFC 5321 4.5.3.2.2)."),
    ROW(LIMITS(timeout_rcpt), "timeout_rcpt", CONFIG_DURATION, 10 * MS, HOUR, "5m", NULL,
        "How long it may take for its reply to RCPT (RFC 5321 4.5.3.2.3)."),
    ROW(LIMITS(timeout_data), "timeout_data", CONFIG_DURATION, 10 * MS, HOUR, "2m", NULL,
        "How long it may take for its reply to DATA (RFC 5321 4.5.3.2.4)."),
    ROW(LIMITS(timeout_body), "timeout_body", CONFIG_DURATION, 10 * MS, HOUR, "10m", NULL,
        "How long it may take for its reply to the final dot (RFC 5321 4.5.3.2.6)."),
    ROW(LIMITS(timeout_quit), "timeout_quit", CONFIG_DURATION, 10 * MS, HOUR, "10s", NULL,
        "How long it may take for its reply to QUIT. Nothing depends on that reply."),
    ROW(LIMITS(idle), "idle", CONFIG_DURATION, 0, 10 * MINUTE, "5s", NULL,
        "How long a session stays open without a message."),
    ROW(LIMITS(pipelining), "pipelining", CONFIG_BOOL, 0, 1, "yes", NULL,
        "Whether PIPELINING (RFC 2920) is used where the server offers it."),
    ROW(LIMITS(across), "across", CONFIG_BOOL, 0, 1, "yes", NULL,
        "Whether it is used across messages: the next MAIL goes out behind the dot of the message before it."),
    ROW_WORD(LIMITS(tls), "tls", tls_words, "opportunistic",
        "Whether sessions are encrypted: off; opportunistic, where the server offers it, whatever its certificate, and in "
        "plain text where it does not or its TLS is broken; required, whatever its certificate, and never in plain text; "
        "verified, only with a certificate of a trusted authority for the host's name."),
    ROW(LIMITS(chunking), "chunking", CONFIG_SUFFIXES, 1, LIMIT_DOMAIN, NULL, "none",
        "Mail exchangers with which BDAT (RFC 3030) is used where they offer it and prove that they do it well: suffixes "
        "that begin with a dot, or whole host names."),
    ROW(LIMITS(in_flight), "in_flight", CONFIG_COUNT, 1, 8, "4", NULL,
        "Messages that are sent by BDAT in one session before the first of them is answered. After a crash or a lost "
        "connection so many may be in doubt for each session."),
    ROW(LIMITS(adapt.on), "adapt", CONFIG_BOOL, 0, 1, "yes", NULL,
        "Whether a lane reacts to what the ISP replies (rules): slows down, has fewer connections, falls silent, asks and "
        "comes back. With no it does what is configured, whatever it is told."),
    ROW(LIMITS(adapt.interval), "adapt_interval", CONFIG_DURATION, S, 30 * DAY, "10m", NULL,
        "How long all must go well before a rate that fell rises by one step, or one more connection is allowed again."),
    ROW(LIMITS(adapt.step), "adapt_step", CONFIG_COUNT, 1, 100, "10", NULL,
        "The most that it rises by, in percent of the configured rate. It rises more slowly near where it was too fast."),
    ROW(LIMITS(adapt.floor), "adapt_floor", CONFIG_COUNT, 1, 100, "5", NULL,
        "What a rate never falls below, in percent of the configured one."),
    ROW(LIMITS(adapt.settle), "adapt_settle", CONFIG_DURATION, 0, DAY, "1m", NULL,
        "A rate that fell falls no further for so long: replies that come together are one."),
    ROW(LIMITS(adapt.silence), "probe_silence", CONFIG_DURATION, 10 * MINUTE, DAY, "10m", NULL,
        "How long a lane is silent, before one connection asks, where a rule says probe without a time of its own."),
    ROW(LIMITS(adapt.pause), "pause_first", CONFIG_DURATION, S, 7 * DAY, "30m", NULL,
        "The same where a rule says pause. It doubles while it is repeated."),
    ROW(LIMITS(adapt.pause_max), "pause_max", CONFIG_DURATION, S, 7 * DAY, "4h", NULL, "The longest of these pauses."),
    ROW(LIMITS(adapt.hold), "hold", CONFIG_DURATION, MINUTE, 30 * DAY, "4h", NULL,
        "How long what waits for people (rules with hold) is left alone before one message asks whether it is mended."),
    ROW(LIMITS(adapt.shut_out), "shut_out", CONFIG_DURATION, MINUTE, 30 * DAY, "4h", NULL,
        "How long a source that an ISP blocks (rules with other-source) sends it nothing before one message asks. Refused, "
        "twice as long; then shut_out_max."),
    ROW(LIMITS(adapt.shut_out_max), "shut_out_max", CONFIG_DURATION, MINUTE, 30 * DAY, "24h", NULL, "The longest of these."),
    ROW(LIMITS(adapt.fewer_for), "fewer_for", CONFIG_DURATION, S, 7 * DAY, "1h", NULL,
        "How long a lane that has too many connections keeps to fewer. Then one more each adapt_interval."),

    ROW(TOTAL(connections), "total.connections", CONFIG_COUNT, 0, 100000, "0", "no limit",
        "Most sessions at once from all sources together, of all engines that share one Redis."),
    ROW(TOTAL(rate), "total.rate", CONFIG_RATE, 1, 1000000000, "none", NULL,
        "Most messages started from all sources together. Engines share it in whole parts, as many as total.burst has: "
        "with a burst of 1 one engine at a time sends, and they take turns."),
    ROW(TOTAL(burst), "total.burst", CONFIG_COUNT, 1, 1000000, "1", NULL,
        "How many of these may start at one instant."),
    ROW(TOTAL(connection_rate), "total.connection_rate", CONFIG_RATE, 1, 1000000000, "none", NULL,
        "Most connections begun from all sources together; one engine at a time begins them."),

    ROW(SOURCE(name), "name", CONFIG_NAME, 1, LIMIT_SOURCE_NAME, NULL, "the address",
        "The source's name in events, metrics and Redis."),
    ROW(SOURCE(ehlo), "ehlo", CONFIG_EHLO, 1, LIMIT_DOMAIN, NULL, "hostname, if that is set; else it must be given",
        "The name given in EHLO; it should resolve to the address, and the address back to it."),

    ROW(SOURCE(warmup_name), "warmup", CONFIG_NAME, 1, LIMIT_WARMUP_NAME, NULL, "none: the source is warm",
        "The warm-up that it is in: the name of a warmup block, or of one that comes with Sluice: standard, sendgrid, "
        "sparkpost, braze-conservative, braze-moderate, braze-aggressive, ses. Its mail of a day never exceeds the caps "
        "of that day."),
    ROW(SOURCE(since), "since", CONFIG_DATE, 0, 0, NULL, "with its first message",
        "The date on which the warm-up begins: nothing is sent before. By advance = calendar it is day 1, whenever mail "
        "comes. A later date than the one on which it began lets it begin again."),
    ROW_WORD(SOURCE(overflow), "overflow", overflow_words, "spill",
        "What becomes of mail that the day's caps leave no room for: spill, the pool's sources that are warm take it; wait, "
        "its part of the pool's mail waits for it. It never goes to another source that is warming up."),

    ROW(RELAY(host), "host", CONFIG_HOST, 1, LIMIT_DOMAIN, NULL, "none; it must be given",
        "The relay's host. Its addresses are looked up, MX records are not."),
    ROW(RELAY(port), "port", CONFIG_PORT, 1, 65535, "587", NULL,
        "587 or 25 with STARTTLS, 465 with TLS from the first byte."),
    ROW(RELAY(implicit_tls), "implicit_tls", CONFIG_BOOL, 0, 1, NULL, "yes on ports 465 and 2465, else no",
        "Whether TLS begins with the first byte (RFC 8314 3.3) instead of by STARTTLS."),
    ROW_WORD(RELAY(auth), "auth", auth_words, "none",
        "How the relay is told who we are. It is never told without TLS, unless tls is off and auth_plain_text is yes."),
    ROW(RELAY(user), "user", CONFIG_TEXT, 0, 255, "", "none", "The name that goes with the password or the token."),
    ROW(RELAY(password_file), "password_file", CONFIG_PATH, 0, 1024, "", "none",
        "The file of the password of plain and login. Nobody but its owner, who is root or runs the engine, may be able "
        "to read it. It is read again when it has changed."),
    ROW(RELAY(token_file), "token_file", CONFIG_PATH, 0, 1024, "", "none",
        "The same for the bearer token of xoauth2. Whoever renews the token replaces the file."),
    ROW(RELAY(auth_plain_text), "auth_plain_text", CONFIG_BOOL, 0, 1, "no", NULL,
        "Allows AUTH on a connection that is not encrypted: whoever listens has the password."),

    ROW(ROUTE(pool), "pool", CONFIG_ID, 0, LIMIT_POOL_NAME, "", "every pool", "Campaigns of this pool."),
    ROW(ROUTE(domains), "domain", CONFIG_SUFFIXES, 1, LIMIT_DOMAIN, NULL, "every domain",
        "Recipients' domains (A-labels): whole ones, or suffixes that begin with a dot and stand for what is below them."),
    ROW(ROUTE(relay_name), "relay", CONFIG_ID, 1, LIMIT_ISP_NAME, NULL, "none; it must be given",
        "Where they go: the name of a relay, or none for the domain's own mail exchangers."),

    ROW(SUPPRESS(after), "after", CONFIG_COUNT, 0, 1000, "1", NULL,
        "The how-manieth refusal puts the address on the list: 1 is at once, and then only for hard ones; 0 is never."),
    ROW(SUPPRESS(within), "within", CONFIG_DURATION, MINUTE, 3650 * DAY, "14d", NULL,
        "The time within which these refusals must have come."),

    ROW(DKIM(domain), "domain", CONFIG_HOST, 1, LIMIT_DOMAIN - 14, NULL, "the block's name",
        "The domain that signs, d=. It has more than one label."),
    ROW(DKIM(selector), "selector", CONFIG_HOST, 1, 63, NULL, "none; it must be given",
        "Where the public half is published: the TXT record of SELECTOR._domainkey.DOMAIN. When the engine starts it "
        "looks there and says whether the record is the key's."),
    ROW(DKIM(key), "key", CONFIG_PATH, 1, 1024, NULL, "none; it must be given",
        "The file of the private key, PEM: RSA of 1024 to 4096 bits, better 2048, or Ed25519. Nobody but its owner, who "
        "is root or runs the engine, may be able to read it. SIGHUP reads it again."),
    ROW(DKIM(always), "always", CONFIG_BOOL, 0, 1, "no", NULL,
        "Signs all mail, whatever its From domain, besides the blocks of that domain."),
    ROW(DKIM(expire), "expire", CONFIG_DURATION, 0, 365 * DAY, "0s", "signatures do not expire",
        "How long a signature is good for, x=: at least 1h, and longer than receivers hold mail back."),
    ROW(DKIM(ed25519), "ed25519", CONFIG_BOOL, 0, 1, "no", NULL,
        "Allows the key to be an Ed25519 one. Few receivers know these, and Yahoo may fail DMARC when one of several "
        "aligned signatures does not pass: use it only besides an RSA key, and watch."),
    ROW(DKIM(enabled), "enabled", CONFIG_BOOL, 0, 1, "yes", NULL,
        "Whether the block is in use. One that is not may lack its key file."),

    {.scope = CONFIG_WARMUP, .name = "kind", .type = CONFIG_WORD, .min = 1, .max = countof(kind_words) - 1,
        .words = kind_words, .fallback_doc = "table with caps, geometric with a factor, linear with a step",
        .offset = offsetof(struct warmup_plan, kind),
        .doc = "How the cap grows: by a table; geometric, start times factor for each day, rounded down; linear, start plus "
        "step for each day; none, without a cap, for blocks that have one over all alone."},
    ROW(WARMUP(caps), "caps", CONFIG_CAPS, 1, (int64_t)(WARMUP_CAP_MAX / 24), NULL, "none",
        "The caps of a table, from the first day on; none is below the one before it."),
    ROW(WARMUP(start), "start", CONFIG_BIG_COUNT, 0, (int64_t)(WARMUP_CAP_MAX / 24), "0", "none",
        "The first day's cap."),
    ROW(WARMUP(factor), "factor", CONFIG_FACTOR, 1010, 100 * 1000, NULL, "none",
        "What each day's cap is multiplied by, to three places behind the point."),
    ROW(WARMUP(step), "step", CONFIG_BIG_COUNT, 0, (int64_t)(WARMUP_CAP_MAX / 24), "0", "none",
        "What is added to each day's cap."),
    ROW(WARMUP(max), "max", CONFIG_BIG_COUNT, 0, (int64_t)(WARMUP_CAP_MAX / 24), "0", "none",
        "The cap of the last day. A table that continues may do without one."),
    ROW(WARMUP(every), "every", CONFIG_COUNT, 1, 365, "1", NULL,
        "How many days a cap stays before it is multiplied or added to."),
    ROW_WORD(WARMUP(per), "per", per_words, "day",
        "What caps, start, step and max are of. With hour a day's cap is 24 times that, and mail goes no faster than the "
        "hour's cap allows when it is spread evenly."),
    ROW_WORD(WARMUP(then), "then", then_words, "hold",
        "What comes after the last day: hold, its cap stays; unlimited, there is none; continue, a table goes on by factor "
        "or step up to max."),
    ROW_WORD(WARMUP(advance), "advance", advance_words, "volume",
        "What a day must have seen for the next one of the curve to follow: calendar, nothing; active, a message that was "
        "accepted; volume, as many accepted as volume says. There is never more than one step a day."),
    ROW(WARMUP(volume), "volume", CONFIG_COUNT, 1, 100, "90", NULL,
        "Percent of the day's cap that have to be accepted for advance = volume."),
    ROW_WORD(WARMUP(gate), "gate", gate_words, "health",
        "health: the curve is held, or goes back a day, by what the ISP answers; none: it is not."),
    ROW(WARMUP(health.hold_deferred), "hold_deferral", CONFIG_PERCENT, 0, 100 * 1000, "5%", NULL,
        "Share of messages that the ISP deferred, other than for their recipient, above which the curve is held."),
    ROW(WARMUP(health.hold_blocked), "hold_block", CONFIG_PERCENT, 0, 100 * 1000, "1%", NULL,
        "The same of messages that it refused because it blocks the source."),
    ROW(WARMUP(health.hold_bounced), "hold_bounce", CONFIG_PERCENT, 0, 100 * 1000, "5%", NULL,
        "The same of messages whose mailbox does not exist."),
    ROW(WARMUP(health.back_deferred), "back_deferral", CONFIG_PERCENT, 0, 100 * 1000, "15%", NULL,
        "Share of deferred messages above which the curve goes back a day, and is held."),
    ROW(WARMUP(health.back_blocked), "back_block", CONFIG_PERCENT, 0, 100 * 1000, "5%", NULL,
        "The same of blocked ones."),
    ROW(WARMUP(health.back_bounced), "back_bounce", CONFIG_PERCENT, 0, 100 * 1000, "10%", NULL,
        "The same of those whose mailbox does not exist."),
    ROW(WARMUP(health.recover), "recover", CONFIG_COUNT, 0, 100, "50", NULL,
        "Percent of these shares at or below which a curve that was held goes on."),
    ROW(WARMUP(health.samples), "samples", CONFIG_BIG_COUNT, 1, 1000 * 1000 * 1000, "200", NULL,
        "How many messages must have been answered before their health is judged. Days that have fewer are added up."),
    ROW(WARMUP(catch_up), "catch_up", CONFIG_COUNT, 1, 24, NULL, "4, and 1 with per = hour",
        "How many times faster than evenly through the day mail may go after hours without any. Of 1, what was not sent in "
        "its time is not sent that day."),
    ROW(WARMUP(struck_back), "block_back", CONFIG_COUNT, 0, 100, "1", NULL,
        "How many days the curve goes back at once, at most once a day, when the ISP blocks the source."),
    ROW(WARMUP(idle_days), "idle_back", CONFIG_COUNT, 0, 365, "3", NULL,
        "The curve goes back a day for each so many days in a row in which nothing was sent; 0: it does not."),
    ROW(WARMUP(idle_restart), "idle_restart", CONFIG_COUNT, 0, 365, "30", NULL,
        "It begins again after so many of them; 0: it does not."),

    ROW(RULE(stages), "stage", CONFIG_TEXTS, 1, 16, NULL, "any",
        "What the reply was to: connect or greeting (the first words), ehlo, starttls, auth, mail, rcpt, data, body (the "
        "message itself)."),
    ROW(RULE(codes), "code", CONFIG_TEXTS, 1, 16, NULL, "any", "Basic codes from 400 to 599, or 4yz, or 5yz."),
    ROW(RULE(statuses), "status", CONFIG_TEXTS, 1, 16, NULL, "any, and none",
        "Enhanced statuses, 5.7.1; x stands for any number, x.7.x."),
    ROW(RULE(texts), "text", CONFIG_TEXTS, 1, CONFIG_PATTERN_MAX, NULL, "any",
        "Patterns of PCRE2, without case, one of which is found in the reply's text: its lines joined by one blank, codes "
        "and statuses taken off their fronts, addresses written x@x. In single quotes a backslash is itself."),
    ROW_NAMES(class_, "class", BOUNCE_BAD_MAILBOX, BOUNCE_CLASS_COUNT - 1, bounce_class_names, NULL,
        "none; it must be given", "What it means, in PowerMTA's words."),
    ROW_NAMES(kind, "kind", BOUNCE_KIND_HARD, BOUNCE_KIND_BLOCK, bounce_kind_names, NULL, "none; it must be given",
        "hard: this mailbox or domain is dead for good, for any sender. soft: nothing is said against it. block: refused "
        "for who sends or what is sent. Nothing temporary, and nothing before RCPT, is ever taken for hard."),
    ROW_NAMES(scope, "scope", RULE_RECIPIENT, RULE_FROM_DOMAIN, rule_scope_names, "recipient", NULL,
        "To whom the action applies; lane is this source at this ISP, from-domain who the mail is from, at this ISP."),
    ROW_NAMES(action, "action", RULE_NONE, RULE_SUPPRESS, rule_action_names, "none", NULL,
        "What is done: retry after wait, or when the text says; slow the rate to factor percent; connections at most, or "
        "factor percent of those; pause for wait; probe: nothing for wait, then one connection; other-source: those of "
        "the pool's other sources take over; hold until people see to it; learn how many messages a connection may bring; "
        "suppress the address."),
    ROW(RULE(wait), "wait", CONFIG_DURATION, 0, 30 * DAY, "0s", "not said",
        "How long the action lasts; for retry, and with defer, when the recipient's turn comes again."),
    ROW(RULE(factor), "factor", CONFIG_COUNT, 0, 99, "0", "not said", "For slow and connections: to how many percent."),
    ROW(RULE(connections), "connections", CONFIG_COUNT, 0, 10000, "0", "not said", "For connections: at most so many."),
    ROW(RULE(defer), "defer", CONFIG_BOOL, 0, 1, "no", NULL,
        "The ISP says 5yz and means later: the recipient is deferred."),
    ROW(RULE(alert), "alert", CONFIG_BOOL, 0, 1, "no", NULL, "People are told."),
};
/* clang-format on */

const struct config_row *config_rows(size_t *count)
{
    *count = countof(table);
    return table;
}

const struct config_row *config_row_find(enum config_scope scope, const char *name)
{
    for (size_t i = 0; i < countof(table); i++) {
        bool provider = scope == CONFIG_ISP || scope == CONFIG_RELAY;
        bool here = table[i].scope == scope || (provider && table[i].scope == CONFIG_TOTAL) ||
                    ((provider || scope == CONFIG_SOURCE) && table[i].scope == CONFIG_LIMITS);
        if (here && strcmp(table[i].name, name) == 0)
            return &table[i];
    }
    return NULL;
}
