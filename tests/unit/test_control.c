/* What is said by hand goes through Redis and comes back the same; what nobody understands stops rather than goes. */
#include "store/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void assert_slice(struct slice got, const char *wanted)
{
    char text[CONTROL_VALUE_MAX];
    slice_copy(text, sizeof text, got);
    assert_string_equal(text, wanted);
}

static void scopes(void **unused)
{
    static const struct {
        const char *text;
        enum control_scope scope;
        const char *name, *isp;
    } good[] = {
        {"isp:gmail", CONTROL_ISP, "gmail", ""},  {"isp:mx:mx1.x.example", CONTROL_ISP, "mx:mx1.x.example", ""},
        {"source:s0", CONTROL_SOURCE, "s0", ""},  {"lane:2001:db8::1/gmail", CONTROL_LANE, "2001:db8::1", "gmail"},
        {"lane:s/a/b", CONTROL_LANE, "s", "a/b"}, {"campaign:c-1", CONTROL_CAMPAIGN, "c-1", ""},
        {"pool:p", CONTROL_POOL, "p", ""}};
    static const char *const bad[] = {"",       "isp",     "isp:",    "gmail", "ISP:gmail",
                                      "lane:s", "lane:/x", "lane:s/", "lane:", " isp:x"};
    (void)unused;
    for (size_t i = 0; i < countof(good); i++) {
        struct control_entry entry;
        assert_true(control_scope_parse(slice_of(good[i].text), &entry));
        assert_int_equal(entry.scope, good[i].scope);
        assert_slice(entry.name, good[i].name);
        assert_slice(entry.isp, good[i].isp);
    }
    for (size_t i = 0; i < countof(bad); i++) {
        struct control_entry entry;
        assert_false(control_scope_parse(slice_of(bad[i]), &entry));
    }
    char longest[CONTROL_SCOPE_MAX + 2];
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "isp:", 4);
    struct control_entry entry;
    assert_false(control_scope_parse((struct slice){longest, CONTROL_SCOPE_MAX + 1}, &entry));
    assert_true(control_scope_parse((struct slice){longest, CONTROL_SCOPE_MAX}, &entry));
}

static void there_and_back(void **unused)
{
    char reason[CONTROL_REASON_MAX + 50], by[CONTROL_BY_MAX + 20], value[CONTROL_VALUE_MAX];
    (void)unused;
    memset(reason, 'r', sizeof reason);
    memset(by, 'b', sizeof by);
    const struct control_entry said[] = {
        {.kind = CONTROL_PAUSE, .at_ms = 1, .by = SLICE("ann@desk"), .reason = SLICE("two words  and a third ")},
        {.kind = CONTROL_PAUSE,
         .until_ms = 1793520000000,
         .at_ms = 1793510000000,
         .by = SLICE("x"),
         .reason = SLICE("")},
        {.kind = CONTROL_SLOW,
         .percent = 1,
         .until_ms = INT64_MAX / NSEC_PER_MS,
         .by = SLICE("x"),
         .reason = SLICE("y")},
        {.kind = CONTROL_SLOW, .percent = 99, .by = {by, sizeof by}, .reason = {reason, sizeof reason}}};
    for (size_t i = 0; i < countof(said); i++) {
        struct control_entry read;
        size_t n = control_write(&said[i], value);
        assert_true(control_parse(SLICE("isp:x"), (struct slice){value, n}, &read));
        assert_int_equal(read.kind, said[i].kind);
        assert_int_equal(read.percent, said[i].percent);
        assert_int_equal(read.until_ms, said[i].until_ms);
        assert_int_equal(read.at_ms, said[i].at_ms);
        assert_int_equal(read.by.n, said[i].by.n < CONTROL_BY_MAX ? said[i].by.n : CONTROL_BY_MAX);
        assert_int_equal(read.reason.n, said[i].reason.n < CONTROL_REASON_MAX ? said[i].reason.n : CONTROL_REASON_MAX);
        assert_memory_equal(read.reason.p, said[i].reason.p, read.reason.n);
    }
}

static void what_nobody_understands(void **unused)
{
    static const char *const values[] = {"",
                                         "pause",
                                         "slow",
                                         "go 0 0 0 x ",
                                         "slow 0 0 0 x ",
                                         "slow 100 0 0 x ",
                                         "slow -5 0 0 x ",
                                         "pause 0 -1 0 x ",
                                         "pause 0 99999999999999999999 0 x ",
                                         "pause 0 x 0 x ",
                                         "slow 5",
                                         "slow 5 0",
                                         "  pause 0 0 0"};
    (void)unused;
    for (size_t i = 0; i < countof(values); i++) {
        struct control_entry entry;
        assert_true(control_parse(SLICE("isp:x"), slice_of(values[i]), &entry));
        assert_int_equal(entry.kind, CONTROL_PAUSE);
        assert_int_equal(entry.until_ms, 0);
        assert_int_equal(entry.scope, CONTROL_ISP);
    }
    struct control_entry entry;
    assert_false(control_parse(SLICE("everything"), SLICE("pause 0 0 0 x "), &entry));
}

static void the_word_that_wakes(void **unused)
{
    (void)unused;
    assert_true(store_control_woken(SLICE(":control")));
    assert_false(store_control_woken(SLICE("control"))); /* a campaign may be called so */
    assert_false(store_control_woken(SLICE("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scopes),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(what_nobody_understands),
        cmocka_unit_test(the_word_that_wakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
