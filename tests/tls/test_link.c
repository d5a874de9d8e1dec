/* tls.c without any io: a link and a server over memory, on a clock of the test's own. What stream.c adds, and what
 * hostile servers do, is in test_tls_*.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/tls.h"
#include "net/tls_private.h"
#include "peer.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- the clock: the only things of io.h that tls.c asks for ---- */

struct io {
    nsec now, wall;
};
nsec io_now(struct io *io) { return io->now; }
nsec io_wall(struct io *io) { return io->wall; }

#define DAY (86400 * NSEC_PER_S)

static const nsec EPOCH = 1800000000 * NSEC_PER_S; /* some time in 2027 */

/* ---- both sides ---- */

enum { CONNECTIONS = 120, SESSIONS = 4 };

struct scene {
    struct io io;
    struct arena arena;
    struct tls *tls;
    struct party authority, mx;
    char ca[64];
    SSL_CTX *server;
};

struct side {
    struct scene *scene;
    struct tls_link link;
    struct peer peer;
    struct tls_result result;
    enum tls_step step; /* the last one that was not WAIT */
    size_t got;         /* content, all of it 'x' */
};

static void scene_server(struct scene *scene, const struct server_config *config)
{
    SSL_CTX_free(scene->server);
    scene->server = server_new(config);
}

static void scene_open_tls(struct scene *scene)
{
    struct tls_config config = {
        .io = &scene->io, .ca = scene->ca, .connections_max = CONNECTIONS, .sessions_max = SESSIONS};
    assert_true(arena_open(&scene->arena, tls_bytes(&config)));
    scene->tls = tls_open(&scene->arena, &config);
    assert_non_null(scene->tls);
}

static int set_up(void **state)
{
    struct scene *scene = test_calloc(1, sizeof *scene);
    scene->io = (struct io){.now = 77, .wall = EPOCH};
    party_open(&scene->authority, &(struct party_config){.common_name = "Test Authority",
                                                         .names = "",
                                                         .from = EPOCH - DAY,
                                                         .until = EPOCH + 1000 * DAY,
                                                         .authority = true});
    party_open(&scene->mx, &(struct party_config){.issuer = &scene->authority,
                                                  .common_name = "",
                                                  .names = "DNS:mx.example",
                                                  .from = EPOCH - DAY,
                                                  .until = EPOCH + 90 * DAY});
    party_save(&scene->authority, scene->ca, sizeof scene->ca);
    scene_server(scene, &(struct server_config){.party = &scene->mx, .tickets = 2});
    scene_open_tls(scene);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    struct tls_counts counts = tls_counts(scene->tls);
    assert_int_equal(counts.connections, 0);
    assert_int_equal(counts.buffers, 0);
    assert_int_equal(scene->tls->extra, 0);
    assert_int_equal(ERR_peek_error(), 0);
    tls_close(scene->tls);
    arena_drop(&scene->arena);
    SSL_CTX_free(scene->server);
    party_close(&scene->mx);
    party_close(&scene->authority);
    unlink(scene->ca);
    test_free(scene);
    return 0;
}

static struct tls_demand any(void)
{
    return (struct tls_demand){.check = TLS_CHECK_ANY, .server_name = "mx.example", .key = 1};
}

static struct tls_demand pkix(void)
{
    return (struct tls_demand){
        .check = TLS_CHECK_PKIX, .server_name = "mx.example", .names = {"mx.example"}, .name_count = 1, .key = 1};
}

static void side_open(struct side *side, struct scene *scene, const struct tls_demand *demand)
{
    *side = (struct side){.scene = scene};
    peer_open(&side->peer, scene->server);
    assert_null(tls_link_open(&side->link, scene->tls, demand));
}

/* To the server, all that there is. */
static void carry_out(struct side *side)
{
    struct slice parts[IO_SEND_PARTS];
    unsigned count = tls_link_take(&side->link, parts);
    for (unsigned i = 0; i < count; i++)
        peer_feed(&side->peer, parts[i].p, parts[i].n);
    tls_link_sent(&side->link);
}

static void carry_in(struct side *side)
{
    char bytes[4096];
    size_t n = peer_take(&side->peer, bytes, sizeof bytes);
    enum tls_step step;
    struct slice content;
    if (!n)
        return;
    tls_link_feed(&side->link, (struct slice){bytes, n});
    do {
        step = tls_link_read(&side->link, &content, &side->result);
        if (step != TLS_STEP_WAIT)
            side->step = step;
        if (step == TLS_STEP_CONTENT)
            for (size_t i = 0; i < content.n; i++, side->got++)
                assert_int_equal(content.p[i], 'x');
    } while (step == TLS_STEP_CONTENT || step == TLS_STEP_SECURED);
}

static void run(struct side *side)
{
    do {
        carry_out(side);
        carry_in(side);
    } while (side->step != TLS_STEP_FAILED && (side->link.count || peer_pending(&side->peer)));
}

static void side_close(struct side *side)
{
    tls_link_close(&side->link);
    peer_close(&side->peer);
}

/* A handshake, a few bytes back (with them the tickets of TLS 1.3), and an end without close_notify. */
static struct tls_result visit(struct scene *scene, const struct tls_demand *demand)
{
    struct side side;
    side_open(&side, scene, demand);
    run(&side);
    if (side.result.ok) {
        peer_say(&side.peer, "xxx", 3);
        run(&side);
        assert_int_equal(side.got, 3);
    }
    side_close(&side);
    return side.result;
}

static bool resumes(struct scene *scene, const struct tls_demand *demand)
{
    struct tls_result result = visit(scene, demand);
    if (!result.ok)
        fail_msg("%s", result.reason);
    return result.resumed;
}

/* ---- sessions ---- */

static void sessions_are_resumed(void **state)
{
    static const struct server_config kinds[] = {
        {.most = TLS1_2_VERSION},
        {.most = TLS1_2_VERSION, .stateful = true},
        {.tickets = 1},
        {.tickets = 2},
        {.tickets = 1, .stateful = true},
        {.tickets = 1, .lasting = true},
        {.most = TLS1_2_VERSION, .lasting = true},
    };
    struct scene *scene = *state;
    struct tls_demand demands[] = {any(), pkix()};
    for (size_t i = 0; i < countof(kinds); i++) {
        struct server_config kind = kinds[i];
        kind.party = &scene->mx;
        scene_server(scene, &kind);
        for (size_t j = 0; j < countof(demands); j++) {
            demands[j].key = 100 + i;
            assert_false(resumes(scene, &demands[j]));
            for (unsigned again = 0; again < 4; again++)
                assert_true(resumes(scene, &demands[j]));
        }
    }
    struct tls_counts counts = tls_counts(scene->tls);
    assert_int_equal(counts.full, 2 * countof(kinds));
    assert_int_equal(counts.resumed, 8 * countof(kinds));
    assert_int_equal(counts.failed, 0);
    assert_int_equal(counts.sessions, SESSIONS);
}

static void no_session_crosses_demands(void **state)
{
    struct scene *scene = *state;
    uint8_t digest[32], other[32] = {1};
    party_digest(&scene->mx, 1, digest);
    struct tls_tlsa match = {3, 1, 1, {(const char *)digest, 32}}, nothing = {3, 1, 1, {(const char *)other, 32}};
    struct tls_demand base = pkix(), demands[10];
    unsigned n = 0;
    demands[n++] = base;
    demands[n] = base, demands[n++].key++;
    demands[n] = base, demands[n++].server_name = NULL;
    demands[n] = base, demands[n++].server_name = "MX.example";
    demands[n] = base, demands[n].names[1] = "other.example", demands[n++].name_count = 2;
    demands[n] = base, demands[n++].check = TLS_CHECK_ANY;
    demands[n] = base, demands[n].check = TLS_CHECK_DANE, demands[n].tlsa[0] = match, demands[n++].tlsa_count = 1;
    demands[n] = demands[n - 1], demands[n].tlsa[1] = nothing, demands[n++].tlsa_count = 2;
    tls_close(scene->tls);
    arena_drop(&scene->arena);
    struct tls_config config = {.io = &scene->io, .ca = scene->ca, .connections_max = 4, .sessions_max = 64};
    assert_true(arena_open(&scene->arena, tls_bytes(&config)));
    scene->tls = tls_open(&scene->arena, &config);
    for (unsigned i = 0; i < n; i++)
        assert_false(resumes(scene, &demands[i]));
    for (unsigned i = 0; i < n; i++)
        assert_true(resumes(scene, &demands[i]));
    assert_int_equal(tls_counts(scene->tls).sessions, n);
}

static void sessions_age(void **state)
{
    struct scene *scene = *state;
    struct tls_demand demand = any();
    assert_false(resumes(scene, &demand));
    scene->io.now += DAY / 12 - NSEC_PER_S; /* OpenSSL's servers give their tickets two hours */
    assert_true(resumes(scene, &demand));
    scene->io.now += DAY / 12;
    assert_false(resumes(scene, &demand));
    /* A server gives a new ticket at each resumption; what was checked is a day old some time all the same. */
    demand.key = 2;
    assert_false(resumes(scene, &demand));
    for (unsigned hour = 1; hour < 24; hour++) {
        scene->io.now += DAY / 24;
        assert_true(resumes(scene, &demand));
    }
    scene->io.now += DAY / 24;
    assert_false(resumes(scene, &demand));
    /* What was checked is not relied on past the certificate's end. */
    scene->io.wall = EPOCH + 90 * DAY - 60 * NSEC_PER_S;
    demand = pkix();
    assert_false(resumes(scene, &demand));
    scene->io.now += 59 * NSEC_PER_S, scene->io.wall += 59 * NSEC_PER_S;
    assert_true(resumes(scene, &demand));
    scene->io.now += 2 * NSEC_PER_S, scene->io.wall += 2 * NSEC_PER_S;
    struct tls_result result = visit(scene, &demand);
    assert_false(result.ok);
    assert_true(result.certificate);
    assert_string_equal(result.reason, "certificate: certificate has expired");
}

static void the_least_used_session_goes(void **state)
{
    struct scene *scene = *state;
    struct tls_demand demand = any();
    for (demand.key = 0; demand.key < SESSIONS; demand.key++)
        assert_false(resumes(scene, &demand));
    demand.key = 0;
    assert_true(resumes(scene, &demand));
    demand.key = 99; /* drives out 1, the one that was used longest ago */
    assert_false(resumes(scene, &demand));
    assert_int_equal(tls_counts(scene->tls).sessions, SESSIONS);
    demand.key = 0;
    assert_true(resumes(scene, &demand));
    demand.key = 2;
    assert_true(resumes(scene, &demand));
    demand.key = 1;
    assert_false(resumes(scene, &demand));
}

static void a_server_that_forgot_gets_a_full_handshake(void **state)
{
    struct scene *scene = *state;
    struct tls_demand demand = any();
    assert_false(resumes(scene, &demand));
    scene_server(scene, &(struct server_config){.party = &scene->mx, .tickets = 2});
    assert_false(resumes(scene, &demand));
    assert_true(resumes(scene, &demand));
}

/* A session of TLS 1.2 does not keep a server down that has learned better. */
static void a_server_that_learned_is_followed(void **state)
{
    struct scene *scene = *state;
    struct tls_demand demand = any();
    scene_server(scene, &(struct server_config){.party = &scene->mx, .most = TLS1_2_VERSION});
    assert_false(resumes(scene, &demand));
    assert_true(resumes(scene, &demand));
    scene_server(scene, &(struct server_config){.party = &scene->mx, .tickets = 2});
    assert_string_equal(visit(scene, &demand).version, "TLSv1.2");
    struct tls_result result = visit(scene, &demand);
    assert_false(result.resumed);
    assert_string_equal(result.version, "TLSv1.3");
    assert_true(resumes(scene, &demand));
}

/* Nor is it broken for those who come with a session that it does not want any more. */
static void a_server_that_gave_up_the_old_is_asked_again(void **state)
{
    struct scene *scene = *state;
    struct tls_demand demand = any();
    scene_server(scene, &(struct server_config){.party = &scene->mx, .most = TLS1_2_VERSION});
    assert_false(resumes(scene, &demand));
    scene_server(scene, &(struct server_config){.party = &scene->mx, .least = TLS1_3_VERSION, .tickets = 1});
    struct tls_result result = visit(scene, &demand);
    assert_false(result.ok);
    assert_true(result.stale);
    assert_string_equal(result.reason, "handshake: tlsv1 alert protocol version");
    assert_string_equal(visit(scene, &demand).version, "TLSv1.3");
}

static void a_failed_handshake_drops_its_session(void **state)
{
    struct scene *scene = *state;
    struct tls_demand demand = any();
    assert_false(resumes(scene, &demand));
    assert_int_equal(tls_counts(scene->tls).sessions, 1);
    struct side side;
    side_open(&side, scene, &demand);
    tls_link_cut(&side.link, -ECONNRESET, &side.result);
    assert_string_equal(side.result.reason, "handshake: the connection broke: Connection reset by peer");
    assert_false(side.result.certificate || side.result.local || side.result.ok);
    assert_true(side.result.stale);
    side_close(&side);
    assert_int_equal(tls_counts(scene->tls).sessions, 0);
    assert_int_equal(tls_counts(scene->tls).failed, 1);
    side_open(&side, scene, &demand);
    tls_link_cut(&side.link, 0, &side.result);
    assert_false(side.result.stale);
    side_close(&side);
    assert_false(resumes(scene, &demand));
}

/* ---- buffers ---- */

static char *block_new(size_t n)
{
    char *block = test_malloc(n);
    memset(block, 'y', n);
    return block;
}

static void nobody_waits_for_a_stuck_connection(void **state)
{
    enum { STUCK = CONNECTIONS - 1, MUCH = 1 << 20 };
    struct scene *scene = *state;
    struct tls_demand demand = any();
    struct side *sides = test_calloc(CONNECTIONS, sizeof *sides);
    struct slice parts[IO_SEND_PARTS], block = {block_new(MUCH), MUCH};
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        side_open(&sides[i], scene, &demand);
        run(&sides[i]);
        assert_true(sides[i].result.ok);
    }
    for (unsigned i = 0; i < STUCK; i++) {
        size_t at = 0;
        assert_true(tls_link_write(&sides[i].link, &block, 1, &at));
        assert_true(at > 0 && at <= 4 * TLS_CONTENT);
        assert_true(tls_link_take(&sides[i].link, parts) > 0); /* and never sent */
    }
    assert_int_equal(scene->tls->extra, TLS_EXTRA_BUFFERS);
    assert_int_equal(tls_counts(scene->tls).buffers, STUCK + TLS_EXTRA_BUFFERS);
    struct side *last = &sides[STUCK];
    for (size_t at = 0; at < MUCH;) {
        assert_true(tls_link_write(&last->link, &block, 1, &at));
        assert_true(last->link.count > 0);
        carry_out(last);
    }
    assert_int_equal(last->peer.got_n, MUCH);
    assert_memory_equal(last->peer.got, block.p, MUCH);
    /* Those that are stuck still answer: to a KeyUpdate, for one (RFC 8446 §4.6.3). */
    assert_int_equal(SSL_key_update(sides[0].peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
    peer_say(&sides[0].peer, "x", 1);
    carry_in(&sides[0]);
    assert_int_equal(sides[0].step, TLS_STEP_CONTENT);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        tls_link_sent(&sides[i].link);
        side_close(&sides[i]);
    }
    assert_int_equal(scene->tls->extra, 0);
    test_free((char *)block.p);
    test_free(sides);
}

static void small_parts_share_a_record(void **state)
{
    struct scene *scene = *state;
    struct tls_demand demand = any();
    struct side side;
    struct slice parts[IO_SEND_PARTS];
    char *block = block_new(20000);
    side_open(&side, scene, &demand);
    run(&side);
    for (unsigned i = 0; i < IO_SEND_PARTS; i++)
        parts[i] = (struct slice){block, i == 5 ? 0 : 100};
    size_t at = 0;
    assert_true(tls_link_write(&side.link, parts, IO_SEND_PARTS, &at));
    assert_int_equal(at, 700);
    assert_int_equal(side.link.count, 1);
    assert_int_equal(side.link.buffers[0]->n, 700 + 5 + 1 + 16); /* header, type, tag (RFC 8446 §5.2) */
    run(&side);
    assert_int_equal(side.peer.got_n, 700);
    for (size_t i = 0; i < TLS_CONTENT; i++)
        assert_int_equal(scene->tls->gather[i], 0); /* AUTH was perhaps what was gathered */
    side_close(&side);
    test_free(block);
}

/* The chain that a server sends is checked, and then let go. */
static void an_idle_link_holds_one_certificate(void **state)
{
    struct scene *scene = *state;
    struct tls_demand demands[] = {any(), pkix()};
    scene_server(scene, &(struct server_config){.party = &scene->mx, .chain = 3, .tickets = 2});
    for (size_t i = 0; i < 2 * countof(demands); i++) {
        struct side side;
        side_open(&side, scene, &demands[i / 2]);
        run(&side);
        assert_true(side.result.ok);
        assert_int_equal(side.result.resumed, i % 2);
        assert_int_equal(sk_X509_num(SSL_get_peer_cert_chain(side.link.ssl)), 1);
        assert_null(SSL_get0_verified_chain(side.link.ssl));
        side_close(&side);
    }
}

static void one_connection_too_many(void **state)
{
    struct scene *scene = *state;
    struct tls_demand demand = any();
    struct side *sides = test_calloc(CONNECTIONS, sizeof *sides);
    struct tls_link link = {0};
    for (unsigned i = 0; i < CONNECTIONS; i++)
        side_open(&sides[i], scene, &demand);
    assert_string_equal(tls_link_open(&link, scene->tls, &demand), "too many encrypted connections at once");
    side_close(&sides[7]);
    side_open(&sides[7], scene, &demand);
    for (unsigned i = 0; i < CONNECTIONS; i++)
        side_close(&sides[i]);
    test_free(sides);
}

/* What a crash leaves behind is freed; LeakSanitizer watches. */
static void a_crash_leaves_nothing(void **state)
{
    struct scene *scene = *state;
    struct tls_demand demand = any();
    struct side sides[3];
    struct slice parts[IO_SEND_PARTS];
    for (unsigned i = 0; i < countof(sides); i++)
        side_open(&sides[i], scene, &demand);
    run(&sides[1]);
    assert_int_equal(tls_link_take(&sides[2].link, parts), 1);
    tls_close(scene->tls);
    arena_drop(&scene->arena);
    for (unsigned i = 0; i < countof(sides); i++)
        peer_close(&sides[i].peer);
    scene_open_tls(scene);
}

/* ---- TLSA records ---- */

static void records_for_smtp_alone_are_usable(void **state)
{
    struct scene *scene = *state;
    uint8_t digest[64] = {0};
    unsigned char *der = NULL;
    int n = i2d_X509(scene->mx.certificate, &der);
    const char *data = (const char *)digest;
    for (unsigned usage = 0; usage < 6; usage++)
        for (unsigned selector = 0; selector < 4; selector++)
            for (unsigned matching = 0; matching < 5; matching++)
                for (size_t length = 0; length <= 64; length += 16) {
                    struct tls_tlsa tlsa = {(uint8_t)usage, (uint8_t)selector, (uint8_t)matching, {data, length}};
                    bool fits = (matching == 1 && length == 32) || (matching == 2 && length == 64);
                    assert_int_equal(tls_tlsa_usable(&tlsa), (usage == 2 || usage == 3) && selector <= 1 && fits);
                }
    struct tls_tlsa whole = {2, 0, 0, {(const char *)der, (size_t)n}};
    assert_true(tls_tlsa_usable(&whole));
    whole.data.n--;
    assert_false(tls_tlsa_usable(&whole));
    whole.data.n++;
    whole.selector = 1;
    assert_false(tls_tlsa_usable(&whole));
    OPENSSL_free(der);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sessions_are_resumed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_session_crosses_demands, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sessions_age, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_least_used_session_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_server_that_forgot_gets_a_full_handshake, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_server_that_learned_is_followed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_server_that_gave_up_the_old_is_asked_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_handshake_drops_its_session, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_waits_for_a_stuck_connection, set_up, tear_down),
        cmocka_unit_test_setup_teardown(small_parts_share_a_record, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_idle_link_holds_one_certificate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_connection_too_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_crash_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(records_for_smtp_alone_are_usable, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
