/* A server that says anything, and an owner that does anything it may: what the client promises must hold.
 *
 * Each byte of the input below 0x20 is something that the owner or the network does; all others, and what an escape
 * names, are the server's bytes. */
#include "proto/smtp/client.h"

#include "proto/smtp/write.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct client client;
    struct reply_parser parser;
    struct client_envelope envelopes[CLIENT_SLOTS_MAX];
    bool open[CLIENT_SLOTS_MAX], body_out[CLIENT_SLOTS_MAX], closed;
    unsigned offered, ended;
};

/* What goes out is whole lines, and no control but their ends. */
static void check_sent(const struct client_out *out)
{
    sluice_assert(out->n <= CLIENT_OUT_MAX && (out->n == 0 || (out->n >= 2 && out->p[out->n - 1] == '\n')));
    for (size_t i = 0; i < out->n; i++) {
        if (out->p[i] == '\n')
            sluice_assert(i > 0 && out->p[i - 1] == '\r');
        else if (out->p[i] == '\r')
            sluice_assert(i + 1 < out->n && out->p[i + 1] == '\n');
        else
            sluice_assert((unsigned char)out->p[i] >= ' ' && out->p[i] != 0x7f);
    }
}

static void drain(struct run *run)
{
    struct client_result result;
    enum client_what what;
    while ((what = client_next(&run->client, &result)) == CLIENT_ENDED) {
        sluice_assert(result.slot < CLIENT_SLOTS_MAX && run->open[result.slot]);
        sluice_assert(result.stage > STAGE_BROKEN && result.stage < STAGE_COUNT);
        sluice_assert(result.happening > HAPPENING_BROKEN && result.happening < HAPPENING_COUNT);
        sluice_assert(!result.body_left || run->body_out[result.slot]);
        sluice_assert(result.body_left || !run->body_out[result.slot] || result.happening == HAPPENING_REPLY);
        sluice_assert(result.body_left == (result.stage == STAGE_BODY));
        sluice_assert(!(result.untouched && result.body_left));
        sluice_assert((result.reply != NULL) == (result.happening == HAPPENING_REPLY));
        run->open[result.slot] = run->body_out[result.slot] = false;
        run->ended++;
    }
    if (what == CLIENT_CLOSE) {
        sluice_assert(!run->closed && run->ended == run->offered);
        run->closed = true;
    }
    sluice_assert(run->closed == (run->client.state == CLIENT_CLOSED));
    sluice_assert(!run->closed || !client_wants(&run->client));
}

static void receive(struct run *run, struct slice bytes)
{
    struct reply reply;
    for (;;) {
        if (client_secures(&run->client)) {
            reply_init(&run->parser);
            return;
        }
        char room[CLIENT_OUT_MAX];
        struct client_out out = {.p = room, .cap = sizeof room};
        enum reply_result result = reply_parse(&run->parser, &bytes, &reply);
        if (result == REPLY_MORE)
            return;
        if (result == REPLY_COMPLETE)
            client_reply(&run->client, &reply, &out);
        else
            client_lost(&run->client, HAPPENING_GARBAGE);
        check_sent(&out);
        drain(run);
        if (result != REPLY_COMPLETE)
            return;
    }
}

static void offer(struct run *run, unsigned kind)
{
    static const struct slice addresses[] = {{"ann@x.example", 13},
                                             {"a\r\nRSET@x.example", 17},
                                             {"j\xc3\xb6rg@x.example", 15},
                                             {"", 0},
                                             {"a>b@x.example", 13}};
    char room[CLIENT_OUT_MAX];
    struct client_out out = {.p = room, .cap = sizeof room};
    if (!client_wants(&run->client))
        return;
    unsigned slot = 0;
    while (run->open[slot])
        slot++;
    sluice_assert(slot < CLIENT_SLOTS_MAX);
    run->open[slot] = true;
    run->offered++;
    run->envelopes[slot] = (struct client_envelope){.from = SLICE("b@s.example"),
                                                    .to = addresses[kind % countof(addresses)],
                                                    .size = kind * 1000,
                                                    .eight_bit = kind & 1,
                                                    .utf8 = kind % countof(addresses) == 2,
                                                    .stuffed = kind == 5};
    sluice_assert(client_offer(&run->client, &run->envelopes[slot], &out) == slot);
    check_sent(&out);
    drain(run);
}

static void withdraw(struct run *run, unsigned slot)
{
    if (!run->open[slot] || run->body_out[slot])
        return;
    client_withdraw(&run->client, slot);
    drain(run);
    sluice_assert(!run->open[slot]);
}

static void act(struct run *run, uint8_t action)
{
    static const enum happening losses[] = {HAPPENING_LOCAL, HAPPENING_UNREACHABLE, HAPPENING_CLOSED,
                                            HAPPENING_RESET, HAPPENING_TIMEOUT,     HAPPENING_GARBAGE};
    char room[CLIENT_OUT_MAX];
    struct client_out out = {.p = room, .cap = sizeof room};
    int slot = client_body_slot(&run->client);
    if (action == 0x01 && slot >= 0) {
        enum client_body body = client_body_written(&run->client, (unsigned)slot, &out);
        sluice_assert((body == CLIENT_BODY_CHUNK) == (out.n > 0));
        check_sent(&out);
        run->body_out[slot] = true;
    } else if (action >= 0x02 && action <= 0x03) {
        withdraw(run, action - 0x02u);
    } else if (action == 0x04 && run->client.state == CLIENT_READY) {
        client_quit(&run->client, &out);
        check_sent(&out);
    } else if (action == 0x05 && client_secures(&run->client)) {
        client_secured(&run->client, &out);
        check_sent(&out);
        drain(run);
    } else if (action >= 0x06 && action <= 0x09) {
        withdraw(run, action - 0x04u);
    } else if (action >= 0x0e && action <= 0x13) {
        client_lost(&run->client, losses[action - 0x0e]);
        drain(run);
    } else if (action >= 0x14 && action < 0x20) {
        offer(run, action - 0x14u);
    }
    sluice_assert(client_waits_for(&run->client) < CLIENT_WAIT_COUNT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run run;
    if (size == 0)
        return 0;
    memset(&run, 0, sizeof run);
    struct client_options options = {.ehlo = SLICE("m1.example.com"),
                                     .pipelining = data[0] & 1,
                                     .across = data[0] & 2,
                                     .in_flight = data[0] & 4 ? 3 : 0,
                                     .proved = data[0] & 8,
                                     .starttls = data[0] & 16,
                                     .messages_max = data[0] >> 6};
    if (data[0] & 32)
        options.credentials =
            (struct client_credentials){CLIENT_MECHANISM_LOGIN, SLICE("dXNlcg=="), SLICE("cGFzcw=="), .in_clear = true};
    client_init(&run.client, &options);
    reply_init(&run.parser);
    for (size_t i = 1; i < size; i++) {
        if (data[i] < 0x20 && data[i] != '\r' && data[i] != '\n')
            act(&run, data[i]);
        else
            receive(&run, (struct slice){(const char *)data + i, 1});
    }
    client_lost(&run.client, HAPPENING_CLOSED);
    drain(&run);
    sluice_assert(run.closed && run.ended == run.offered && !run.client.open);
    return 0;
}
