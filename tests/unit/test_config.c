/* test_config.c - every key's limits, every refusal with its line, and a print that reads back as itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/policy/bounce.h"

#include "config_judge.h"
#include "gathered.h"
#include "control/config_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- every row ---- */

/* What else a relay needs so that this row alone decides. */
static const char *relay_around(const struct config_row *row)
{
    if (strcmp(row->name, "host") == 0)
        return "relay x { ";
    if (strcmp(row->name, "auth_plain_text") == 0)
        return "relay x { host = h.example tls = off ";
    if (strcmp(row->name, "user") == 0)
        return "relay x { host = h.example auth = plain password_file = /x ";
    if (strcmp(row->name, "password_file") == 0)
        return "relay x { host = h.example auth = plain user = u ";
    if (strcmp(row->name, "token_file") == 0)
        return "relay x { host = h.example auth = xoauth2 user = u ";
    return "relay x { host = h.example ";
}

/* Rows of which not every value makes sense by itself; what they go with is tested where refusals are. */
static bool goes_with_others(const struct config_row *row)
{
    if (row->scope == CONFIG_DKIM)
        return strcmp(row->name, "domain") == 0 || strcmp(row->name, "expire") == 0;
    static const char *const others[] = {"auth", "warmup", "zone", "kind", "start", "step", "max", "then"};
    for (size_t i = 0; i < countof(others); i++)
        if (strcmp(row->name, others[i]) == 0)
            return true;
    return row->scope == CONFIG_ROUTE || row->scope == CONFIG_RULE;
}

/* A file with `assignment` on line 3, in the section where the row stands. */
static void file_with(const struct config_row *row, const char *assignment, char *text, size_t cap)
{
    const char *hostname = strcmp(row->name, "hostname") == 0 ? "" : "hostname = h.example";
    const char *before = "", *after = "";
    switch (row->scope) {
    case CONFIG_LIMITS:
        before = "isp x { mx = mx.x.example ";
        after = " }";
        break;
    case CONFIG_ISP:
        before = strcmp(row->name, "mx") == 0 ? "isp x { " : "isp x { mx = mx.x.example ";
        after = " }";
        break;
    case CONFIG_TOTAL:
        before = "isp x { mx = mx.x.example ";
        after = " }";
        break;
    case CONFIG_SOURCE:
        before = strcmp(row->name, "since") == 0 || strcmp(row->name, "overflow") == 0
                     ? "pool p { source 127.0.0.1 { warmup = ses "
                     : "pool p { source 127.0.0.1 { ";
        after = " } }";
        break;
    case CONFIG_RELAY:
        before = relay_around(row);
        after = " }";
        break;
    case CONFIG_ROUTE:
        before = strcmp(row->name, "relay") == 0 ? "route { " : "route { relay = none ";
        after = " }";
        break;
    case CONFIG_RULE: /* what else it needs: test_rules.c */
        before = "rule x { text = a class = other kind = soft ";
        after = " }";
        break;
    case CONFIG_SUPPRESS:
        before = "suppress hard { ";
        after = " }";
        break;
    case CONFIG_DKIM:
        before = strcmp(row->name, "selector") == 0 ? "dkim x.example { key = /x "
                 : strcmp(row->name, "key") == 0    ? "dkim x.example { selector = s "
                                                    : "dkim x.example { selector = s key = /x ";
        after = " }";
        break;
    case CONFIG_WARMUP:
        before = strcmp(row->name, "caps") == 0 ? "warmup x { " : "warmup x { caps = 5 ";
        after = " }";
        break;
    default:
        break;
    }
    snprintf(text, cap, "%s\n# a comment\n%s%s%s\n", hostname, before, assignment, after);
}

/* The text of a number of this row's type; false: the type has no numbers between limits. */
static bool number_text(const struct config_row *row, int64_t number, char *text, size_t cap)
{
    switch (row->type) {
    case CONFIG_COUNT:
    case CONFIG_BIG_COUNT:
    case CONFIG_PORT:
        snprintf(text, cap, "%" PRId64, number);
        return true;
    case CONFIG_SIZE:
        snprintf(text, cap, "%" PRId64 "B", number);
        return true;
    case CONFIG_DURATION:
    case CONFIG_DELAYS:
        snprintf(text, cap, "%" PRId64 "ms", number / NSEC_PER_MS);
        return true;
    case CONFIG_SECONDS:
        snprintf(text, cap, "%" PRId64 "s", number / NSEC_PER_S);
        return true;
    case CONFIG_RATE:
        snprintf(text, cap, "%" PRId64 "/h", number);
        return true;
    default:
        return false;
    }
}

static int64_t step_of(const struct config_row *row)
{
    switch (row->type) {
    case CONFIG_DURATION:
    case CONFIG_DELAYS:
        return NSEC_PER_MS;
    case CONFIG_SECONDS:
        return NSEC_PER_S;
    default:
        return 1;
    }
}

static void row_refuses(const struct config_row *row, const char *value)
{
    char assignment[8192], file[9000], allowed[512];
    snprintf(assignment, sizeof assignment, "%s = \"%s\"", row->name, value);
    file_with(row, assignment, file, sizeof file);
    config_row_allowed(row, allowed, sizeof allowed);
    refused_at(file, "dir/x.conf:3: ", row->name);
    refused_at(file, "dir/x.conf:3: ", allowed);
}

static void row_accepts(const struct config_row *row, const char *value)
{
    char assignment[8192], file[9000];
    snprintf(assignment, sizeof assignment, "%s = \"%s\"", row->name, value);
    file_with(row, assignment, file, sizeof file);
    config_free(accepted(file));
}

static void numbers_hold(void **state)
{
    size_t count, numeric = 0;
    const struct config_row *rows = config_rows(&count);
    char text[64];
    (void)state;
    for (size_t i = 0; i < count; i++) {
        const struct config_row *row = &rows[i];
        if (!number_text(row, row->min, text, sizeof text) || row->scope == CONFIG_RULE)
            continue;
        numeric++;
        if (!goes_with_others(row)) {
            row_accepts(row, text);
            number_text(row, row->max, text, sizeof text);
            row_accepts(row, text);
        }
        number_text(row, row->max + step_of(row), text, sizeof text);
        row_refuses(row, text);
        if (row->min > 0) {
            number_text(row, row->min - step_of(row), text, sizeof text);
            row_refuses(row, text);
        }
        static const char *const wrong[] = {
            "",   "many", "-1",   "1.5", " 1",  "1 ",  "0x10", "99999999999999999999", "1yr", "1/", "1/fortnight",
            "/s", "1s1s", "1s1h", "ms",  "1,2", "1mib"};
        for (size_t j = 0; j < countof(wrong); j++)
            row_refuses(row, wrong[j]);
    }
    assert_true(numeric > 20);
}

static void words_hold(void **state)
{
    size_t count;
    const struct config_row *rows = config_rows(&count);
    (void)state;
    for (size_t i = 0; i < count; i++) {
        if (rows[i].scope == CONFIG_RULE) /* its rows are tested in test_rules.c */
            continue;
        if (rows[i].type == CONFIG_BOOL) {
            static const char *const good[] = {"yes", "no", "true", "FALSE", "on", "off"};
            for (size_t j = 0; j < countof(good) && strncmp(rows[i].name, "ipv", 3) != 0; j++)
                row_accepts(&rows[i], good[j]);
            row_refuses(&rows[i], "maybe");
            row_refuses(&rows[i], "1");
            row_refuses(&rows[i], "");
        } else if (rows[i].type == CONFIG_WORD) {
            for (int64_t word = rows[i].min; word <= rows[i].max && !goes_with_others(&rows[i]); word++)
                row_accepts(&rows[i], rows[i].words[word]);
            row_refuses(&rows[i], "INFO");
            row_refuses(&rows[i], "trace");
            row_refuses(&rows[i], "verify");
            row_refuses(&rows[i], "");
        }
    }
}

static void texts_hold(void **state)
{
    size_t count, textual = 0;
    const struct config_row *rows = config_rows(&count);
    char longer[4096];
    (void)state;
    for (size_t i = 0; i < count; i++) {
        const struct config_row *row = &rows[i];
        if (row->type < CONFIG_TEXT || row->type == CONFIG_DELAYS || row->scope == CONFIG_RULE)
            continue;
        textual++;
        row_refuses(row, "a b\\x01c");
        if (row->type != CONFIG_TEXT)
            row_refuses(row, "one two");
        if (row->min > 0)
            row_refuses(row, "");
        memset(longer, 'a', sizeof longer);
        if (row->type == CONFIG_URL)
            memcpy(longer, "cluster://", 10);
        if (row->type == CONFIG_PATH)
            longer[0] = '/';
        for (size_t at = 60; at < sizeof longer; at += 60)
            if (row->type == CONFIG_HOST || row->type == CONFIG_EHLO || row->type == CONFIG_SUFFIXES)
                longer[at] = '.';
        for (size_t at = 100; at < sizeof longer; at += 100)
            if (row->type == CONFIG_URL)
                longer[at] = ',';
        longer[row->max + 1] = 0;
        row_refuses(row, longer);
        longer[row->max] = 0;
        if (row->type != CONFIG_AT && row->type != CONFIG_SERVERS && strcmp(row->name, "default_pool") != 0 &&
            !goes_with_others(row))
            row_accepts(row, longer);
    }
    assert_true(textual >= 8);
}

static void nothing_twice(void **state)
{
    size_t count;
    const struct config_row *rows = config_rows(&count);
    (void)state;
    for (size_t i = 0; i < count; i++) {
        if (rows[i].scope == CONFIG_RULE)
            continue;
        const char *value = rows[i].fallback;
        char item[64], twice[256], file[512], where[64];
        if (!value)
            value = rows[i].type == CONFIG_PATH                                      ? "/x"
                    : rows[i].type == CONFIG_BOOL                                    ? "yes"
                    : rows[i].type == CONFIG_DATE                                    ? "2026-11-01"
                    : rows[i].type == CONFIG_FACTOR                                  ? "1.5"
                    : rows[i].type == CONFIG_CAPS || rows[i].type == CONFIG_COUNT    ? "5"
                    : rows[i].type == CONFIG_WORD && rows[i].scope == CONFIG_WARMUP ? "none"
                                                                                     : "x.example";
        slice_copy(item, sizeof item, (struct slice){value, strcspn(value, ",")});
        snprintf(twice, sizeof twice, "%s = \"%s\"\n\n%s = \"%s\"", rows[i].name, item, rows[i].name, item);
        snprintf(where, sizeof where, "%s is given twice; the first time at dir/x.conf:3", rows[i].name);
        file_with(&rows[i], twice, file, sizeof file);
        refused_at(file, "dir/x.conf:5: ", where);
    }
}

/* ---- what is refused ---- */

static void refusals_name_the_line(void **state)
{
    static const struct {
        const char *text, *line, *what;
    } cases[] = {
        {"shard = 1", "1", "no such option 'shard'; allowed here: redis, redis_ca"},
        {"\nisp x { mx = a.example\n rates = 1/s }", "3", "no such option 'rates'; allowed here: mx, reply_line, total.connections"},
        {"pool p { ehlo = x }", "1", "allowed here: source"},
        {"source 127.0.0.1 { ehlo = x.example }", "1", "no such option 'source'"},
        {"\"isp|mx\" = a.example", "1", "no sub-section"},
        {"isp x { mx = a.example }\n\"isp|mx\" = b.example", "2", "no such option 'mx'"},
        {"# 1\n// 2\n/* 3\n4 */ # 4\nrate = 1/s", "5", "no such option 'rate'"},
        {"\r\nshards = 300\r\n", "2", "a whole number from 0 to 256"},
        {"pool p { }", "1", "pool p has 0 sources; it has from 1 to 64"},
        {"pool p {\n}\n", "2", "pool p has 0 sources"},
        {"pool p { source x { ehlo = m.example } }", "1", "source x is no address"},
        {"pool p { source /tmp/x { ehlo = m.example } }", "1", "is no address"},
        {"pool p { source 127.0.0.1 { } }", "1", "source 127.0.0.1 has no ehlo"},
        {"pool p { source 127.0.0.1 { ehlo = a.example }\nsource 127.0.0.1 { ehlo = a.example } }", "2",
         "duplicate title '127.0.0.1'"},
        {"pool p { source 127.0.0.1 { ehlo = a.example }\nsource 127.0.0.2 { ehlo = b.example name = 127.0.0.1 } }",
         "2", "two sources have the name 127.0.0.1"},
        {"pool p { source ::1 { ehlo = a.example }\nsource 0:0:0:0:0:0:0:1 { ehlo = a.example } }", "2",
         "source 0:0:0:0:0:0:0:1 is twice in pool p"},
        {"pool p { source 127.0.0.1 { ehlo = a.example } }\npool p { source 127.0.0.2 { ehlo = b.example } }", "2",
         "duplicate title 'p'; each name may be given once"},
        {"pool p { source 127.0.0.1 { ehlo = a.example } }\npool q { source 127.0.0.1 { ehlo = b.example } }", "2",
         "has other settings in another pool (name 127.0.0.1, ehlo a.example)"},
        {"pool \"a b\" { source 127.0.0.1 { ehlo = a.example } }", "1", "is no name of a pool"},
        {"isp \"\" { mx = a.example }", "1", "is no name of an isp"},
        {"isp x { mx = a.example }\nisp x { mx = b.example }", "2", "duplicate title 'x'"},
        {"isp x { }", "1", "isp x has no mx"},
        {"isp x {\n mx = {}\n}", "3", "mx is an empty list"},
        {"isp x { mx = a.example retry = {} }", "1", "retry is an empty list"},
        {"isp x { mx = {.A.example} }\nisp y { mx = {b.example,\n .a.example} }", "3", "isp x and of isp y"},
        {"isp x { mx = {a.example, a.example} }", "1", "it belongs to one, once"},
        {"isp x { mx = {*.a.example} }", "1", "a suffix of host names is written .example.com"},
        {"isp x { mx = {.} }", "1", "a suffix of host names such as .example.com"},
        {"isp x { mx = a.example retry = {1m, 2parsecs} }", "1", "retry = \"2parsecs\""},
        {"isp x { mx = a.example retry = {1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,"
         "1m,1m,1m,1m,1m,1m,1m,1m} }",
         "1", "retry has more than 32 items"},
        {"defaults { }\ndefaults { }", "2", "defaults is given twice"},
        {"relay none { host = h.example }", "1", "none stands for no relay"},
        {"relay \"a b\" { host = h.example }", "1", "is no name of a relay"},
        {"isp x { mx = a.example }\nrelay x {\nhost = h.example }", "3", "an isp has this name"},
        {"relay x {\n port = 25\n}", "3", "it has no host"},
        {"relay x { host = h.example mx = a.example }", "1", "no such option 'mx'; allowed here: host, port"},
        {"relay x { host = h.example }\nrelay x { host = i.example }", "2", "duplicate title 'x'"},
        {"relay x { host = h.example\nuser = u }", "2", "auth is none, so this is of no use"},
        {"relay x { host = h.example\npassword_file = /x }", "2", "auth is none, so this is of no use"},
        {"relay x { host = h.example\nauth = plain }", "2", "auth needs a user"},
        {"relay x { host = h.example user = u\nauth = login }", "2", "plain and login need a password_file"},
        {"relay x { host = h.example user = u\nauth = xoauth2 }", "2", "xoauth2 needs a token_file"},
        {"relay x { host = h.example user = u auth = xoauth2\npassword_file = /x }", "2", "xoauth2 takes a token_file"},
        {"relay x { host = h.example user = u auth = plain\ntoken_file = /x }", "2", "only xoauth2 takes a token"},
        {"relay x { host = h.example user = u auth = plain password_file = x }", "1", "an absolute path"},
        {"relay x { host = h.example user = u auth = plain password_file = /x\ntls = off }", "2",
         "auth without TLS shows the secret to whoever listens; auth_plain_text = yes allows it"},
        {"relay x { host = h.example user = u auth = plain password_file = /x\ntls = opportunistic }", "2",
         "in plain text; set tls = verified or required"},
        {"relay x { host = h.example\nauth_plain_text = yes }", "2", "this is for tls = off"},
        {"relay x { host = h.example port = 465\ntls = off }", "2", "TLS from the first byte"},
        {"route { pool = p\n}", "2", "it has no relay"},
        {"route {\nrelay = x }", "2", "x is no relay of this configuration"},
        {"route { relay = none\npool = p }", "2", "p is no pool of this configuration"},
        {"route { relay = none\ndomain = {} }", "2", "domain is an empty list"},
        {"route { relay = none\ndomain = {*} }", "2", "a suffix of host names"},
        {"route a { relay = none }", "1", "missing opening brace"},
        {"suppress policy-related { after = 1 }", "1", "it is one of hard, bad-mailbox"},
        {"suppress Hard { after = 1 }", "1", "there is no such class"},
        {"suppress other { after = 1001 }", "1", "from 0 to 1000"},
        {"suppress other { after = 1 }\nsuppress other { after = 2 }", "2", "duplicate title"},
        {"dkim x.example {\nkey = /k\n}", "3", "it has no selector"},
        {"dkim x.example {\nselector = s\n}", "3", "it has no key"},
        {"dkim x.example { selector = s\nkey = k }", "2", "an absolute path"},
        {"dkim \"a b\" { selector = s key = /k }", "1", "is no name of a dkim"},
        {"dkim x:y {\nselector = s key = /k }", "2", "its name is no domain"},
        {"dkim com {\nselector = s key = /k }", "2", "a single label"},
        {"dkim x { selector = s key = /k\ndomain = com }", "2", "a single label"},
        {"dkim x.example { selector = s key = /k\nexpire = 59m }", "2", "less than 1h"},
        {"dkim x.example { selector = s key = /k }\ndkim x.example { selector = t key = /k }", "2", "duplicate title"},
        {"dkim a { domain = x.example selector = s key = /k }\ndkim b { domain = X.example selector = s\nkey = /l }",
         "3", "dkim a has the same domain and selector"},
        {"dkim x.example { selector = s key = /k }\ndkim b { always = yes domain = b.example selector = s key = /k }\n"
         "dkim c { always = yes domain = c.example selector = s key = /k }\n"
         "dkim d { always = yes domain = d.example selector = s key = /k }\n"
         "dkim e { always = yes domain = e.example selector = s key = /k }",
         "1", "more than 4 times"},
        {"http = 0.0.0.0:80", "1", "set http_public = yes"},
        {"http = 127.0.0.1", "1", "address:port"},
        {"\nhttp = 127.0.0.1:0", "2", "address:port"},
        {"default_pool = p", "1", "is no pool of this file"},
        {"ipv4 = no\nipv6 = no", "2", "one is needed"},
        {"resolver = \"127.0.0.1,\"", "1", "addresses with or without a port"},
        {"resolver = ns.example", "1", "addresses with or without a port"},
        {"redis = \"http://x\"", "1", "unix:/path, redis://"},
        {"redis = unix:relative", "1", "unix:/path, redis://"},
        {"prefix = sluice\n/* never\nends", "2", "a comment begins here that never ends"},
        {"\nprefix = \"open\nshards = 1", "2", "no closing quote"},
        {"prefix = 'open", "1", "no closing quote"},
        {"prefix = \"${open\"", "1", "has no }"},
        {"prefix = \"\\400\"", "1", "octal"},
        {"prefix = a\x01"
         "b",
         "1", "control character"},
        {"prefix = a + b", "1", "stand in quotes only"},
        {"prefix sluice", "1", "missing equal sign"},
        {"prefix = {a}", "1", "unexpected token"},
        {"isp x {\n mx = a.example\n", "1", "a { stands here that no } closes"},
        {"{ { { { { { { { {", "1", "nested too deeply"},
        {"shards =", "2", "premature end of file"},
        {"}", "1", "unexpected closing brace"},
        {"pool { }", "1", "missing title"},
        {"include = nowhere.conf", "1", "there is no file dir/nowhere.conf"},
        {"include = \"\"", "1", "names no file"},
        {"\"\" = 1", "1", "not the syntax"},
    };
    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        char where[64];
        snprintf(where, sizeof where, "dir/x.conf:%s: ", cases[i].line);
        refused_at(cases[i].text, where, cases[i].what);
        config_free(accepted("shards = 1")); /* and the lexer forgets the broken text */
    }
}

static void a_file_that_is_none(void **state)
{
    char error[ERROR_CAP];
    (void)state;
    assert_null(config_load("/nonexistent/sluice.conf", error, sizeof error));
    assert_string_equal(error, "/nonexistent/sluice.conf: cannot be read: No such file or directory");
    assert_null(config_load("/", error, sizeof error));
    assert_string_equal(error, "/: cannot be read: it is no file");
    char tiny[8]; /* an error is cut, never overrun */
    assert_null(config_load("/nonexistent", tiny, sizeof tiny));
    assert_int_equal(strlen(tiny), sizeof tiny - 1);
    struct slice zeros = {"prefix = \0", 10};
    assert_null(config_parse("x", zeros, error, sizeof error));
    assert_non_null(strstr(error, "x:1: there is a control character"));
}

/* ---- what comes out ---- */

static void empty_is_the_defaults(void **state)
{
    struct config *config = accepted("");
    (void)state;
    assert_string_equal(config->redis, "");
    assert_string_equal(config->prefix, "sluice");
    assert_true(config->engine[0] && config->hostname[0] && config->state_dir[0] == '/');
    assert_true(config->shards >= 1);
    assert_int_equal(config->smtp_port, 25);
    assert_string_equal(config->http, "127.0.0.1:9125");
    assert_int_equal(config->keep_s, 30 * 24 * 3600);
    assert_int_equal(config->events_max, 10000000);
    assert_int_equal(config->press_bytes, 64 << 20);
    assert_int_equal(config->log_level, LOG_LEVEL_INFO);
    assert_int_equal(config->dkim_engine, CONFIG_DKIM_AUTO);
    assert_true(config->suppression && config->suppress_count == 0);
    assert_true(config->ipv4 && config->ipv6 && !config->http_public);
    assert_true(config->mta_sts && config->dane && config->sts_port == 443);
    const struct config_limits *limits = config_limits_for(config, SLICE("nobody"));
    assert_ptr_equal(limits, &config->defaults);
    assert_int_equal(limits->connections, 10);
    assert_int_equal(limits->rate, 0);
    assert_int_equal(limits->burst, 1);
    assert_int_equal(limits->retry_count, 5);
    assert_int_equal(limits->retry[4], 4 * 3600 * NSEC_PER_S);
    assert_int_equal(limits->expire, 72 * 3600 * NSEC_PER_S);
    assert_int_equal(limits->timeout_body, 600 * NSEC_PER_S);
    assert_true(limits->pipelining && limits->across);
    assert_int_equal(config->pool_count, 0);
    assert_null(config_pool_find(config, SLICE("p")));
    config_free(config);
}

static const char whole[] =
    "redis = 'redis://:pa$word@redis.example:6379/2'\n"
    "engine = one hostname = h.example state_dir = /tmp/x shards = 3 sessions_max = 100 press_bytes = 1500KiB\n"
    "resolver = \"127.0.0.1:5353, ::1, [::1]:53\" resolver_timeout = 250ms resolver_tries = 1 smtp_port = 2525\n"
    "ipv6 = off http = \"[::1]:80\" shutdown = 1m30s poll = 1s500ms keep = 1d1s default_pool = q log_level = debug "
    "dkim_engine = openssl suppression = off suppress hard { after = 2 } suppress other { after = 0 within = 30d }\n"
    "defaults { rate = 7/day connections = 2 idle = 0 chunking = {.one.example, mx.two.example} in_flight = 8 }\n"
    "pool p { source 127.0.0.1 { ehlo = m1.example } source ::1 { name = six ehlo = [IPv6:::1] } }\n"
    "pool q { source 0:0:0:0:0:0:0:1 { name = six ehlo = [IPv6:::1] } source 127.0.0.3 { } }\n"
    "isp a { mx = {.A.example, mx.a.example} mx += {.b.example} rate = 500/min burst = 5 }\n"
    "isp b { mx = .sub.a.example rate = none retry = 10ms pipelining = no expire = 90d chunking = .sub.a.example }\n"
    "relay s { host = smtp.s.example auth = plain user = \"a \\\"b\\\"\" password_file = /run/s rate = 14/s\n"
    "          chunking = {smtp.s.example} }\n"
    "relay t { host = smtp.t.example port = 465 auth = xoauth2 user = u token_file = /run/t tls = required }\n"
    "relay u { host = smtp.u.example port = 25 tls = off auth = login user = u password_file = /run/u\n"
    "          auth_plain_text = yes implicit_tls = no }\n"
    "route { domain = {x.example, .Y.example} relay = none }\n"
    "route { pool = q relay = t }\nroute { relay = s }\n"
    "dkim Shop.Example { selector = s1 key = /etc/s1.pem }\n"
    "dkim ours { domain = esp.example selector = a.b key = /k always = yes ed25519 = yes expire = 7d enabled = no }\n";

static void sections_become_structs(void **state)
{
    struct config *config = accepted(whole);
    (void)state;
    assert_int_equal(config->dkim_engine, CONFIG_DKIM_OPENSSL);
    assert_true(!config->suppression && config->suppress_count == 2);
    assert_true(config->suppresses[0].class_ == 0 && config->suppresses[0].after == 2);
    assert_true(config->suppresses[0].within == 14 * 24 * 3600 * NSEC_PER_S);
    assert_true(config->suppresses[1].class_ == BOUNCE_OTHER && config->suppresses[1].after == 0);
    assert_int_equal(config->source_count, 3);
    assert_int_equal(config->pool_count, 2);
    const struct config_pool *q = config_pool_find(config, SLICE("q"));
    assert_int_equal(q->source_count, 2);
    assert_int_equal(q->sources[0], 1); /* shared with p */
    assert_string_equal(config->sources[q->sources[1]].ehlo, "h.example");
    assert_string_equal(config->sources[q->sources[1]].name, "127.0.0.3");
    assert_string_equal(config->sources[1].name, "six");
    assert_string_equal(config->sources[1].ehlo, "[IPv6:::1]");
    assert_string_equal(config->redis, "redis://:pa$word@redis.example:6379/2");
    assert_int_equal(config->press_bytes, 1500 * 1024);
    assert_int_equal(config->shutdown, 90 * NSEC_PER_S);
    assert_int_equal(config->keep_s, 24 * 3600 + 1);
    const struct config_limits *a = config_limits_for(config, SLICE("a"));
    assert_int_equal(a->rate, 500);
    assert_int_equal(a->rate_per, 60 * NSEC_PER_S);
    assert_int_equal(a->connections, 2);
    assert_int_equal(a->idle, 0);
    assert_int_equal(config->isps[0].mx_count, 3);
    assert_string_equal(config->isps[0].mx[0], ".a.example");
    assert_string_equal(config->isps[0].mx[2], ".b.example");
    const struct config_limits *b = config_limits_for(config, SLICE("b"));
    assert_int_equal(b->rate, 0);
    assert_int_equal(b->retry_count, 1);
    assert_int_equal(b->retry[0], 10 * NSEC_PER_MS);
    assert_false(b->pipelining);
    const struct config_relay *s = &config->relays[0], *t = &config->relays[1], *u = &config->relays[2];
    assert_int_equal(config->dkim_count, 2);
    assert_string_equal(config->dkims[0].domain, "shop.example");
    assert_string_equal(config->dkims[0].selector, "s1");
    assert_string_equal(config->dkims[0].key, "/etc/s1.pem");
    assert_true(config->dkims[0].enabled && !config->dkims[0].always && !config->dkims[0].ed25519);
    assert_int_equal(config->dkims[0].expire, 0);
    assert_string_equal(config->dkims[1].domain, "esp.example");
    assert_true(!config->dkims[1].enabled && config->dkims[1].always && config->dkims[1].ed25519);
    assert_int_equal(config->dkims[1].expire, 7 * 24 * 3600 * NSEC_PER_S);
    assert_int_equal(config->relay_count, 3);
    assert_ptr_equal(config_limits_for(config, SLICE("s")), &s->limits);
    assert_int_equal(s->limits.tls, CONFIG_TLS_VERIFIED);
    assert_int_equal(s->limits.connections, 2);
    assert_int_equal(s->limits.rate, 14);
    assert_int_equal(s->port, 587);
    assert_int_equal(s->auth, CONFIG_AUTH_PLAIN);
    assert_string_equal(s->user, "a \"b\"");
    assert_string_equal(s->secret_file, "/run/s");
    assert_int_equal(s->line, 10);
    assert_string_equal(s->file, "dir/x.conf");
    assert_false(s->implicit_tls);
    assert_true(t->implicit_tls);
    assert_int_equal(t->limits.tls, CONFIG_TLS_REQUIRED);
    assert_string_equal(t->secret_file, "/run/t");
    assert_true(u->auth_plain_text && !u->implicit_tls);
    assert_int_equal(config->route_count, 3);
    assert_int_equal(config->routes[0].domain_count, 2);
    assert_string_equal(config->routes[0].domains[1], ".y.example");
    assert_int_equal(config->routes[0].relay, -1);
    assert_int_equal(config->routes[0].pool_index, -1);
    assert_int_equal(config->routes[1].pool_index, 1);
    assert_int_equal(config->routes[1].relay, 1);
    assert_int_equal(config->routes[2].domain_count, 0);
    assert_int_equal(config->routes[2].relay, 0);
    assert_int_equal(config->defaults.rate, 7);
    assert_int_equal(config->defaults.rate_per, 24 * 3600 * NSEC_PER_S);
    config_free(config);
}

static void print_is_a_fixpoint(void **state)
{
    static const char *const files[] = {"", whole, "engine = \"${HOME_OF_NOBODY:-a}\"",
                                        "redis = \"redis://u:\\\"\\\\\\$\\{x}'@h\" state_dir = '/a b/\"${HOME}'"};
    (void)state;
    for (size_t i = 0; i < countof(files); i++) {
        struct gathered first = {0}, second = {0};
        struct config *config = accepted(files[i]);
        config_print(config, gather, &first);
        config_free(config);
        config = accepted(first.text);
        config_print(config, gather, &second);
        config_free(config);
        assert_string_equal(first.text, second.text);
        size_t count;
        const struct config_row *rows = config_rows(&count);
        for (size_t j = 0; j < count; j++)
            if ((rows[j].scope == CONFIG_TOP || rows[j].scope == CONFIG_LIMITS) &&
                (rows[j].type != CONFIG_SUFFIXES || files[i] == whole)) /* an empty list is left out */
                assert_non_null(strstr(first.text, rows[j].name));
        free(first.text);
        free(second.text);
    }
}

static void print_hides_passwords(void **state)
{
    static const struct {
        const char *url, *printed;
    } rows[] = {
        {"redis://ann:wo:rd@s@h:1/2", "redis = \"redis://ann:${SLUICE_REDIS_PASSWORD:-hidden}@h:1/2\"\n"},
        {"redis://:words@h", "redis = \"redis://:${SLUICE_REDIS_PASSWORD:-hidden}@h\"\n"},
        {"unix://ann:words@/run/r.sock", "redis = \"unix://ann:${SLUICE_REDIS_PASSWORD:-hidden}@/run/r.sock\"\n"},
        {"unix:///run/a:b@c.sock", "redis = \"unix:///run/a:b@c.sock\"\n"},
        {"redis://h:1", "redis = \"redis://h:1\"\n"},
        {"sentinels://ann:words@h,i:1/m", "redis = \"sentinels://ann:${SLUICE_REDIS_PASSWORD:-hidden}@h,i:1/m\"\n"},
    };
    (void)state;
    for (size_t i = 0; i < countof(rows); i++) {
        char text[128];
        struct gathered printed = {0};
        snprintf(text, sizeof text, "redis = '%s'", rows[i].url);
        struct config *config = accepted(text);
        config_print(config, gather, &printed);
        config_free(config);
        assert_memory_equal(printed.text, rows[i].printed, strlen(rows[i].printed));
        free(printed.text);
    }
    struct gathered printed = {0};
    struct config *config = accepted("redis = 'sentinel://h/m' redis_sentinel_password = 'words and more'");
    assert_string_equal(config->redis_access.sentinel_password, "words and more");
    config_print(config, gather, &printed);
    config_free(config);
    assert_non_null(strstr(printed.text, "redis_sentinel_password = \"${SLUICE_SENTINEL_PASSWORD:-hidden}\"\n"));
    assert_null(strstr(printed.text, "words"));
    free(printed.text);
}

static void variables_are_filled_in(void **state)
{
    (void)state;
    setenv("SLUICE_TEST_PREFIX", "fromenv", 1);
    struct config *config = accepted("prefix = ${SLUICE_TEST_PREFIX} engine = \"a-${SLUICE_TEST_PREFIX}\"");
    assert_string_equal(config->prefix, "fromenv");
    assert_string_equal(config->engine, "a-fromenv");
    config_free(config);
    unsetenv("SLUICE_TEST_PREFIX");
    refused_at("prefix = ${SLUICE_TEST_PREFIX}", "dir/x.conf:1: ", "prefix = \"\"");
}

static void manual_names_every_key(void **state)
{
    struct gathered manual = {0};
    size_t count;
    const struct config_row *rows = config_rows(&count);
    (void)state;
    config_manual(gather, &manual);
    for (size_t i = 0; i < count; i++) {
        char entry[64];
        snprintf(entry, sizeof entry, ".B %s\n", rows[i].name);
        assert_non_null(strstr(manual.text, entry));
        assert_true(rows[i].fallback || rows[i].fallback_doc);
        assert_true(rows[i].doc[strlen(rows[i].doc) - 1] == '.');
    }
    free(manual.text);
}

/* ---- includes ---- */

static void put_file(const char *dir, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void includes_are_followed(void **state)
{
    char dir[] = "/tmp/sluice-config-XXXXXX", path[256], error[ERROR_CAP], where[256];
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/isp", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    put_file(dir, "main.conf", "include = {\"isp/*.conf\", more.conf}\nshards = 1\n");
    put_file(dir, "more.conf", "# here\ninclude = deep.conf\nsmtp_port = 26\n");
    put_file(dir, "deep.conf", "poll = 2s\n");
    put_file(dir, "isp/a.conf", "isp a { mx = .a.example }\n");
    put_file(dir, "isp/b.conf", "isp b { mx = .b.example }\n");
    snprintf(path, sizeof path, "%s/main.conf", dir);
    struct config *config = config_load(path, error, sizeof error);
    assert_non_null(config);
    assert_int_equal(config->isp_count, 2);
    assert_int_equal(config->smtp_port, 26);
    assert_int_equal(config->poll, 2 * NSEC_PER_S);
    config_free(config);

    /* An error names the included file and its line; a key may not come twice from two files. */
    put_file(dir, "deep.conf", "# one\n# two\nshards = 2\n");
    assert_null(config_load(path, error, sizeof error));
    snprintf(where, sizeof where, "%s/deep.conf:3: shards is given twice; the first time at %s/main.conf:2", dir, dir);
    assert_string_equal(error, where);
    put_file(dir, "deep.conf", "\nisp c { mx = .a.example }\n");
    assert_null(config_load(path, error, sizeof error));
    assert_non_null(strstr(error, "deep.conf:2: .a.example is in the mx of isp"));
    put_file(dir, "deep.conf", "include = main.conf\n");
    assert_null(config_load(path, error, sizeof error));
    snprintf(where, sizeof where, "%s/deep.conf:1: %s/main.conf is read already; a file is included once", dir, dir);
    assert_string_equal(error, where);

    static const char *const names[] = {"main.conf", "more.conf", "deep.conf", "isp/a.conf", "isp/b.conf"};
    for (size_t i = 0; i < countof(names); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        assert_int_equal(unlink(path), 0);
    }
    snprintf(path, sizeof path, "%s/isp", dir);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_hold),
        cmocka_unit_test(words_hold),
        cmocka_unit_test(texts_hold),
        cmocka_unit_test(nothing_twice),
        cmocka_unit_test(refusals_name_the_line),
        cmocka_unit_test(a_file_that_is_none),
        cmocka_unit_test(empty_is_the_defaults),
        cmocka_unit_test(sections_become_structs),
        cmocka_unit_test(print_is_a_fixpoint),
        cmocka_unit_test(print_hides_passwords),
        cmocka_unit_test(variables_are_filled_in),
        cmocka_unit_test(manual_names_every_key),
        cmocka_unit_test(includes_are_followed),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
