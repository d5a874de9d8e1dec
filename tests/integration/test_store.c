/* The store against a real Redis: leases, ledger and take-over, each step once, twice, and by the wrong hand. */
#include "store_fixture.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- leases ---- */

static void test_lease_is_a_range(void **state)
{
    struct fixture *f = *state;
    push_numbers(f, 0, 5);
    ASK(f->a, store_lease_list, C, SLICE("L1"), 3);
    assert_result(f->a, STORE_OK);
    assert_int_equal(f->a->answer.state, STORE_RUNNING);
    assert_int_equal(f->a->answer.item_count, 3);
    assert_int_equal(f->a->answer.first, 0);
    assert_text(f->a->items[2], "r2@x.example");
    ASK(f->b, store_lease_list, C, SLICE("L2"), 1000);
    assert_int_equal(f->b->answer.first, 3);
    assert_int_equal(f->b->answer.item_count, 2);
    ASK(f->b, store_lease_list, C, SLICE("L3"), 1000);
    assert_result(f->b, STORE_OK);
    assert_int_equal(f->b->answer.item_count, 0);
    assert_number(f, "HLEN " KEY("leases"), 2);
    /* Asked twice: the same again, and nothing more is taken. */
    ASK(f->a, store_lease_list, C, SLICE("L1"), 3);
    assert_int_equal(f->a->answer.first, 0);
    assert_int_equal(f->a->answer.item_count, 3);
    ASK(f->b, store_lease_list, C, SLICE("L1"), 3);
    assert_result(f->b, STORE_FENCED);
}

static void test_lease_is_bounded_in_bytes(void **state)
{
    struct fixture *f = *state;
    size_t size = LIMIT_LEASE_BYTES / 3;
    char *big = malloc(size);
    memset(big, 'x', size);
    for (unsigned i = 0; i < 3; i++)
        freeReplyObject(real_redis_do(f->redis, "RPUSH " KEY("recipients") " %b", big, (size_t)LIMIT_RECIPIENT));
    for (unsigned i = 0; i < 20; i++)
        freeReplyObject(real_redis_do(f->redis, "RPUSH " KEY("recipients") " %b", big, size));
    ASK(f->a, store_lease_list, C, SLICE("L1"), 1000);
    /* Entries beyond the limit are cut behind it: too long to be taken for a recipient, too short to do harm. */
    size_t fit = 3 + (LIMIT_LEASE_BYTES - 3 * LIMIT_RECIPIENT) / (LIMIT_RECIPIENT + 1);
    assert_int_equal(f->a->answer.item_count, fit);
    assert_int_equal(f->a->items[2].n, LIMIT_RECIPIENT);
    assert_int_equal(f->a->items[3].n, LIMIT_RECIPIENT + 1);
    ASK(f->a, store_lease_list, C, SLICE("L2"), 1000);
    assert_int_equal(f->a->answer.first, fit);
    assert_int_equal(f->a->answer.item_count, 23 - fit);
    free(big);
}

static void test_paused_leases_nothing(void **state)
{
    struct fixture *f = *state;
    push_numbers(f, 0, 5);
    do_ok(f, "HSET " KEY("campaign") " state paused");
    ASK(f->a, store_lease_list, C, SLICE("L1"), 3);
    assert_int_equal(f->a->answer.state, STORE_PAUSED);
    assert_int_equal(f->a->answer.item_count, 0);
    do_ok(f, "HSET " KEY("campaign") " state stopp"); /* whatever that means, it does not mean more mail */
    ASK(f->a, store_lease_list, C, SLICE("L1"), 3);
    assert_int_equal(f->a->answer.state, STORE_PAUSED);
    assert_int_equal(f->a->answer.item_count, 0);
    do_ok(f, "HSET " KEY("campaign") " state cancelled"); /* each recipient still gets its event */
    ASK(f->a, store_lease_list, C, SLICE("L1"), 3);
    assert_int_equal(f->a->answer.state, STORE_CANCELLED);
    assert_int_equal(f->a->answer.item_count, 3);
}

static void test_list_is_trimmed_behind_the_oldest_lease(void **state)
{
    struct fixture *f = *state;
    push_numbers(f, 0, 30);
    ASK(f->a, store_lease_list, C, SLICE("L1"), 10);
    ASK(f->a, store_lease_list, C, SLICE("L2"), 10);
    end_range(f->a, "L2", 10, 0, 10, true);
    assert_int_equal(f->a->answer.number, 1);
    assert_number(f, "LLEN " KEY("recipients"), 30);
    end_range(f->a, "L1", 0, 0, 9, true);
    assert_int_equal(f->a->answer.number, 0); /* one is not ended: it stays */
    assert_number(f, "HLEN " KEY("leases"), 1);
    end_range(f->a, "L1", 0, 9, 10, true);
    assert_int_equal(f->a->answer.number, 1);
    assert_number(f, "LLEN " KEY("recipients"), 10);
    assert_number(f, "EXISTS " KEY("ledger:L1") " " KEY("ledger:L2") " " KEY("leases"), 0);
    /* seq goes on counting from the first push, also when the list was empty in between */
    ASK(f->a, store_lease_list, C, SLICE("L3"), 1000);
    assert_int_equal(f->a->answer.first, 20);
    assert_text(f->a->items[0], "r20@x.example");
    end_range(f->a, "L3", 20, 0, 10, true);
    assert_number(f, "EXISTS " KEY("recipients"), 0);
    push_numbers(f, 30, 1);
    ASK(f->a, store_lease_list, C, SLICE("L4"), 1000);
    assert_int_equal(f->a->answer.first, 30);
    assert_text(f->a->items[0], "r30@x.example");
    ASK(f->a, store_look, C, &f->a->view);
    assert_int_equal(f->a->view.taken, 31);
    assert_int_equal(f->a->view.pushed, 31);
}

static void test_an_open_lease_keeps_its_entries(void **state)
{
    struct fixture *f = *state;
    push_numbers(f, 0, 30);
    ASK(f->a, store_lease_list, C, SLICE("L1"), 10);
    ASK(f->a, store_lease_list, C, SLICE("L2"), 10);
    ASK(f->a, store_lease_list, C, SLICE("L3"), 10);
    end_range(f->a, "L3", 20, 0, 10, true);
    end_range(f->a, "L1", 0, 0, 10, true);
    assert_number(f, "LLEN " KEY("recipients"), 20);
    ASK(f->a, store_release, C, SLICE("L2"));
    ASK(f->a, store_adopt, C, SLICE("L2"), SLICE("-"), 0);
    assert_result(f->a, STORE_OK);
    assert_int_equal(f->a->answer.first, 10);
    assert_int_equal(f->a->answer.item_count, 10);
    assert_text(f->a->items[0], "r10@x.example");
    end_range(f->a, "L2", 10, 0, 10, true);
    assert_number(f, "EXISTS " KEY("recipients"), 0);
}

/* ---- the ledger ---- */

static void test_fence(void **state)
{
    struct fixture *f = *state;
    uint32_t index = 0;
    push_numbers(f, 0, 2);
    ASK(f->a, store_lease_list, C, SLICE("L1"), 2);
    ASK(f->b, store_permit, C, SLICE("L1"), &index, 1, NULL, 0);
    assert_result(f->b, STORE_FENCED);
    end_range(f->b, "L1", 0, 0, 2, true);
    assert_result(f->b, STORE_FENCED);
    ASK(f->b, store_release, C, SLICE("L1"));
    assert_result(f->b, STORE_FENCED);
    ASK(f->b, store_permit, C, SLICE("nobody's"), &index, 1, NULL, 0);
    assert_result(f->b, STORE_FENCED);
    assert_number(f, "EXISTS " KEY("ledger:L1") " " KEY("events") " " KEY("totals"), 0);
    /* The same engine in a later life, and another shard of the same one, are not the owner either. */
    struct asker *later = asker_open(real_redis_url(f->redis), "one", INCARNATION + 1, NULL);
    ASK(later, store_permit, C, SLICE("L1"), &index, 1, NULL, 0);
    assert_result(later, STORE_FENCED);
    asker_close(later);
    struct asker *shard = asker_open(real_redis_url(f->redis), "one", INCARNATION, NULL);
    ASK(shard, store_permit, C, SLICE("L1"), &index, 1, NULL, 0);
    assert_result(shard, STORE_FENCED);
    asker_close(shard);
    ASK(f->a, store_permit, C, SLICE("L1"), &index, 1, NULL, 0);
    assert_result(f->a, STORE_OK);
}

static void test_permits_are_set_and_withdrawn(void **state)
{
    struct fixture *f = *state;
    const uint32_t permits[] = {0, 5, 6, 19}, withdrawn[] = {5};
    push_numbers(f, 0, 20);
    ASK(f->a, store_lease_list, C, SLICE("L1"), 20);
    for (unsigned round = 0; round < 2; round++) {
        ASK(f->a, store_permit, C, SLICE("L1"), permits, 4, withdrawn, 0);
        assert_result(f->a, STORE_OK);
        assert_number(f, "BITCOUNT " KEY("ledger:L1"), 4);
    }
    assert_number(f, "GETBIT " KEY("ledger:L1") " 10", 1);
    assert_number(f, "GETBIT " KEY("ledger:L1") " 38", 1);
    ASK(f->a, store_permit, C, SLICE("L1"), NULL, 0, withdrawn, 1);
    assert_number(f, "GETBIT " KEY("ledger:L1") " 10", 0);
    assert_number(f, "BITCOUNT " KEY("ledger:L1"), 3);
    end_range(f->a, "L1", 0, 19, 20, false);
    assert_number(f, "GETBIT " KEY("ledger:L1") " 39", 1);
    assert_number(f, "BITCOUNT " KEY("ledger:L1"), 4);
    const uint32_t beyond[] = {20};
    ASK(f->a, store_permit, C, SLICE("L1"), beyond, 1, NULL, 0);
    assert_result(f->a, STORE_REFUSED);
    assert_number(f, "BITCOUNT " KEY("ledger:L1"), 4);
}

static void test_every_kind_of_end(void **state)
{
    struct fixture *f = *state;
    struct event delivered = event_of(EVENT_DELIVERED, 0), deferred = event_of(EVENT_DEFERRED, 1);
    struct event doubt = event_of(EVENT_IN_DOUBT, 3), resent = event_of(EVENT_IN_DOUBT, 4);
    push_numbers(f, 0, 6);
    ASK(f->a, store_lease_list, C, SLICE("L1"), 6);
    const struct store_end ends[] = {
        {.kind = STORE_END_EVENT, .index = 0, .event = &delivered},
        {.kind = STORE_END_RETRY, .index = 1, .event = &deferred, .due_ms = 5000, .record = record_of(1)},
        {.kind = STORE_END_PARK, .index = 2, .isp = SLICE("gmail"), .record = record_of(2)},
        {.kind = STORE_END_HOLD, .index = 3, .event = &doubt, .record = record_of(3)},
        {.kind = STORE_END_RESEND, .index = 4, .event = &resent, .due_ms = 1, .record = record_of(4)},
        {.kind = STORE_END_PARK, .index = 5, .isp = SLICE("yahoo"), .record = record_of(5)},
    };
    for (unsigned round = 0; round < 2; round++) { /* the second time all of it is passed over */
        ASK(f->a, store_end, C, SLICE("L1"), ends, countof(ends), false);
        assert_result(f->a, STORE_OK);
        ASK(f->a, store_look, C, &f->a->view);
        const struct store_view *view = &f->a->view;
        assert_int_equal(view->parked, 2);
        assert_int_equal(view->parked_count, 2);
        assert_string_equal(view->parked_lists[0].isp, "gmail");
        assert_int_equal(view->parked_lists[1].records, 1);
        assert_int_equal(view->retry, 2);
        assert_int_equal(view->retry_due_ms, 1);
        assert_int_equal(view->held, 1);
        assert_int_equal(view->leases, 1);
        assert_int_equal(view->totals[EVENT_DELIVERED], 1);
        assert_int_equal(view->totals[EVENT_DEFERRED], 1);
        assert_int_equal(view->totals[EVENT_IN_DOUBT], 2);
        assert_number(f, "XLEN " KEY("events"), 4);
    }
    ASK(f->a, store_end, C, SLICE("L1"), NULL, 0, true);
    assert_int_equal(f->a->answer.number, 1);
    ASK(f->a, store_end, C, SLICE("L1"), NULL, 0, true);
    assert_result(f->a, STORE_FENCED);
    redisReply *reply = real_redis_do(f->redis, "ZRANGE " KEY("retry") " 0 -1");
    assert_string_equal(reply->element[1]->str, "1 1 1000 s1 {\"to\": \"r@x\"}");
    freeReplyObject(reply);
}

static void test_events_carry_the_contract(void **state)
{
    struct fixture *f = *state;
    struct event event = event_of(EVENT_BOUNCED, 0);
    event.code = 550;
    event.status = SLICE("5.1.1");
    event.reply = SLICE("550 5.1.1 \"nobody\" \x01\n here");
    push_numbers(f, 0, 1);
    ASK(f->a, store_lease_list, C, SLICE("L1"), 1);
    const struct store_end end = {.kind = STORE_END_EVENT, .index = 0, .event = &event};
    ASK(f->a, store_end, C, SLICE("L1"), &end, 1, true);
    ASK(f->b, store_events, C, SLICE("0"), 10, 0);
    const char *const expected[] = {
        "type", "bounced", "seq", "0",     "to", "r@x.example", "status", "5.1.1", "code",
        "550",  "attempt", "1",   "final", "1",  "stage",       "body",   "reply", "550 5.1.1 \"nobody\" \x01\n here"};
    assert_int_equal(f->b->answer.number, 1);
    assert_int_equal(f->b->answer.item_count, 2 + countof(expected));
    assert_text(f->b->items[1], "9");
    for (unsigned i = 0; i < countof(expected); i++)
        assert_text(f->b->items[2 + i], expected[i]);
    char id[64];
    slice_copy(id, sizeof id, f->b->items[0]);
    ASK(f->b, store_events, C, slice_of(id), 10, 30 * NSEC_PER_MS);
    assert_result(f->b, STORE_OK);
    assert_int_equal(f->b->answer.number, 0);
}

/* ---- parked and retry ---- */

static void test_parked_and_retry_are_leased(void **state)
{
    struct fixture *f = *state;
    struct event deferred = event_of(EVENT_DEFERRED, 0);
    struct store_end ends[8];
    push_numbers(f, 0, 8);
    ASK(f->a, store_lease_list, C, SLICE("L1"), 8);
    for (unsigned i = 0; i < 8; i++)
        ends[i] = (struct store_end){.kind = i < 4 ? STORE_END_PARK : STORE_END_RETRY,
                                     .index = i,
                                     .event = &deferred,
                                     .isp = SLICE("gmail"),
                                     .due_ms = 1000 * (int64_t)i,
                                     .record = record_of(i)};
    ASK(f->a, store_end, C, SLICE("L1"), ends, 8, true);
    for (unsigned round = 0; round < 2; round++) {
        struct store_record record;
        ASK(f->a, store_lease_parked, C, SLICE("P1"), SLICE("gmail"), 3);
        assert_int_equal(f->a->answer.item_count, 3);
        assert_true(store_record_parse(f->a->items[0], &record));
        assert_int_equal(record.seq, 0);
        assert_int_equal(record.first_ms, 1000);
        assert_text(record.source, "s1");
        assert_text(record.raw, "{\"to\": \"r@x\"}");
        ASK(f->a, store_lease_retry, C, SLICE("R1"), 5000, 100);
        assert_int_equal(f->a->answer.item_count, 2);
        assert_true(store_record_parse(f->a->items[1], &record));
        assert_int_equal(record.seq, 5);
        assert_number(f, "LLEN " KEY("parked:gmail"), 1);
        assert_number(f, "ZCARD " KEY("retry"), 2);
    }
    ASK(f->a, store_lease_parked, C, SLICE("P2"), SLICE("gmail"), 3);
    assert_int_equal(f->a->answer.item_count, 1);
    assert_number(f, "EXISTS " KEY("parked") " " KEY("parked:gmail"), 0);
    end_range(f->a, "P1", 0, 0, 3, true);
    end_range(f->a, "R1", 4, 0, 2, true);
    assert_number(f, "EXISTS " KEY("batch:P1") " " KEY("batch:R1") " " KEY("ledger:P1"), 0);
}

static void test_records(void **state)
{
    (void)state;
    static const char *const broken[] = {"",
                                         "1",
                                         "1 2 3",
                                         "1 2 3 s",
                                         "1 2 3  x",
                                         "a 2 3 s x",
                                         "1 2x 3 s x",
                                         "-1 2 3 s x",
                                         "1 4294967296 3 s x",
                                         " 1 2 3 s x",
                                         "18446744073709551616 1 1 s x"};
    struct store_record record;
    for (unsigned i = 0; i < countof(broken); i++)
        if (store_record_parse(slice_of(broken[i]), &record))
            fail_msg("\"%s\" is no record", broken[i]);
    assert_true(store_record_parse(SLICE("18446744073709551615 4294967295 9223372036854775807 - "), &record));
    assert_true(record.seq == UINT64_MAX && record.attempt == UINT32_MAX && record.first_ms == INT64_MAX);
    assert_int_equal(record.source.n + record.raw.n, 0);
    assert_true(store_record_parse(SLICE("1 2 3 s a b  c"), &record));
    assert_text(record.raw, "a b  c");
}

/* ---- taking over ---- */

static void test_adoption(void **state)
{
    struct fixture *f = *state;
    const uint32_t permits[] = {0, 1};
    push_numbers(f, 0, 4);
    ASK(f->a, store_lease_list, C, SLICE("L1"), 4);
    ASK(f->a, store_permit, C, SLICE("L1"), permits, 2, NULL, 0);
    end_range(f->a, "L1", 0, 0, 1, false);
    /* Another engine sees nothing to adopt; the same in its next life does. */
    ASK(f->b, store_look, C, &f->b->view);
    assert_int_equal(f->b->view.orphan_count, 0);
    struct asker *later = asker_open(real_redis_url(f->redis), "one", INCARNATION + 1, NULL);
    struct asker *shard = asker_open(real_redis_url(f->redis), "one", INCARNATION + 1, NULL);
    ASK(later, store_look, C, &later->view);
    assert_int_equal(later->view.orphan_count, 1);
    assert_string_equal(later->view.orphans[0], "L1");
    assert_string_equal(later->view.orphan_owner[0], "one");
    assert_true(later->view.orphan_incarnation[0] == INCARNATION);
    ASK(later, store_adopt, C, SLICE("L1"), SLICE("one"), INCARNATION);
    assert_result(later, STORE_OK);
    assert_false(later->answer.is_batch);
    assert_int_equal(later->answer.item_count, 4);
    assert_int_equal(later->answer.ledger.n, 1);
    assert_int_equal((unsigned char)later->answer.ledger.p[0], 0x80 | 0x40 | 0x20);
    /* Nobody else may have it now, not even another shard of the same engine, nor the same shard twice. */
    ASK(shard, store_adopt, C, SLICE("L1"), SLICE("one"), INCARNATION);
    assert_result(shard, STORE_FENCED);
    ASK(later, store_adopt, C, SLICE("L1"), SLICE("one"), INCARNATION);
    assert_result(later, STORE_FENCED);
    end_range(f->a, "L1", 0, 1, 4, true);
    assert_result(f->a, STORE_FENCED);
    end_range(later, "L1", 0, 1, 4, true);
    assert_int_equal(later->answer.number, 1);
    assert_number(f, "XLEN " KEY("events"), 4);
    asker_close(later);
    asker_close(shard);
}

static void test_release(void **state)
{
    struct fixture *f = *state;
    push_numbers(f, 0, 4);
    ASK(f->a, store_lease_list, C, SLICE("L1"), 4);
    for (unsigned round = 0; round < 2; round++) {
        ASK(f->a, store_release, C, SLICE("L1"));
        assert_result(f->a, STORE_OK);
    }
    end_range(f->a, "L1", 0, 0, 4, true);
    assert_result(f->a, STORE_FENCED);
    ASK(f->b, store_look, C, &f->b->view);
    assert_int_equal(f->b->view.orphan_count, 1);
    assert_string_equal(f->b->view.orphan_owner[0], "-");
    ASK(f->b, store_adopt, C, SLICE("L1"), slice_of(f->b->view.orphan_owner[0]), f->b->view.orphan_incarnation[0]);
    assert_result(f->b, STORE_OK);
    assert_int_equal(f->b->answer.item_count, 4);
    assert_int_equal(f->b->answer.ledger.n, 0);
}

/* Gives a group all that is new to it; it acknowledges the first of it, `most`. */
static void read_group(struct fixture *f, const char *name, size_t most)
{
    redisReply *reply = real_redis_do(f->redis, "XREADGROUP GROUP %s me COUNT 1000 STREAMS " KEY("events") " >", name);
    assert_int_equal(reply->type, REDIS_REPLY_ARRAY);
    const redisReply *entries = reply->element[0]->element[1];
    for (size_t i = 0; i < entries->elements && i < most; i++)
        assert_int_equal(
            real_redis_number(f->redis, "XACK " KEY("events") " %s %s", name, entries->element[i]->element[0]->str), 1);
    freeReplyObject(reply);
}

static void trim_to(struct fixture *f, uint64_t most, nsec bite, int64_t left)
{
    ASK(f->a, store_trim_events, C, most, bite);
    assert_result(f->a, STORE_OK);
    assert_int_equal(f->a->answer.number, left);
    ASK(f->a, store_look, C, &f->a->view);
    assert_int_equal(f->a->view.events, left);
}

static void test_only_what_all_groups_read_is_trimmed(void **state)
{
    struct fixture *f = *state;
    const nsec all = 3600 * NSEC_PER_S;
    trim_to(f, 1, all, 0); /* there is no stream */
    push_numbers(f, 0, 20);
    ASK(f->a, store_lease_list, C, SLICE("L1"), 20);
    end_range(f->a, "L1", 0, 0, 10, false);
    trim_to(f, 1, all, 10); /* nor a group */
    do_ok(f, "XGROUP CREATE " KEY("events") " one 0");
    do_ok(f, "XGROUP CREATE " KEY("events") " two 0");
    trim_to(f, 1, all, 10);
    read_group(f, "one", SIZE_MAX);
    trim_to(f, 1, all, 10); /* the other has read nothing */
    read_group(f, "two", 4);
    trim_to(f, 11, all, 10); /* there is room */
    trim_to(f, 10, all, 6);  /* the first that was taken and not acknowledged stays */
    end_range(f->a, "L1", 0, 10, 20, false);
    read_group(f, "one", SIZE_MAX);
    read_group(f, "two", SIZE_MAX);
    trim_to(f, 1, all, 16);
    do_ok(f, "XGROUP DESTROY " KEY("events") " two");
    do_ok(f, "CONFIG SET maxmemory 1"); /* room is made also when there is none */
    trim_to(f, 1, all, 0);
    do_ok(f, "CONFIG SET maxmemory 0");
}

static void test_much_is_trimmed_in_bites(void **state)
{
    struct fixture *f = *state;
    for (unsigned second = 1; second <= 30; second++)
        do_ok(f, "XADD " KEY("events") " %u000-5 type delivered", second);
    do_ok(f, "XGROUP CREATE " KEY("events") " one 20000-5"); /* has had all before */
    trim_to(f, 20, 10 * NSEC_PER_S, 20);
    trim_to(f, 20, 10 * NSEC_PER_S, 10);
    trim_to(f, 20, 10 * NSEC_PER_S, 10);
    trim_to(f, 10, 10 * NSEC_PER_S, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lease_is_a_range),
        TEST(test_lease_is_bounded_in_bytes),
        TEST(test_paused_leases_nothing),
        TEST(test_list_is_trimmed_behind_the_oldest_lease),
        TEST(test_an_open_lease_keeps_its_entries),
        TEST(test_fence),
        TEST(test_permits_are_set_and_withdrawn),
        TEST(test_every_kind_of_end),
        TEST(test_events_carry_the_contract),
        TEST(test_parked_and_retry_are_leased),
        cmocka_unit_test(test_records),
        TEST(test_adoption),
        TEST(test_release),
        TEST(test_only_what_all_groups_read_is_trimmed),
        TEST(test_much_is_trimmed_in_bites),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
