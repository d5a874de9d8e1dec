/* test_dns.c - the resolver against a real name server (nsd) on loopback, and against ones that do not answer. */
#include "net/resolver.h"

#include "name_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const char zone[] = "$ORIGIN example.\n$TTL 300\n"
                           "@ 3600 IN SOA ns.example. admin.example. 1 3600 600 86400 77\n"
                           "@ IN NS ns\nns IN A 127.0.0.1\n"
                           "shop 120 IN MX 20 backup\nshop 60 IN MX 10 MX1\n"
                           "mx1 40 IN A 192.0.2.1\nmx1 40 IN A 192.0.2.2\nmx1 30 IN AAAA 2001:db8::1\n"
                           "backup IN A 192.0.2.9\nsix IN AAAA 2001:db8::6\n"
                           "equal IN MX 5 a.equal\nequal IN MX 5 b.equal\nequal IN MX 5 c.equal\n"
                           "null IN MX 0 .\n"
                           "nomx IN A 192.0.2.33\n"
                           "alias 15 IN CNAME shop\nalias2 IN CNAME alias\ndangling IN CNAME nowhere\n"
                           "loop1 IN CNAME loop2\nloop2 IN CNAME loop1\n"
                           "text IN TXT \"no address and no mx\"\n";

/* The zone, and what is too much to write by hand. */
static const char *whole_zone(void)
{
    static char text[8192];
    size_t n = (size_t)snprintf(text, sizeof text, "%s", zone);
    /* Twenty hosts with long names: more than one datagram of 1,232 bytes. */
    for (unsigned i = 0; i < 20; i++)
        n += (size_t)snprintf(text + n, sizeof text - n,
                              "many IN MX %u host-with-a-rather-long-name-%02u.and-some-more-of-it-%02u.example.\n",
                              100 - i, i, i);
    for (unsigned i = 0; i < 12; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "wide IN A 192.0.2.%u\nwide IN AAAA 2001:db8::%u\n", 100 + i,
                              100 + i);
    n += (size_t)snprintf(text + n, sizeof text - n,
                          "_mta-sts.text IN CNAME policy\npolicy IN TXT \"v=STSv1; \" \"id=1\"\npolicy IN TXT \"else\"\n"
                          "_25._tcp.mx IN TLSA 3 1 2 %0128d\n",
                          7);
    assert_true(n < sizeof text);
    return text;
}

struct world {
    struct name_server server;
    struct io_group *group;
    struct io *io;
};

/* ---- asking ---- */

struct question {
    struct resolver_query query;
    struct resolver_answer answer;
    unsigned done;
    struct resolver *close;      /* in done: closes the resolver */
    struct question *ask_again;  /* in done: asks for the MX of shop.example */
    struct question *cancel_too; /* in done: cancels that one */
};

static void on_done(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct question *question = container_of(query, struct question, query);
    question->done++;
    question->answer = *answer;
    if (question->ask_again)
        resolver_mx_query(query->resolver, &question->ask_again->query, SLICE("shop.example"));
    if (question->cancel_too)
        resolver_cancel(query->resolver, &question->cancel_too->query);
    if (question->close)
        resolver_close(question->close);
}

static struct resolver *open_at(struct world *world, const char *servers, nsec timeout, unsigned tries, unsigned most)
{
    char error[256] = "";
    struct resolver_config config = {.servers = servers, .timeout = timeout, .tries = tries, .queries_max = most};
    struct resolver *resolver = resolver_open(world->io, &config, error, sizeof error);
    if (!resolver)
        fail_msg("%s", error);
    return resolver;
}

static struct resolver *open_server(struct world *world, unsigned most)
{
    char servers[64];
    snprintf(servers, sizeof servers, " 127.0.0.1:%u ", world->server.port);
    return open_at(world, servers, 2 * NSEC_PER_S, 3, most);
}

static void wait_for(struct world *world, const struct question *question)
{
    nsec end = io_now(world->io) + 20 * NSEC_PER_S;
    while (!question->done) {
        assert_true(io_now(world->io) < end);
        io_turn(world->io, end);
    }
    assert_int_equal(question->done, 1);
}

static struct resolver_answer *ask_mx(struct world *world, struct resolver *resolver, const char *name)
{
    static struct question question;
    question = (struct question){.query = {.done = on_done}};
    resolver_mx_query(resolver, &question.query, slice_of(name));
    assert_int_equal(question.done, 0);
    wait_for(world, &question);
    return &question.answer;
}

/* What was asked is to be looked at before the answer goes: records are borrowed. */
struct records {
    struct resolver_query query;
    unsigned done, count;
    enum resolver_status status;
    bool secure;
    size_t total;
    char first[64], name[LIMIT_DOMAIN + 1];
};

static void on_records(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct records *records = container_of(query, struct records, query);
    records->done++;
    records->status = answer->status;
    records->secure = answer->secure;
    records->count = answer->record_count;
    slice_copy(records->name, sizeof records->name, slice_of(answer->name));
    for (unsigned i = 0; i < answer->record_count; i++) {
        records->total += answer->records[i].n;
        if (slice_starts_with(answer->records[i], SLICE("v=")))
            slice_copy(records->first, sizeof records->first, answer->records[i]);
    }
}

static struct records ask_records(struct world *world, struct resolver *resolver, const char *name, bool tlsa)
{
    struct records records = {.query = {.done = on_records}};
    nsec end = io_now(world->io) + 20 * NSEC_PER_S;
    (tlsa ? resolver_tlsa_query : resolver_txt_query)(resolver, &records.query, slice_of(name));
    while (!records.done) {
        assert_true(io_now(world->io) < end);
        io_turn(world->io, end);
    }
    return records;
}

static struct resolver_answer *ask_addresses(struct world *world, struct resolver *resolver, const char *name,
                                             bool four, bool six)
{
    static struct question question;
    question = (struct question){.query = {.done = on_done}};
    resolver_address_query(resolver, &question.query, slice_of(name), four, six);
    assert_int_equal(question.done, 0);
    wait_for(world, &question);
    return &question.answer;
}

/* nsd needs a moment until it answers; in that time it refuses or is silent. */
static int group_setup(void **state)
{
    static struct world world;
    char error[512];
    name_server_start(&world.server, whole_zone());
    world.group = io_group_open(1);
    struct io_config config = {.group = world.group, .shard = 0, .sessions_max = 64};
    world.io = io_open(&config, error, sizeof error);
    if (!world.io)
        fail_msg("%s", error);
    struct resolver *resolver = open_server(&world, 1);
    for (unsigned i = 0; ask_mx(&world, resolver, "shop.example")->status != RESOLVER_OK; i++) {
        assert_true(i < 2000);
        name_server_check(&world.server);
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
    resolver_close(resolver);
    *state = &world;
    return 0;
}

static int group_teardown(void **state)
{
    struct world *world = *state;
    io_close_all(world->io);
    io_group_close(world->group);
    name_server_stop(&world->server);
    return 0;
}

static void assert_has_address(const struct resolver_answer *answer, const char *text)
{
    for (unsigned i = 0; i < answer->address_count; i++) {
        char found[128];
        assert_int_equal(io_address_port(&answer->addresses[i]), 0);
        io_address_text(&answer->addresses[i], found, sizeof found);
        if (strcmp(found, text) == 0)
            return;
    }
    fail_msg("%s is not among %u addresses", text, answer->address_count);
}

/* ---- what a server says ---- */

static void mx_records_come_with_preference_and_ttl(void **state)
{
    struct world *world = *state;
    struct resolver *resolver = open_server(world, 8);
    struct resolver_answer *answer = ask_mx(world, resolver, "SHOP.example.");
    assert_int_equal(answer->status, RESOLVER_OK);
    assert_int_equal(answer->mx_count, 2);
    assert_string_equal(answer->mx[0].host, "mx1.example");
    assert_int_equal(answer->mx[0].preference, 10);
    assert_string_equal(answer->mx[1].host, "backup.example");
    assert_int_equal(answer->mx[1].preference, 20);
    /* nsd evens out the TTLs of a set (RFC 2181 §5.2), to that of the first record in the file. */
    assert_true(answer->ttl_s == 60 || answer->ttl_s == 120);
    answer = ask_mx(world, resolver, "equal.example");
    assert_int_equal(answer->mx_count, 3);
    assert_int_equal(answer->ttl_s, 300);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(answer->mx[i].preference, 5);
    resolver_close(resolver);
}

static void null_mx_has_the_empty_host(void **state)
{
    struct world *world = *state;
    struct resolver *resolver = open_server(world, 8);
    struct resolver_answer *answer = ask_mx(world, resolver, "null.example");
    assert_int_equal(answer->status, RESOLVER_OK);
    assert_int_equal(answer->mx_count, 1);
    assert_string_equal(answer->mx[0].host, "");
    resolver_close(resolver);
}

static void nothing_there_is_told_apart(void **state)
{
    struct world *world = *state;
    struct resolver *resolver = open_server(world, 8);
    struct resolver_answer *answer = ask_mx(world, resolver, "nomx.example");
    assert_int_equal(answer->status, RESOLVER_NODATA);
    assert_int_equal(answer->ttl_s, 77);
    answer = ask_mx(world, resolver, "nowhere.example");
    assert_int_equal(answer->status, RESOLVER_NXDOMAIN);
    assert_int_equal(answer->ttl_s, 77);
    assert_int_equal(ask_mx(world, resolver, "x.broken")->status, RESOLVER_SERVFAIL);
    assert_int_equal(ask_mx(world, resolver, "not.served")->status, RESOLVER_SERVFAIL); /* REFUSED */
    assert_int_equal(ask_addresses(world, resolver, "text.example", true, true)->status, RESOLVER_NODATA);
    assert_int_equal(ask_addresses(world, resolver, "nowhere.example", true, true)->status, RESOLVER_NXDOMAIN);
    assert_int_equal(ask_addresses(world, resolver, "x.broken", true, true)->status, RESOLVER_SERVFAIL);
    resolver_close(resolver);
}

/* nsd validates nothing, and says so: nothing of its is secure. test_safety.py asks a server that does. */
static void texts_and_tlsa_come_whole(void **state)
{
    struct world *world = *state;
    struct resolver *resolver = open_server(world, 4);
    struct records text = ask_records(world, resolver, "_mta-sts.text.example", false);
    assert_int_equal(text.status, RESOLVER_OK);
    assert_int_equal(text.count, 2);
    assert_string_equal(text.first, "v=STSv1; id=1");
    assert_string_equal(text.name, "policy.example");
    struct records tlsa = ask_records(world, resolver, "_25._tcp.mx.example", true);
    assert_int_equal(tlsa.status, RESOLVER_OK);
    assert_int_equal(tlsa.count, 1);
    assert_int_equal(tlsa.total, 3 + 64);
    assert_false(text.secure || tlsa.secure);
    assert_int_equal(ask_records(world, resolver, "nobody.example", true).status, RESOLVER_NXDOMAIN);
    assert_int_equal(ask_records(world, resolver, "policy.example", true).status, RESOLVER_NODATA);
    resolver_close(resolver);
}

static void aliases_are_followed(void **state)
{
    struct world *world = *state;
    struct resolver *resolver = open_server(world, 8);
    struct resolver_answer *answer = ask_mx(world, resolver, "alias2.example");
    assert_int_equal(answer->status, RESOLVER_OK);
    assert_int_equal(answer->mx_count, 2);
    assert_int_equal(answer->ttl_s, 15);
    assert_int_equal(ask_mx(world, resolver, "dangling.example")->status, RESOLVER_NXDOMAIN);
    enum resolver_status status = ask_mx(world, resolver, "loop1.example")->status;
    assert_true(status != RESOLVER_OK && status != RESOLVER_NODATA);
    resolver_close(resolver);
}

static void both_families_are_asked_together(void **state)
{
    struct world *world = *state;
    struct resolver *resolver = open_server(world, 8);
    struct resolver_answer *answer = ask_addresses(world, resolver, "mx1.example", true, true);
    assert_int_equal(answer->status, RESOLVER_OK);
    assert_int_equal(answer->address_count, 3);
    assert_int_equal(answer->ttl_s, 30);
    assert_has_address(answer, "192.0.2.1");
    assert_has_address(answer, "192.0.2.2");
    assert_has_address(answer, "2001:db8::1");
    answer = ask_addresses(world, resolver, "mx1.example", true, false);
    assert_int_equal(answer->address_count, 2);
    assert_int_equal(answer->ttl_s, 40);
    answer = ask_addresses(world, resolver, "six.example", true, true);
    assert_int_equal(answer->status, RESOLVER_OK);
    assert_int_equal(answer->address_count, 1);
    assert_int_equal(answer->ttl_s, 300);
    assert_int_equal(ask_addresses(world, resolver, "six.example", true, false)->status, RESOLVER_NODATA);
    assert_int_equal(ask_addresses(world, resolver, "six.example", false, false)->status, RESOLVER_NODATA);
    /* Twelve of each: neither family crowds the other out. */
    answer = ask_addresses(world, resolver, "wide.example", true, true);
    assert_int_equal(answer->address_count, LIMIT_HOST_ADDRESSES);
    unsigned four = 0;
    for (unsigned i = 0; i < answer->address_count; i++)
        four += answer->addresses[i].storage.ss_family == AF_INET;
    assert_int_equal(four, LIMIT_HOST_ADDRESSES / 2);
    resolver_close(resolver);
}

static void a_truncated_answer_comes_by_tcp(void **state)
{
    struct world *world = *state;
    struct resolver *resolver = open_server(world, 8);
    struct resolver_answer *answer = ask_mx(world, resolver, "many.example");
    assert_int_equal(answer->status, RESOLVER_OK);
    assert_int_equal(answer->mx_count, LIMIT_MX_HOSTS);
    for (unsigned i = 0; i < LIMIT_MX_HOSTS; i++)
        assert_int_equal(answer->mx[i].preference, 81 + i); /* the best sixteen of 81 .. 100 */
    resolver_close(resolver);
}

static void names_that_cannot_be_do_not_exist(void **state)
{
    struct world *world = *state;
    struct resolver *resolver = open_server(world, 8);
    char name[300];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_int_equal(ask_mx(world, resolver, name)->status, RESOLVER_NXDOMAIN);
    name[70] = 0;
    assert_int_equal(ask_mx(world, resolver, name)->status, RESOLVER_NXDOMAIN);
    assert_int_equal(ask_mx(world, resolver, "")->status, RESOLVER_NXDOMAIN);
    assert_int_equal(ask_mx(world, resolver, "a..example")->status, RESOLVER_NXDOMAIN);
    assert_int_equal(ask_mx(world, resolver, "sh\\111p.example")->status, RESOLVER_NXDOMAIN);
    resolver_close(resolver);
}

/* ---- many at once ---- */

enum { MANY = 500 };
static struct question many[MANY];

static void ask_many(struct resolver *resolver)
{
    for (unsigned i = 0; i < MANY; i++) {
        many[i] = (struct question){.query = {.done = on_done}};
        if (i % 2)
            resolver_mx_query(resolver, &many[i].query, SLICE("shop.example"));
        else
            resolver_address_query(resolver, &many[i].query, SLICE("mx1.example"), true, true);
        assert_int_equal(many[i].done, 0);
    }
}

static void more_than_may_fly_wait_their_turn(void **state)
{
    struct world *world = *state;
    struct resolver *resolver = open_server(world, 7);
    ask_many(resolver);
    for (unsigned i = 0; i < MANY; i++) {
        wait_for(world, &many[i]);
        assert_int_equal(many[i].answer.status, RESOLVER_OK);
        assert_int_equal(i % 2 ? many[i].answer.mx_count : many[i].answer.address_count, i % 2 ? 2 : 3);
    }
    resolver_close(resolver);
}

static void each_is_cancelled_once_whatever_its_state(void **state)
{
    struct world *world = *state;
    struct resolver *resolver = open_server(world, 7);
    ask_many(resolver);
    for (unsigned i = 0; i < MANY; i += 3) {
        resolver_cancel(resolver, &many[i].query);
        resolver_cancel(resolver, &many[i].query);
        assert_int_equal(many[i].done, 0);
    }
    for (unsigned i = 0; i < MANY; i++) {
        wait_for(world, &many[i]);
        assert_int_equal(many[i].answer.status, i % 3 ? RESOLVER_OK : RESOLVER_CANCELED);
        resolver_cancel(resolver, &many[i].query);
    }
    for (unsigned i = 0; i < 20; i++)
        io_turn(world->io, io_now(world->io));
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(many[i].done, 1);
    resolver_close(resolver);
}

static void done_may_ask_cancel_and_close(void **state)
{
    struct world *world = *state;
    struct resolver *resolver = open_server(world, 2);
    struct question first = {.query = {.done = on_done}}, second = first, third = first, last = first;
    first.ask_again = &second;
    first.cancel_too = &third;
    resolver_mx_query(resolver, &first.query, SLICE("null.example"));
    resolver_mx_query(resolver, &last.query, SLICE("nowhere.example"));
    resolver_mx_query(resolver, &third.query, SLICE("shop.example"));
    wait_for(world, &first);
    wait_for(world, &third);
    assert_int_equal(third.answer.status, RESOLVER_CANCELED);
    wait_for(world, &second);
    assert_int_equal(second.answer.status, RESOLVER_OK);
    wait_for(world, &last);

    /* The first of many answers closes: no other comes, and nothing is left behind. */
    ask_many(resolver);
    for (unsigned i = 0; i < MANY; i++)
        many[i].close = NULL;
    many[1].close = resolver;
    wait_for(world, &many[1]);
    unsigned done = 0, later = 0;
    for (unsigned i = 0; i < MANY; i++)
        done += many[i].done;
    for (unsigned i = 0; i < 20; i++)
        io_turn(world->io, io_now(world->io) + NSEC_PER_MS);
    for (unsigned i = 0; i < MANY; i++)
        later += many[i].done;
    assert_int_equal(done, later);
    assert_true(done < MANY);
}

static void it_closes_at_any_moment(void **state)
{
    struct world *world = *state;
    for (unsigned turns = 0; turns < 40; turns++) {
        struct resolver *resolver = open_server(world, 50);
        ask_many(resolver);
        for (unsigned i = 0; i < turns; i++)
            io_turn(world->io, io_now(world->io) + NSEC_PER_MS);
        if (turns % 4 == 0)
            for (unsigned i = 0; i < MANY; i += 2)
                resolver_cancel(resolver, &many[i].query);
        resolver_close(resolver);
        for (unsigned i = 0; i < turns % 3; i++)
            io_turn(world->io, io_now(world->io));
    }
}

/* ---- servers that fail ---- */

static void silence_is_a_timeout(void **state)
{
    struct world *world = *state;
    uint16_t port = 0;
    int deaf = loopback_bind(SOCK_DGRAM, &port);
    char servers[64];
    snprintf(servers, sizeof servers, "127.0.0.1:%u", port);
    struct resolver *resolver = open_at(world, servers, 50 * NSEC_PER_MS, 2, 4);
    nsec start = io_now(world->io);
    assert_int_equal(ask_mx(world, resolver, "shop.example")->status, RESOLVER_TIMEOUT);
    assert_true(io_now(world->io) - start >= 100 * NSEC_PER_MS);
    assert_int_equal(ask_addresses(world, resolver, "shop.example", true, true)->status, RESOLVER_TIMEOUT);
    resolver_close(resolver);
    close(deaf);
}

static void a_closed_port_is_a_failure_for_now(void **state)
{
    struct world *world = *state;
    char servers[64];
    snprintf(servers, sizeof servers, "127.0.0.1:%u", loopback_port());
    struct resolver *resolver = open_at(world, servers, 200 * NSEC_PER_MS, 2, 4);
    enum resolver_status status = ask_mx(world, resolver, "shop.example")->status;
    assert_true(status == RESOLVER_SERVFAIL || status == RESOLVER_TIMEOUT);
    resolver_close(resolver);
}

static void the_second_server_is_asked_when_the_first_is_deaf(void **state)
{
    struct world *world = *state;
    uint16_t port = 0;
    int deaf = loopback_bind(SOCK_DGRAM, &port);
    char servers[64];
    snprintf(servers, sizeof servers, "127.0.0.1:%u, 127.0.0.1:%u", port, world->server.port);
    struct resolver *resolver = open_at(world, servers, NSEC_PER_S, 3, 4);
    assert_int_equal(ask_mx(world, resolver, "shop.example")->status, RESOLVER_OK);
    resolver_close(resolver);
    close(deaf);
}

/* Rubbish instead of an answer, and an answer to another question, are passed over until the real one comes. */
static void forged_answers_are_not_believed(void **state)
{
    struct world *world = *state;
    uint16_t port = 0;
    int forger = loopback_bind(SOCK_DGRAM, &port);
    char servers[64];
    snprintf(servers, sizeof servers, "127.0.0.1:%u", port);
    struct resolver *resolver = open_at(world, servers, 300 * NSEC_PER_MS, 1, 4);
    struct question question = {.query = {.done = on_done}};
    resolver_mx_query(resolver, &question.query, SLICE("shop.example"));
    io_turn(world->io, io_now(world->io));
    uint8_t packet[512];
    struct sockaddr_storage from;
    socklen_t size = sizeof from;
    ssize_t n = recvfrom(forger, packet, sizeof packet, 0, (struct sockaddr *)&from, &size);
    assert_true(n > 20);
    assert_true(sendto(forger, "rubbish", 7, 0, (struct sockaddr *)&from, size) == 7);
    packet[2] |= 0x80; /* an answer ... */
    packet[0] ^= 0xff; /* ... to another id */
    packet[3] = 3;
    assert_true(sendto(forger, packet, (size_t)n, 0, (struct sockaddr *)&from, size) == n);
    wait_for(world, &question);
    assert_true(question.answer.status == RESOLVER_TIMEOUT || question.answer.status == RESOLVER_SERVFAIL);
    resolver_close(resolver);
    close(forger);
}

static void a_wrong_server_list_is_refused_with_a_sentence(void **state)
{
    struct world *world = *state;
    static const char *const wrong[] = {"localhost", "127.0.0.1:x", "127.0.0.256", "127.0.0.1:53, nonsense"};
    for (size_t i = 0; i < countof(wrong); i++) {
        char error[256] = "";
        struct resolver_config config = {.servers = wrong[i], .timeout = NSEC_PER_S, .tries = 1, .queries_max = 4};
        struct resolver *resolver = resolver_open(world->io, &config, error, sizeof error);
        if (resolver)
            fail_msg("%s was taken", wrong[i]);
        assert_non_null(strstr(error, wrong[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mx_records_come_with_preference_and_ttl),
        cmocka_unit_test(null_mx_has_the_empty_host),
        cmocka_unit_test(nothing_there_is_told_apart),
        cmocka_unit_test(texts_and_tlsa_come_whole),
        cmocka_unit_test(aliases_are_followed),
        cmocka_unit_test(both_families_are_asked_together),
        cmocka_unit_test(a_truncated_answer_comes_by_tcp),
        cmocka_unit_test(names_that_cannot_be_do_not_exist),
        cmocka_unit_test(more_than_may_fly_wait_their_turn),
        cmocka_unit_test(each_is_cancelled_once_whatever_its_state),
        cmocka_unit_test(done_may_ask_cancel_and_close),
        cmocka_unit_test(it_closes_at_any_moment),
        cmocka_unit_test(silence_is_a_timeout),
        cmocka_unit_test(a_closed_port_is_a_failure_for_now),
        cmocka_unit_test(the_second_server_is_asked_when_the_first_is_deaf),
        cmocka_unit_test(forged_answers_are_not_believed),
        cmocka_unit_test(a_wrong_server_list_is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
