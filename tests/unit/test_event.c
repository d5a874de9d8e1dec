/* test_event.c - the event codec: names, order, what is left out, and random round trips. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "proto/event.h"

static uint64_t random_state;
static uint64_t random_next(void)
{
    random_state += 0x9e3779b97f4a7c15u;
    uint64_t z = random_state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static struct event full_event(enum event_type type)
{
    return (struct event){.type = type,
                          .seq = 7,
                          .id = SLICE("42"),
                          .to = SLICE("ann@x.example"),
                          .source = SLICE("203.0.113.10"),
                          .isp = SLICE("gmail"),
                          .status = SLICE("2.0.0"),
                          .code = 250,
                          .ms = 31,
                          .started_us = 1700000000123456,
                          .attempt = 1,
                          .final = true,
                          .stage = SLICE("body"),
                          .class_ = SLICE("other"),
                          .kind = SLICE("soft"),
                          .rule = SLICE("r"),
                          .reply = SLICE("OK"),
                          .mx = SLICE("mx.x.example"),
                          .ip = SLICE("192.0.2.1"),
                          .tls = SLICE("TLSv1.3"),
                          .bytes = 4096,
                          .message_id = SLICE("<a@b>"),
                          .next_at_ms = 1700000600000};
}

static void expect_names(const struct event *event, bool full, const char *expected)
{
    struct event_field fields[EVENT_FIELDS_MAX];
    char scratch[EVENT_SCRATCH_MAX], names[512] = "";
    unsigned n = event_fields(event, full, fields, EVENT_FIELDS_MAX, scratch, sizeof(scratch));
    for (unsigned i = 0; i < n; i++) {
        strncat(names, i ? " " : "", 2);
        strncat(names, fields[i].name.p, fields[i].name.n);
    }
    assert_string_equal(names, expected);
}

#define BRIEF "type seq id to source isp status code ms started attempt final"
#define REST  " stage class kind rule reply mx ip tls bytes message_id next_at"

static void names_and_order_are_the_contract(void **state)
{
    (void)state;
    struct event event = full_event(EVENT_DELIVERED);
    expect_names(&event, false, BRIEF);
    expect_names(&event, true, BRIEF REST);
    for (unsigned type = EVENT_DEFERRED; type < EVENT_TYPE_COUNT; type++) {
        event = full_event((enum event_type)type);
        expect_names(&event, false, BRIEF REST);
    }
}

static void empty_fields_are_left_out(void **state)
{
    (void)state;
    struct event event = {.type = EVENT_INVALID};
    expect_names(&event, true, "type seq final");
    event.started_us = 1; /* ms 0 is a duration once it has started */
    expect_names(&event, true, "type seq ms started final");
}

static void values_are_text(void **state)
{
    (void)state;
    struct event event = full_event(EVENT_IN_DOUBT);
    struct event_field fields[EVENT_FIELDS_MAX];
    char scratch[EVENT_SCRATCH_MAX];
    event.final = false;
    event.seq = UINT64_MAX;
    unsigned n = event_fields(&event, true, fields, EVENT_FIELDS_MAX, scratch, sizeof(scratch));
    const char *expected[] = {"in_doubt",
                              "18446744073709551615",
                              "42",
                              "ann@x.example",
                              "203.0.113.10",
                              "gmail",
                              "2.0.0",
                              "250",
                              "31",
                              "1700000000123456",
                              "1",
                              "0",
                              "body",
                              "other",
                              "soft",
                              "r",
                              "OK",
                              "mx.x.example",
                              "192.0.2.1",
                              "TLSv1.3",
                              "4096",
                              "<a@b>",
                              "1700000600000"};
    assert_int_equal(n, countof(expected));
    for (unsigned i = 0; i < n; i++)
        assert_true(slice_equal(fields[i].value, slice_of(expected[i])));
}

static void types_have_names_both_ways(void **state)
{
    (void)state;
    for (unsigned type = EVENT_DELIVERED; type < EVENT_TYPE_COUNT; type++)
        assert_int_equal(event_type_parse(event_type_name((enum event_type)type)), type);
    assert_int_equal(event_type_parse(SLICE("broken")), EVENT_BROKEN);
    assert_int_equal(event_type_parse(SLICE("")), EVENT_BROKEN);
    assert_true(slice_equal(event_type_name((enum event_type)99), SLICE("broken")));
}

#define FIELD(name, value)                                                                                             \
    {                                                                                                                  \
        {name, sizeof(name) - 1}, { value, sizeof(value) - 1 }                                                         \
    }

static void what_is_no_event_is_refused(void **state)
{
    (void)state;
    static const struct {
        bool ok;
        struct event_field fields[3];
    } cases[] = {
        {true, {FIELD("type", "delivered"), FIELD("seq", "1"), FIELD("colour", "blue")}},
        {true, {FIELD("seq", "18446744073709551615"), FIELD("type", "deferred"), FIELD("code", "65535")}},
        {false, {FIELD("type", "delivered"), FIELD("id", "1"), FIELD("final", "1")}},
        {false, {FIELD("seq", "1"), FIELD("id", "1"), FIELD("final", "1")}},
        {false, {FIELD("type", "eaten"), FIELD("seq", "1"), FIELD("final", "1")}},
        {false, {FIELD("type", "delivered"), FIELD("seq", "1"), FIELD("seq", "1")}},
        {false, {FIELD("type", "delivered"), FIELD("seq", ""), FIELD("final", "1")}},
        {false, {FIELD("type", "delivered"), FIELD("seq", "-1"), FIELD("final", "1")}},
        {false, {FIELD("type", "delivered"), FIELD("seq", "18446744073709551616"), FIELD("final", "1")}},
        {false, {FIELD("type", "delivered"), FIELD("seq", "1"), FIELD("code", "65536")}},
        {false, {FIELD("type", "delivered"), FIELD("seq", "1"), FIELD("attempt", "4294967296")}},
        {false, {FIELD("type", "delivered"), FIELD("seq", "1"), FIELD("final", "2")}},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct event event;
        assert_int_equal(event_parse(cases[i].fields, 3, &event), cases[i].ok);
    }
}

static struct slice random_slice(char *room, size_t max)
{
    size_t n = random_next() % 3 ? random_next() % (max + 1) : 0;
    for (size_t i = 0; i < n; i++)
        room[i] = (char)random_next();
    return (struct slice){room, n};
}

static void random_events_come_back(void **state)
{
    (void)state;
    const char *given = getenv("SLUICE_SEED");
    random_state = given ? strtoull(given, NULL, 0) : 20261121;
    print_message("seed %llu\n", (unsigned long long)random_state);
    for (int round = 0; round < 20000; round++) {
        char text[14][40];
        struct event event = {.type = (enum event_type)(1 + random_next() % (EVENT_TYPE_COUNT - 1)),
                              .seq = random_next() >> random_next() % 64};
        struct slice *slices[] = {&event.id,    &event.to,     &event.source, &event.isp,       &event.status,
                                  &event.stage, &event.class_, &event.kind,   &event.rule,      &event.reply,
                                  &event.mx,    &event.ip,     &event.tls,    &event.message_id};
        for (size_t i = 0; i < countof(slices); i++)
            *slices[i] = random_slice(text[i], sizeof(text[i]));
        event.code = (uint16_t)(random_next() >> random_next() % 64);
        event.started_us = random_next() % 2 ? random_next() >> random_next() % 64 : 0;
        event.ms = event.started_us ? random_next() >> random_next() % 64 : 0;
        event.attempt = (uint32_t)(random_next() >> random_next() % 64);
        event.final = random_next() % 2;
        event.bytes = random_next() >> random_next() % 64;
        event.next_at_ms = random_next() % 2 ? random_next() : 0;
        bool full = event.type != EVENT_DELIVERED || random_next() % 2;
        struct event_field fields[EVENT_FIELDS_MAX];
        char scratch[EVENT_SCRATCH_MAX];
        unsigned n = event_fields(&event, full, fields, EVENT_FIELDS_MAX, scratch, sizeof(scratch));
        for (unsigned i = n; i > 1; i--) { /* the reader does not depend on the order */
            unsigned j = (unsigned)(random_next() % i);
            struct event_field kept = fields[i - 1];
            fields[i - 1] = fields[j];
            fields[j] = kept;
        }
        struct event back;
        assert_true(event_parse(fields, n, &back));
        struct slice *returned[] = {&back.id,    &back.to,     &back.source, &back.isp,       &back.status,
                                    &back.stage, &back.class_, &back.kind,   &back.rule,      &back.reply,
                                    &back.mx,    &back.ip,     &back.tls,    &back.message_id};
        for (size_t i = 0; i < countof(slices); i++)
            assert_true(slice_equal(*returned[i], full || i < 5 ? *slices[i] : SLICE("")));
        assert_int_equal(back.type, event.type);
        assert_true(back.seq == event.seq && back.code == event.code && back.ms == event.ms &&
                    back.started_us == event.started_us && back.attempt == event.attempt && back.final == event.final);
        assert_true(back.bytes == (full ? event.bytes : 0) && back.next_at_ms == (full ? event.next_at_ms : 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_order_are_the_contract),
        cmocka_unit_test(empty_fields_are_left_out),
        cmocka_unit_test(values_are_text),
        cmocka_unit_test(types_have_names_both_ways),
        cmocka_unit_test(what_is_no_event_is_refused),
        cmocka_unit_test(random_events_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
