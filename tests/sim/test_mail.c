/* The simulated providers and their judge are under test too: a client that is known to be good is found good, and one
 * that sends twice, too early or too much is found out. */
#include "judge.h"
#include "weather.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- a client that says its lines, one after the answer to the other ---- */

enum { TALK_MAX = 4096 };

struct talk {
    struct io *io;
    int fd;
    struct io_address to;
    struct io_op connect;
    struct io_recv recv;
    struct io_send send;
    const char *const *lines; /* each is sent when the answer to the one before is complete */
    unsigned said;
    nsec said_at[64];
    char heard[TALK_MAX];
    size_t heard_used, line_at;
    int connected, end; /* 1: not yet */
    bool closing, closed;
};

static void talk_settle(struct talk *t)
{
    if (!t->closing || io_op_busy(&t->connect) || io_op_busy(&t->recv.op) || io_op_busy(&t->send.op))
        return;
    io_close(t->io, t->fd);
    t->closed = true;
}

static void talk_close(struct talk *t)
{
    t->closing = true;
    io_cancel(t->io, &t->recv.op);
    talk_settle(t);
}

static void talk_say(struct talk *t)
{
    const char *line = t->lines[t->said];
    if (!line) {
        talk_close(t);
        return;
    }
    t->said_at[t->said++] = io_now(t->io);
    io_send(t->io, &t->send, t->fd, &(struct slice){line, strlen(line)}, 1);
}

static void talk_bytes(struct io_recv *recv, struct slice bytes)
{
    struct talk *t = container_of(recv, struct talk, recv);
    assert_true(t->heard_used + bytes.n < sizeof t->heard);
    memcpy(t->heard + t->heard_used, bytes.p, bytes.n);
    t->heard_used += bytes.n;
    for (size_t i = t->line_at; i < t->heard_used; i++) {
        if (t->heard[i] != '\n')
            continue;
        bool last = t->heard[t->line_at + 3] == ' ';
        t->line_at = i + 1;
        if (last && !t->closing && !io_op_busy(&t->send.op))
            talk_say(t);
    }
}

static void talk_ended(struct io_op *op, int result)
{
    struct talk *t = container_of(op, struct talk, recv.op);
    if (!t->closing)
        t->end = result;
    t->closing = true;
    talk_settle(t);
}

static void talk_sent(struct io_op *op, int result)
{
    (void)result;
    talk_settle(container_of(op, struct talk, send.op));
}

static void talk_connected(struct io_op *op, int result)
{
    struct talk *t = container_of(op, struct talk, connect);
    t->connected = result;
    if (result == 0)
        io_recv(t->io, &t->recv, t->fd);
    else
        t->closing = true;
    talk_settle(t);
}

static void talk_open(struct talk *t, struct io *io, const char *source, const char *to, const char *const *lines)
{
    struct io_address from;
    *t = (struct talk){.io = io, .lines = lines, .connected = 1, .end = 1};
    assert_true(io_address_parse(&t->to, to, 25) && io_address_parse(&from, source, 0));
    t->connect.done = talk_connected;
    t->recv.op.done = talk_ended;
    t->recv.bytes = talk_bytes;
    t->send.op.done = talk_sent;
    t->fd = io_socket(io, from.storage.ss_family, &from);
    assert_true(t->fd >= 0);
    io_connect(io, &t->connect, t->fd, &t->to);
}

static bool talking(void *context)
{
    struct talk *const *list = context;
    for (; *list; list++)
        if (!(*list)->closed)
            return true;
    return false;
}

/* ---- a scene: one sender, one provider with two exchangers ---- */

struct scene {
    struct sim_world *world;
    struct sim_mail *mail;
    struct sim_isp *isp;
    struct io *io;
    struct mx_personality kind;
};

static void scene_open(struct scene *s, uint64_t seed)
{
    char error[128];
    print_message("seed %llu\n", (unsigned long long)seed); /* the last one printed is the one that failed */
    *s = (struct scene){.world = sim_world_new(seed)};
    s->mail = sim_mail_new(s->world, 25);
    mx_personality_init(&s->kind, "post.example");
    s->isp = sim_isp_new(s->mail, "post.example", &s->kind, 2, true);
    sim_isp_domain(s->isp, "mail.example", 300, 1);
    struct sim_host *host = sim_host_new(s->world, "sender");
    sim_host_address(host, "192.0.2.1");
    sim_host_address(host, "192.0.2.2");
    sim_host_address(host, "2001:db8:ffff::1");
    struct io_config config = {.group = sim_process(host, 1), .sessions_max = 64};
    s->io = io_open(&config, error, sizeof error);
    assert_non_null(s->io);
    sim_serve(s->io);
}

static void scene_close(struct scene *s)
{
    io_close_all(s->io);
    sim_mail_free(s->mail);
    sim_world_free(s->world);
}

static void talk_through(struct scene *s, struct talk **list)
{
    assert_true(sim_run_while(s->world, talking, list, sim_now(s->world) + 3600 * NSEC_PER_S));
}

#define BODY(seq) "From: <a@here.example>\r\nX-Campaign: spring/" seq "\r\nSubject: x\r\n\r\nHello\r\n.\r\n"

static const char *const one_message[] = {"EHLO here.example\r\n",
                                          "MAIL FROM:<a@here.example>\r\n",
                                          "RCPT TO:<b@mail.example>\r\n",
                                          "DATA\r\n",
                                          BODY("7"),
                                          "QUIT\r\n",
                                          NULL};

/* ---- copies ---- */

static void each_copy_is_counted_by_its_token(void **state)
{
    (void)state;
    struct scene s;
    struct talk *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b), *list[] = {a, b, NULL};
    scene_open(&s, 1);
    talk_open(a, s.io, "192.0.2.1", "100.64.1.1", one_message);
    talk_open(b, s.io, "2001:db8:ffff::1", "2001:db8:1::2", one_message); /* the same again, by another way */
    talk_through(&s, list);
    struct judge_copies copies = judge_copies(s.mail, "spring", 10);
    for (uint64_t seq = 0; seq < 10; seq++)
        assert_int_equal(copies.copies[seq], seq == 7 ? 2 : 0);
    assert_int_equal(copies.strangers, 0);
    judge_copies_free(&copies);
    copies = judge_copies(s.mail, "spring", 7);
    assert_int_equal(copies.strangers, 2);
    judge_copies_free(&copies);
    copies = judge_copies(s.mail, "autumn", 10);
    assert_int_equal(copies.copies[7], 0);
    judge_copies_free(&copies);
    assert_int_equal(judge_accepted(s.isp), 2);
    assert_int_equal(judge_tokenless(s.mail), 0);
    assert_int_equal(s.mail->ledger.violation_total, 0);
    free(a);
    free(b);
    scene_close(&s);
}

/* ---- starts ---- */

static void starts_are_known_to_the_instant(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct scene s;
        struct talk *a = calloc(1, sizeof *a), *list[] = {a, NULL};
        size_t count;
        scene_open(&s, seed);
        sim_link(s.world, NULL, NULL, &(struct sim_link){10 * NSEC_PER_MS, 50 * NSEC_PER_MS, 0});
        sim_fault_set(s.world, SIM_SPLIT, 300000);
        talk_open(a, s.io, "192.0.2.1", "100.64.1.1", one_message);
        talk_through(&s, list);
        nsec *starts = judge_starts(s.isp, "192.0.2.1", &count);
        assert_int_equal(count, 1);
        assert_int_equal(starts[0], a->said_at[1]); /* not when it arrived */
        free(starts);
        starts = judge_starts(s.isp, "192.0.2.2", &count);
        assert_int_equal(count, 0);
        free(starts);
        free(a);
        scene_close(&s);
    }
}

/* By the definition: every pair of starts is an interval. */
static uint64_t worst_excess(const nsec *starts, size_t count, uint64_t burst, nsec interval)
{
    uint64_t worst = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t j = i; j < count; j++) {
            uint64_t n = j - i + 1, allowed = burst + (uint64_t)((starts[j] - starts[i]) / interval);
            worst = n > allowed && n - allowed > worst ? n - allowed : worst;
        }
    return worst;
}

static void the_formula_is_judged_over_every_interval(void **state)
{
    (void)state;
    const nsec exact[] = {0, 0, 10, 20, 30}, early[] = {0, 0, 10, 19, 30}, idle[] = {0, 100, 100, 100};
    assert_int_equal(judge_rate(exact, 5, 2, 10).excess, 0);
    assert_int_equal(judge_rate(early, 5, 2, 10).excess, 1);
    assert_int_equal(judge_rate(early, 5, 2, 10).to, 19);
    assert_int_equal(judge_rate(idle, 4, 2, 10).excess, 1); /* idle time earns no more than the burst */
    assert_int_equal(judge_rate(exact, 0, 1, 10).excess, 0);
    assert_int_equal(judge_rate_reached(exact, 5, 2, 10), 1000);
    assert_int_equal(judge_rate_reached(idle, 4, 1, 10), 363);
    struct sim_world *world = sim_world_new(99);
    for (unsigned round = 0; round < 500; round++) {
        nsec starts[40], at = 0;
        uint64_t burst = 1 + sim_random(world) % 4;
        for (unsigned i = 0; i < 40; i++)
            starts[i] = at += (nsec)(sim_random(world) % 20);
        assert_int_equal(judge_rate(starts, 40, burst, 7).excess, worst_excess(starts, 40, burst, 7));
    }
    sim_world_free(world);
}

static void connections_are_counted_by_the_clients_view(void **state)
{
    (void)state;
    struct scene s;
    struct talk *t = calloc(4, sizeof *t), *list[] = {&t[0], &t[1], &t[2], &t[3], NULL};
    scene_open(&s, 3);
    talk_open(&t[0], s.io, "192.0.2.1", "100.64.1.1", one_message);
    talk_open(&t[1], s.io, "192.0.2.1", "100.64.1.2", one_message);
    talk_open(&t[2], s.io, "192.0.2.2", "100.64.1.1", one_message);
    talk_open(&t[3], s.io, "192.0.2.2", "100.64.9.9", one_message); /* nobody's: not this provider's */
    talk_through(&s, list);
    assert_int_equal(judge_connections_peak(s.isp, "192.0.2.1"), 2);
    assert_int_equal(judge_connections_peak(s.isp, "192.0.2.2"), 1);
    talk_open(&t[0], s.io, "192.0.2.1", "100.64.1.1", one_message);
    sim_run_until(s.world, sim_now(s.world) + NSEC_PER_MS);
    sim_crash(s.io); /* lets go of it */
    memset(t, 0x5a, 4 * sizeof *t);
    for (unsigned i = 0; i < s.isp->caller_count; i++)
        assert_int_equal(s.isp->callers[i].open, 0);
    free(t);
    sim_run_until(s.world, sim_now(s.world) + 3600 * NSEC_PER_S);
    assert_int_equal(s.isp->server.open, 0);
    sim_mail_free(s.mail);
    sim_world_free(s.world);
}

/* ---- moods, exchangers that are away ---- */

static void moods_change_with_time(void **state)
{
    (void)state;
    struct scene s;
    struct talk *t = calloc(1, sizeof *t), *list[] = {t, NULL};
    scene_open(&s, 4);
    struct mx_personality cross = s.kind, rude = s.kind;
    mx_personality_rule(&cross, MX_RCPT, MX_CERTAIN, "450 4.2.1 later");
    mx_personality_rule(&rude, MX_GREETING, MX_CERTAIN, NULL)->action = MX_ABORT;
    nsec start = sim_now(s.world);
    sim_isp_mood(s.isp, start + 60 * NSEC_PER_S, &cross);
    sim_isp_mood(s.isp, start + 120 * NSEC_PER_S, &rude);
    sim_isp_mood(s.isp, start + 180 * NSEC_PER_S, &s.kind);
    for (unsigned minute = 0; minute < 4; minute++) {
        sim_run_until(s.world, start + (60 * minute + 30) * NSEC_PER_S);
        talk_open(t, s.io, "192.0.2.1", "100.64.1.1", one_message);
        talk_through(&s, list);
        assert_int_equal(judge_accepted(s.isp), minute < 3 ? 1 : 2);
        if (minute == 1)
            assert_non_null(strstr(t->heard, "450 4.2.1 later"));
        assert_int_equal(t->end, minute == 2 ? -ECONNRESET : 1);
    }
    free(t);
    scene_close(&s);
}

static void an_exchanger_goes_and_comes(void **state)
{
    (void)state;
    struct scene s;
    struct talk *t = calloc(1, sizeof *t), *list[] = {t, NULL};
    scene_open(&s, 5);
    talk_open(t, s.io, "192.0.2.1", "100.64.1.1", one_message);
    while (t->said < 2)
        assert_true(sim_step(s.world));
    sim_isp_stop(s.isp, 0);
    talk_through(&s, list);
    assert_true(t->end <= 0);
    assert_int_equal(s.isp->server.open, 0);
    talk_open(t, s.io, "192.0.2.1", "100.64.1.1", one_message);
    talk_through(&s, list);
    assert_int_equal(t->connected, -ECONNREFUSED);
    talk_open(t, s.io, "192.0.2.1", "100.64.1.2", one_message);
    talk_through(&s, list);
    assert_int_equal(judge_accepted(s.isp), 1);
    sim_isp_start(s.isp, 0);
    talk_open(t, s.io, "192.0.2.1", "100.64.1.1", one_message);
    talk_through(&s, list);
    assert_int_equal(judge_accepted(s.isp), 2);
    assert_ptr_equal(sim_isp_find(s.mail, "post.example"), s.isp);
    assert_null(sim_isp_find(s.mail, "other.example"));
    free(t);
    scene_close(&s);
}

/* ---- weather ---- */

static void every_trait_and_fault_is_drawn(void **state)
{
    (void)state;
    unsigned traits = 0, alone = 0, obliging = 0;
    bool faults[SIM_FAULT_COUNT] = {false};
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct sim_world *world = sim_world_new(seed);
        struct mx_personality p;
        unsigned drawn = weather_personality(world, &p, "x.example");
        traits |= drawn;
        alone |= drawn && !(drawn & (drawn - 1)) ? drawn : 0;
        obliging += !drawn;
        weather_storm(world);
        for (enum sim_fault f = SIM_FAULT_BROKEN + 1; f < SIM_FAULT_COUNT; f++)
            faults[f] = faults[f] || sim_fault_rate(world, f) > 0;
        sim_world_free(world);
    }
    assert_int_equal(traits, (1u << WEATHER_TRAIT_COUNT) - 2);
    assert_int_equal(alone, traits);
    assert_in_range(obliging, 20, 200);
    for (enum sim_fault f = SIM_FAULT_BROKEN + 1; f < SIM_FAULT_COUNT; f++)
        assert_true(faults[f]);
}

/* Whatever the storm, it ends in order, and behind it the mail goes through. */
static void behind_the_storm_all_is_well(void **state)
{
    (void)state;
    uint64_t accepted = 0, failed = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct scene s;
        struct talk *t = calloc(8, sizeof *t), *list[9] = {0};
        scene_open(&s, seed);
        weather_storm(s.world);
        sim_fault_set(s.world, SIM_NO_SOCKET, 0); /* these clients would not know what to do */
        sim_fault_set(s.world, SIM_LACK, 0);
        nsec start = sim_now(s.world), end = start + 3600 * NSEC_PER_S;
        weather_moods(s.isp, start, end, 5);
        for (unsigned i = 0; i < 8; i++) {
            list[i] = &t[i];
            talk_open(&t[i], s.io, i % 2 ? "192.0.2.1" : "192.0.2.2", i % 3 ? "100.64.1.1" : "100.64.1.2", one_message);
            sim_run_until(s.world, start + (i + 1) * 300 * NSEC_PER_S);
        }
        sim_run_until(s.world, end);
        weather_calm(s.world);
        sim_run_until(s.world, end + 2 * 3600 * NSEC_PER_S);
        for (unsigned i = 0; i < 8; i++) {
            failed += t[i].end <= 0;
            if (!t[i].closed && !t[i].closing)
                talk_close(&t[i]); /* the exchanger had fallen silent */
        }
        talk_through(&s, list);
        accepted += judge_accepted(s.isp);
        uint64_t before = judge_accepted(s.isp);
        talk_open(&t[0], s.io, "192.0.2.1", "100.64.1.1", one_message);
        list[1] = NULL;
        talk_through(&s, list);
        assert_int_equal(judge_accepted(s.isp), before + 1);
        sim_run_until(s.world, sim_now(s.world) + 3600 * NSEC_PER_S);
        assert_int_equal(s.isp->server.open, 0);
        assert_int_equal(sim_descriptors(s.io), 0);
        for (unsigned i = 0; i < s.isp->exchanger_count; i++)
            assert_int_equal(sim_timers(s.isp->exchangers[i].io), 0);
        free(t);
        scene_close(&s);
    }
    assert_true(accepted > 100 && failed > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_copy_is_counted_by_its_token),
        cmocka_unit_test(starts_are_known_to_the_instant),
        cmocka_unit_test(the_formula_is_judged_over_every_interval),
        cmocka_unit_test(connections_are_counted_by_the_clients_view),
        cmocka_unit_test(moods_change_with_time),
        cmocka_unit_test(an_exchanger_goes_and_comes),
        cmocka_unit_test(every_trait_and_fault_is_drawn),
        cmocka_unit_test(behind_the_storm_all_is_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
