/* What Redis says of itself, and which promise that breaks: no row is told for nothing, and none is passed over. */
#include "store/promises.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const char good_info[] =
    "# Server\r\nredis_version:7.0.15\r\nrun_id:1\r\n# Memory\r\nused_memory:900\r\nmaxmemory:0\r\n"
    "maxmemory_human:0B\r\nmaxmemory_policy:noeviction\r\n# Persistence\r\naof_enabled:1\r\n"
    "aof_last_write_status:ok\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n";

/* The good one with one line in another's place, and settings as "name value" pairs. */
static unsigned judge(const char *instead_of, const char *line, const char *const *settings, unsigned count)
{
    struct promises p = {0};
    struct slice items[16];
    char info[1024];
    const char *at = instead_of ? strstr(good_info, instead_of) : NULL;
    if (at)
        snprintf(info, sizeof info, "%.*s%s%s", (int)(at - good_info), good_info, line, at + strlen(instead_of));
    else
        snprintf(info, sizeof info, "%s", good_info);
    assert_true(!instead_of || at);
    promises_info(&p, slice_of(info));
    for (unsigned i = 0; i < count; i++)
        items[i] = slice_of(settings[i]);
    if (count)
        promises_settings(&p, items, count);
    return promises_judge(&p);
}

static const char *const always[] = {"appendonly", "yes", "appendfsync", "always", "no-appendfsync-on-rewrite", "no"};

static void what_info_says(void **state)
{
    static const struct {
        const char *instead_of, *line;
        unsigned broken;
    } rows[] = {
        {NULL, NULL, 0},
        {"redis_version:7.0.15", "redis_version:6.2.1", PROMISE_VERSION},
        {"redis_version:7.0.15", "redis_version:10.0.1", 0},
        {"role:master", "role:slave", PROMISE_REPLICA},
        {"aof_last_write_status:ok", "aof_last_write_status:err", PROMISE_WRITE_FAILS},
        {"connected_slaves:0", "connected_slaves:2", PROMISE_FAILOVER},
        {"maxmemory_policy:noeviction", "maxmemory_policy:allkeys-lru", 0}, /* without a limit nothing is thrown away */
        {"maxmemory:0\r\nmaxmemory_human:0B\r\nmaxmemory_policy:noeviction",
         "maxmemory:1000\r\nmaxmemory_policy:volatile-lru", PROMISE_EVICTS},
        {"maxmemory:0", "maxmemory:1000", 0},
    };
    (void)state;
    for (size_t i = 0; i < countof(rows); i++)
        assert_int_equal(judge(rows[i].instead_of, rows[i].line, always, countof(always)), rows[i].broken);
}

static void what_settings_say(void **state)
{
    static const struct {
        const char *file, *sync, *on_rewrite;
        unsigned broken;
    } rows[] = {
        {"yes", "always", "no", 0},
        {"yes", "everysec", "no", PROMISE_EVERYSEC},
        {"yes", "no", "no", PROMISE_NO_SYNC},
        {"yes", "everysec", "yes", PROMISE_EVERYSEC | PROMISE_NO_SYNC_ON_REWRITE},
        {"yes", "always", "yes", PROMISE_NO_SYNC_ON_REWRITE},
        {"yes", "no", "yes", PROMISE_NO_SYNC},
        {"no", "everysec", "yes", PROMISE_NO_FILE},
    };
    (void)state;
    for (size_t i = 0; i < countof(rows); i++) {
        const char *const settings[] = {
            "appendfsync", rows[i].sync, "no-appendfsync-on-rewrite", rows[i].on_rewrite, "appendonly", rows[i].file,
            "maxmemory",   "1000",       "maxmemory-policy",          "noeviction"};
        assert_int_equal(judge(NULL, NULL, settings, countof(settings)), rows[i].broken);
    }
}

static void what_is_not_told(void **state)
{
    static const char *const no_file[] = {"appendonly", "no"};
    struct promises p = {0};
    (void)state;
    assert_int_equal(promises_judge(&p), PROMISE_UNTOLD);
    assert_int_equal(judge(NULL, NULL, NULL, 0), PROMISE_SYNC_UNTOLD);
    assert_int_equal(judge("aof_enabled:1", "aof_enabled:0", NULL, 0), PROMISE_NO_FILE);
    assert_int_equal(judge("aof_enabled:1", "x:1", NULL, 0), PROMISE_SYNC_UNTOLD);
    /* INFO alone is refused. */
    struct slice items[] = {slice_of(no_file[0]), slice_of(no_file[1])};
    promises_settings(&p, items, countof(items));
    assert_int_equal(promises_judge(&p), PROMISE_NO_FILE);
}

static void each_has_words(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PROMISE_COUNT; i++) {
        struct promise_words words = promise_words(1U << i);
        assert_true(words.what && words.breaks && words.set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_info_says),
        cmocka_unit_test(what_settings_say),
        cmocka_unit_test(what_is_not_told),
        cmocka_unit_test(each_has_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
