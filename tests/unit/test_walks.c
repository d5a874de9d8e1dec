/* Random sessions between the client and a model of a server that shares no code with it: what the client tells about a
 * message must be what the server knows of it, and nothing may be sent that the RFCs do not allow at that point. */
#include "smtp_model.h"

#include "proto/smtp/client_step.h"

#include "proto/smtp/write.h"

enum { WALKS = 20000, STEPS_MAX = 4000 };

/* ---- the client and its owner ---- */

struct message {
    struct client_envelope envelope;
    char from[32], to[32];
    bool offered, ended;
    struct client_result result;
    unsigned code;
};

struct walk {
    uint64_t seed;
    struct server server;
    struct client client;
    struct reply_parser parser;
    struct pipe wire; /* from the client, not yet at the server */
    struct message messages[MESSAGES];
    unsigned offered, withdrawn;
    int in_slot[CLIENT_SLOTS_MAX]; /* message, or -1 */
    bool body_out[CLIENT_SLOTS_MAX];
    bool closed;
};

/* What the walks came upon, so that a walk that never meets what it is for fails. */
static unsigned met_states[CLIENT_STATE_COUNT], met_stages[STAGE_COUNT], met_happenings[HAPPENING_COUNT];
static unsigned met_objections, met_behind, met_untouched, met_delivered, met_flying;

static void check_end(const struct walk *walk, unsigned id, const struct client_result *result)
{
    const struct known *known = &walk->server.known[id];
    met_stages[result->stage]++;
    met_happenings[result->happening]++;
    met_untouched += result->untouched;
    assert_int_equal(result->body_left, result->stage == STAGE_BODY);
    if (!result->body_left)
        assert_false(known->body_came);
    if (result->untouched)
        assert_false(result->body_left);
    if (result->happening != HAPPENING_REPLY) {
        assert_null(result->reply);
        return;
    }
    assert_non_null(result->reply);
    unsigned code = result->reply->code;
    if (result->stage == STAGE_BODY) /* the reply to the dot says what became of it */
        assert_int_equal(known->accepted, code == 250);
    if (!result->untouched && code != 421) { /* each reply belongs to the command it is an answer to */
        assert_int_equal(known->stage, result->stage);
        assert_int_equal(known->code, code);
    }
    met_delivered += result->stage == STAGE_BODY && code == 250;
}

static void drain(struct walk *walk)
{
    struct client_result result;
    enum client_what what;
    while ((what = client_next(&walk->client, &result)) == CLIENT_ENDED) {
        assert_true(result.slot < CLIENT_SLOTS_MAX && walk->in_slot[result.slot] >= 0);
        unsigned id = (unsigned)walk->in_slot[result.slot];
        assert_true(!result.body_left || walk->body_out[result.slot]);
        walk->in_slot[result.slot] = -1;
        walk->body_out[result.slot] = false;
        assert_false(walk->messages[id].ended);
        walk->messages[id].ended = true;
        walk->messages[id].result = result;
        check_end(walk, id, &result);
    }
    if (what == CLIENT_CLOSE) {
        assert_false(walk->closed);
        walk->closed = true;
    }
}

static void sent(struct walk *walk, const struct client_out *out)
{
    push(&walk->wire, out->p, out->n);
    if (!out->secret.n)
        return;
    push(&walk->wire, out->secret.p, out->secret.n);
    push(&walk->wire, "\r\n", 2);
}

static void receive(struct walk *walk, struct slice bytes)
{
    struct reply reply;
    while (!walk->closed) {
        if (client_secures(&walk->client)) {
            reply_init(&walk->parser);
            return;
        }
        char room[CLIENT_OUT_MAX];
        struct client_out out = {.p = room, .cap = sizeof room};
        enum reply_result result = reply_parse(&walk->parser, &bytes, &reply);
        if (result == REPLY_MORE)
            return;
        if (result == REPLY_COMPLETE)
            client_reply(&walk->client, &reply, &out);
        else
            client_lost(&walk->client, HAPPENING_GARBAGE);
        sent(walk, &out);
        drain(walk);
    }
}

static void offer(struct walk *walk)
{
    unsigned id = walk->offered++;
    struct message *message = &walk->messages[id];
    snprintf(message->from, sizeof message->from, "s%u@s.example", id);
    snprintf(message->to, sizeof message->to, "m%u@x.example", id);
    message->envelope = (struct client_envelope){.from = slice_of(message->from),
                                                 .to = slice_of(message->to),
                                                 .size = CHUNK,
                                                 .stuffed = chance(&walk->seed, 10)};
    message->offered = true;
    char room[CLIENT_OUT_MAX];
    struct client_out out = {.p = room, .cap = sizeof room};
    met_behind += walk->client.state == CLIENT_BODY;
    met_flying += client_step_bodies(&walk->client) > 1;
    unsigned slot = client_offer(&walk->client, &message->envelope, &out);
    assert_true(slot < CLIENT_SLOTS_MAX && walk->in_slot[slot] < 0);
    walk->in_slot[slot] = (int)id;
    push(&walk->wire, room, out.n);
    drain(walk);
}

static void write_body(struct walk *walk, unsigned slot)
{
    static const char *const rests[] = {".\n", "..\r\n.a\r\n", "\r\n\r\n", ".\r\nQUIT\r\n", "x", "\r", "\n.\r\n"};
    char body[64], out[160], room[CLIENT_OUT_MAX];
    struct client_out command = {.p = room, .cap = sizeof room};
    walk->body_out[slot] = true;
    if (client_body_written(&walk->client, slot, &command) == CLIENT_BODY_CHUNK) {
        sent(walk, &command);
        int n = snprintf(body, sizeof body, "text %d@ of %d octets\r\n", walk->in_slot[slot], CHUNK);
        assert_int_equal(n, CHUNK);
        push(&walk->wire, body, CHUNK);
        drain(walk);
        return;
    }
    assert_int_equal(command.n, 0);
    int length =
        snprintf(body, sizeof body, "text %d@\r\n%s", walk->in_slot[slot], rests[pick(&walk->seed, countof(rests))]);
    struct slice part = {body, (size_t)length};
    enum write_line line = WRITE_LINE_START;
    size_t n = write_stuffed(out, sizeof out, &part, &line);
    assert_int_equal(part.n, 0);
    n += write_end(out + n, sizeof out - n, line);
    push(&walk->wire, out, n);
    drain(walk);
}

static void withdraw_some(struct walk *walk)
{
    for (unsigned slot = 0; slot < CLIENT_SLOTS_MAX; slot++)
        if (walk->in_slot[slot] >= 0 && !walk->body_out[slot] && chance(&walk->seed, 2)) {
            walk->withdrawn++;
            client_withdraw(&walk->client, slot);
            drain(walk);
            return;
        }
}

/* What the owner does by itself. False: nothing. */
static bool owner_step(struct walk *walk)
{
    if (walk->closed)
        return false;
    if (client_secures(&walk->client)) {
        if (walk->server.phase != PHASE_HANDSHAKE)
            return false;
        char room[CLIENT_OUT_MAX];
        struct client_out out = {.p = room, .cap = sizeof room};
        walk->server.out.n = 0; /* what came in plain text */
        walk->server.phase = PHASE_COMMANDS;
        if (chance(&walk->seed, 90))
            client_secured(&walk->client, &out);
        else
            client_lost(&walk->client, HAPPENING_TLS);
        sent(walk, &out);
        drain(walk);
        return true;
    }
    int slot = client_body_slot(&walk->client);
    if (slot >= 0) {
        write_body(walk, (unsigned)slot);
        return true;
    }
    if (walk->offered < MESSAGES && client_wants(&walk->client)) {
        offer(walk);
        return true;
    }
    if (walk->client.state == CLIENT_READY) {
        char room[CLIENT_OUT_MAX];
        struct client_out out = {.p = room, .cap = sizeof room};
        client_quit(&walk->client, &out);
        push(&walk->wire, room, out.n);
        drain(walk);
        return true;
    }
    return false;
}

/* Some bytes from the client arrive. */
static bool deliver(struct walk *walk)
{
    size_t n = walk->wire.n;
    if (n == 0)
        return false;
    if (chance(&walk->seed, 30))
        n = 1 + pick(&walk->seed, (unsigned)n);
    push(&walk->server.in, walk->wire.p, n);
    drop(&walk->wire, n);
    return true;
}

/* Some bytes from the server arrive, or its end. */
static bool answer(struct walk *walk)
{
    struct server *server = &walk->server;
    if (walk->closed)
        return false;
    if (server->out.n > 0 && !(server->phase == PHASE_CLOSED && server->reset)) {
        size_t n = chance(&walk->seed, 50) ? server->out.n : 1 + pick(&walk->seed, (unsigned)server->out.n);
        char bytes[PIPE];
        memcpy(bytes, server->out.p, n);
        drop(&server->out, n);
        receive(walk, (struct slice){bytes, n});
        return true;
    }
    if (server->phase == PHASE_CLOSED) {
        client_lost(&walk->client, server->reset ? HAPPENING_RESET : HAPPENING_CLOSED);
        drain(walk);
        return true;
    }
    return false;
}

static bool any_step(struct walk *walk)
{
    bool (*steps[])(struct walk *) = {owner_step, deliver, answer};
    unsigned first = pick(&walk->seed, 4);
    met_states[walk->client.state]++;
    withdraw_some(walk);
    for (unsigned i = 0; i < 4; i++) {
        unsigned which = (first + i) % 4;
        if (which == 3 ? server_step(&walk->server) : steps[which](walk))
            return true;
    }
    return false;
}

static void begin(struct walk *walk, uint64_t seed)
{
    memset(walk, 0, sizeof *walk);
    walk->seed = seed;
    for (unsigned slot = 0; slot < CLIENT_SLOTS_MAX; slot++)
        walk->in_slot[slot] = -1;
    struct client_options options = {.ehlo = SLICE("m1.example.com")};
    options.pipelining = chance(&walk->seed, 90);
    options.across = chance(&walk->seed, 90);
    options.messages_max = chance(&walk->seed, 20) ? 1 + pick(&walk->seed, 4) : 0;
    options.starttls = chance(&walk->seed, 30);
    options.required = options.starttls && chance(&walk->seed, 30);
    options.in_flight = chance(&walk->seed, 60) ? 1 + pick(&walk->seed, CLIENT_IN_FLIGHT_MAX) : 0;
    if (chance(&walk->seed, 20))
        options.credentials =
            (struct client_credentials){CLIENT_MECHANISM_LOGIN, SLICE("dXNlcg=="), SLICE("cGFzcw=="), .in_clear = true};
    client_init(&walk->client, &options);
    reply_init(&walk->parser);
    struct server *server = &walk->server;
    server->seed = &walk->seed;
    server->client = &walk->client;
    server->coming = &walk->wire;
    server->phase = PHASE_START;
    server->pipelining = chance(&walk->seed, 80);
    server->starttls = chance(&walk->seed, 50);
    server->auth = chance(&walk->seed, 50);
    server->chunking = chance(&walk->seed, 80);
    server->spills = chance(&walk->seed, 10);
    server->twice = chance(&walk->seed, 10);
    server->sticky = chance(&walk->seed, 50);
    server->hates_pipelining = chance(&walk->seed, 15);
    server->hates_across = chance(&walk->seed, 15);
    server->sloppy = chance(&walk->seed, 50);
    server->trouble = chance(&walk->seed, 50) ? 0 : pick(&walk->seed, 60);
    server->disaster = chance(&walk->seed, 50) ? 0 : pick(&walk->seed, 100);
}

static void walk_once(struct walk *walk)
{
    unsigned steps = 0;
    while (any_step(walk))
        assert_true(++steps < STEPS_MAX);
    if (!walk->closed) { /* nothing moves any more: that is the server's doing, and somebody waits for it */
        assert_int_equal(walk->server.phase, PHASE_HUNG);
        assert_int_not_equal(client_waits_for(&walk->client), CLIENT_WAIT_NONE);
        client_lost(&walk->client, HAPPENING_TIMEOUT);
        drain(walk);
    }
    assert_true(walk->closed);
    for (unsigned i = 0; i < walk->offered; i++) {
        const struct message *message = &walk->messages[i];
        assert_true(message->ended);
        /* What was accepted was told to be delivered, or is in doubt. */
        if (walk->server.known[i].accepted)
            assert_true(message->result.body_left);
    }
    /* An objection is understood the first time, unless its message was withdrawn. */
    assert_true(walk->server.objections <= 1 + walk->withdrawn);
    met_objections += client_objects_to_across(&walk->client) || client_objects_to_pipelining(&walk->client);
}

static void test_walks(void **state)
{
    (void)state;
    static struct walk walk;
    const char *given = getenv("SLUICE_SEED");
    uint64_t first = given ? strtoull(given, NULL, 0) : 1;
    for (uint64_t i = 0; i < WALKS; i++) {
        if (i == 0 || i % 5000 == 0)
            print_message("seeds from %llu\n", (unsigned long long)(first + i));
        begin(&walk, first + i);
        walk_once(&walk);
    }
    for (unsigned i = CLIENT_BROKEN + 1; i < CLIENT_STATE_COUNT; i++)
        assert_true(met_states[i] > 0);
    for (unsigned i = STAGE_MAIL; i <= STAGE_BODY; i++)
        assert_true(met_stages[i] > 0);
    assert_true(met_happenings[HAPPENING_REPLY] > 0 && met_happenings[HAPPENING_CLOSED] > 0);
    assert_true(met_happenings[HAPPENING_RESET] > 0 && met_happenings[HAPPENING_TIMEOUT] > 0);
    assert_true(met_happenings[HAPPENING_GARBAGE] > 0 && met_happenings[HAPPENING_LOCAL] > 0);
    assert_true(met_objections > 100 && met_behind > 1000 && met_untouched > 1000 && met_delivered > 10000 &&
                met_flying > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_walks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
