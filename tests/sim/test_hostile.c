/* Whatever answers in Redis' place (another service, a broken proxy, somebody who means harm), with any bytes: nothing
 * but "not yet" and "refused" comes of it, nobody is busy with it without a pause, and memory stays bounded. */
#include "store/control.h"
#include "store/inspect.h"
#include "store/lanes.h"
#include "store/suppress.h"
#include "store/total.h"
#include "store/warmup.h"
#include "store_story.h"

enum { STEPS = 24, LIARS = 3, TEXT = 64 * 1024, DEPTH = 9 };

struct liar {
    struct hostile *hostile;
    struct io *io;
    struct io_accept accept;
    struct caller *callers;
    unsigned lines; /* commands it has heard, about */
};

struct caller {
    struct caller *next;
    struct liar *liar;
    int fd;
    struct io_recv recv;
    struct io_send send;
    char out[TEXT];
    bool ends, closed;
};

struct hostile {
    struct story *story;
    struct liar liars[LIARS];
    bool friendly; /* lets everybody in: the greeting is answered as it should be */
    struct step {
        struct store_request request;
        struct hostile *hostile;
        unsigned asked, answers, refused;
        union {
            struct store_view view;
            struct store_warmup_view warmup;
            struct control_note note;
        };
        struct store_warmup_swap swap;
    } steps[STEPS];
    uint64_t turns;
};

static uint64_t draw(struct hostile *hostile, uint64_t below) { return story_draw(hostile->story, below); }

/* ---- lies ---- */

struct text {
    char *p;
    size_t n;
};

printf_like(2, 3) static void say(struct text *text, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = vsnprintf(text->p + text->n, TEXT - text->n, format, list);
    va_end(list);
    if (n > 0 && text->n + (size_t)n < TEXT)
        text->n += (size_t)n;
}

static void lie_in_words(struct hostile *hostile, struct text *text)
{
    static const char *const words[] = {"master",    "slave",      "running",
                                        "paused",    "10.0.2.1",   "10.0.2.2",
                                        "10.0.2.9",  "6379",       "0",
                                        "-1",        "4294967296", "?",
                                        "delivered", "sluice",     "1 1 1 - a@x",
                                        "x",         "message",    "warming 1 2 3",
                                        "+10.0.2.1", "",           "redis_mode:x",
                                        "\r\n",      "run_id:a",   "18446744073709551616"};
    const char *word = words[draw(hostile, countof(words))];
    say(text, "$%zu\r\n%s\r\n", strlen(word), word);
}

static void lie_in_errors(struct hostile *hostile, struct text *text)
{
    static const char *const errors[] = {"MOVED 1 10.0.2.2:6379",
                                         "MOVED 16383 10.0.2.1:6379",
                                         "MOVED 99999 10.0.2.1:6379",
                                         "MOVED",
                                         "MOVED 5 :0",
                                         "MOVED 7 10.0.2.3:6379",
                                         "ASK 7 10.0.2.1:6379",
                                         "ASK 0 [::1]:1",
                                         "ASK x y z",
                                         "TRYAGAIN",
                                         "CLUSTERDOWN",
                                         "LOADING x",
                                         "NOAUTH x",
                                         "ERR Function not found",
                                         "READONLY x",
                                         "ERR Library x",
                                         "NOPERM x",
                                         "",
                                         "IDONTKNOW No such master",
                                         "WRONGTYPE x",
                                         "NOREPLICAS"};
    say(text, "-%s\r\n", errors[draw(hostile, countof(errors))]);
}

static void lie(struct hostile *hostile, struct text *text, unsigned depth)
{
    switch (draw(hostile, depth < DEPTH ? 8 : 6)) {
    case 0:
        say(text, ":%lld\r\n", (long long)draw(hostile, 8) - 4);
        break;
    case 1:
        say(text, ":%lld\r\n", (long long)sim_random(hostile->story->world));
        break;
    case 2:
        say(text, "%s\r\n", draw(hostile, 2) ? "$-1" : "*-1");
        break;
    case 3:
        say(text, "+%s\r\n", draw(hostile, 2) ? "OK" : "QUEUED");
        break;
    case 4:
        lie_in_words(hostile, text);
        break;
    case 5:
        if (depth == 0 || draw(hostile, 8) == 0)
            lie_in_errors(hostile, text);
        else
            say(text, ":%u\r\n", (unsigned)draw(hostile, 20000));
        break;
    default: {
        uint64_t members = draw(hostile, depth ? 4 : 18);
        say(text, "*%u\r\n", (unsigned)members);
        for (uint64_t i = 0; i < members; i++)
            lie(hostile, text, depth + 1);
        break;
    }
    }
}

/* As the answer to a step begins: what it came to, the campaign's state; then anything. */
static void lie_well(struct hostile *hostile, struct text *text)
{
    unsigned members = 2 + (unsigned)draw(hostile, 16);
    say(text, "*%u\r\n:%d\r\n$7\r\nrunning\r\n", members, draw(hostile, 4) ? 1 : (int)draw(hostile, 8) - 6);
    for (unsigned i = 2; i < members; i++)
        lie(hostile, text, 1);
}

/* What is no RESP, or never ends. */
static void babble(struct hostile *hostile, struct text *text)
{
    static const char *const rubbish[] = {"HTTP/1.1 400 Bad Request\r\n\r\n",
                                          "$536870912\r\nx",
                                          "$99999999999999999999\r\n",
                                          "*2147483647\r\n:1\r\n",
                                          "*-2\r\n",
                                          "$-5\r\n",
                                          ":\r\n",
                                          ":99999999999999999999\r\n",
                                          "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
                                          "%1\r\n+a\r\n+b\r\n",
                                          "_\r\n",
                                          "$3\r\nabcdef",
                                          "\r\n",
                                          "*4294967297\r\n",
                                          "220 mail.example ESMTP\r\n"};
    say(text, "%s", rubbish[draw(hostile, countof(rubbish))]);
}

/* The greeting as it should go: who, INFO, FUNCTION LIST. False: it is something else. */
static bool greet(struct text *text, struct slice line)
{
    static const struct {
        const char *word, *answer;
    } rows[] = {{"AUTH", "+OK\r\n"},
                {"INFO", "$8\r\nrun_id:a\r\n"},
                {"FUNCTION", "*1\r\n*0\r\n"},
                {"SLOTS", "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$8\r\n10.0.2.1\r\n:6379\r\n"},
                {"SUBSCRIBE", "*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n"
                              "*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$28\r\nmain 1.1.1.1 1 10.0.2.2 6379\r\n"
                              "*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$11\r\nmain 1.1.1.\r\n"},
                {"GET-MASTER", "*2\r\n$8\r\n10.0.2.1\r\n$4\r\n6379\r\n"},
                {"ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"}};
    for (unsigned i = 0; i < countof(rows); i++)
        if (memmem(line.p, line.n, rows[i].word, strlen(rows[i].word))) {
            say(text, "%s", rows[i].answer);
            return true;
        }
    return false;
}

/* ---- those who lie ---- */

static void hang_up(struct caller *caller)
{
    if (caller->closed || io_op_busy(&caller->recv.op) || io_op_busy(&caller->send.op))
        return;
    caller->closed = true;
    io_close(caller->liar->io, caller->fd);
}

static void on_told(struct io_op *op, int result)
{
    struct caller *caller = container_of(op, struct caller, send.op);
    if (result < 0 || caller->ends) {
        caller->ends = true;
        io_cancel(caller->liar->io, &caller->recv.op);
        hang_up(caller);
    }
}

static void on_left(struct io_op *op, int result)
{
    (void)result;
    hang_up(container_of(op, struct caller, recv.op));
}

static void on_heard(struct io_recv *recv, struct slice bytes)
{
    struct caller *caller = container_of(recv, struct caller, recv);
    struct hostile *hostile = caller->liar->hostile;
    struct text text = {caller->out, 0};
    if (io_op_busy(&caller->send.op) || caller->ends)
        return;
    for (size_t i = 0, next; i < bytes.n; i = next) { /* each command begins with a line of its own */
        const char *end = memmem(bytes.p + i + 1, bytes.n - i - 1, "\r\n*", 3);
        next = end ? (size_t)(end - bytes.p) + 2 : bytes.n;
        caller->liar->lines++;
        if (draw(hostile, 40) == 0)
            babble(hostile, &text);
        else if (hostile->friendly && draw(hostile, 4) && greet(&text, (struct slice){bytes.p + i, next - i})) {
            if (draw(hostile, 8) == 0) /* once more, though nobody asked */
                (void)greet(&text, (struct slice){bytes.p + i, next - i});
        } else if (draw(hostile, 4))
            lie_well(hostile, &text);
        else
            lie(hostile, &text, 0);
    }
    caller->ends = draw(hostile, 50) == 0;
    if (draw(hostile, 30) == 0)
        text.n -= text.n / 3; /* cut short */
    struct slice part = {text.p, text.n};
    if (text.n)
        io_send(caller->liar->io, &caller->send, caller->fd, &part, 1);
}

static void on_called(struct io_accept *accept, int fd)
{
    struct liar *liar = container_of(accept, struct liar, accept);
    struct caller *caller = calloc(1, sizeof *caller);
    caller->liar = liar;
    caller->fd = fd;
    caller->next = liar->callers;
    liar->callers = caller;
    caller->recv.op.done = on_left;
    caller->recv.bytes = on_heard;
    caller->send.op.done = on_told;
    io_recv(liar->io, &caller->recv, fd);
}

static void on_deaf(struct io_op *op, int result) { (void)op, (void)result; }

static void lies_at(struct liar *liar, const char *address, unsigned port)
{
    struct io_address at;
    char error[256];
    struct sim_host *host = sim_host_new(liar->hostile->story->world, address);
    sim_host_address(host, address);
    struct io_config config = {.group = sim_process(host, 1), .sessions_max = 1024};
    liar->io = io_open(&config, error, sizeof error);
    assert_non_null(liar->io);
    sim_serve(liar->io);
    assert_true(io_address_parse(&at, address, (uint16_t)port));
    int fd = io_listen(liar->io, &at, 64, false);
    assert_true(fd >= 0);
    liar->accept.accepted = on_called;
    liar->accept.op.done = on_deaf;
    io_accept(liar->io, &liar->accept, fd);
}

/* ---- all that a store asks ---- */

static void on_done(struct store_request *request, const struct store_answer *answer)
{
    struct step *step = container_of(request, struct step, request);
    size_t bytes = 0;
    step->answers++;
    step->refused += answer->result == STORE_REFUSED;
    assert_true(answer->result > STORE_BROKEN && answer->result <= STORE_REFUSED);
    for (unsigned i = 0; i < answer->item_count; i++)
        for (size_t k = 0; k < answer->items[i].n; k++)
            bytes += (unsigned char)answer->items[i].p[k]; /* all of them can be read */
    assert_true(bytes < SIZE_MAX);
}

static void ask(struct hostile *hostile, unsigned i)
{
    struct step *step = &hostile->steps[i];
    struct store *store = hostile->story->store;
    struct store_request *r = &step->request;
    const struct slice words[] = {SLICE("a@x"), SLICE("b@x")};
    const uint64_t seqs[] = {1, 2};
    const uint32_t permits[] = {0, 1};
    const struct event event = {.type = EVENT_DELIVERED, .attempt = 1, .final = true};
    const struct store_end end = {.kind = STORE_END_EVENT, .event = &event};
    const struct store_strike strike = {
        .key = words[0], .class_ = SLICE("quota-issues"), .campaign = CAMPAIGN, .after = 3};
    const struct store_warmup_part part = {.counter = SLICE("isp"), .cap = 10, .interval = 1000};
    const struct store_warmup_ask warm = {
        .source = SLICE("s0"), .call = 1, .wanted = 1, .part_count = 1, .parts = {part}};
    char lease[16];
    struct slice id = {lease, (size_t)snprintf(lease, sizeof lease, "L%u.%u", i, step->asked++)};
    r->done = on_done;
    step->swap = (struct store_warmup_swap){.source = SLICE("s0"), .counter = SLICE("isp"), .told = SLICE("a=b\n")};
    switch (i) {
    case 0:
        store_lease_list(store, r, CAMPAIGN, id, 10);
        break;
    case 1:
        store_lease_parked(store, r, CAMPAIGN, id, SLICE("isp"), 10);
        break;
    case 2:
        store_lease_retry(store, r, CAMPAIGN, id, 1, 10);
        break;
    case 3:
        store_adopt(store, r, CAMPAIGN, id, SLICE("e"), 1);
        break;
    case 4:
        store_release(store, r, CAMPAIGN, id);
        break;
    case 5:
        store_permit(store, r, CAMPAIGN, id, permits, 2, NULL, 0);
        break;
    case 6:
        store_end(store, r, CAMPAIGN, id, &end, 1, true);
        break;
    case 7:
        store_unique(store, r, CAMPAIGN, words, seqs, 2);
        break;
    case 8:
        store_look(store, r, CAMPAIGN, &step->view);
        break;
    case 9:
        store_campaigns(store, r);
        break;
    case 10:
        store_phase(store, r, CAMPAIGN, "sending", SLICE("x"));
        break;
    case 11:
        store_finish(store, r, CAMPAIGN, "done", 10);
        break;
    case 12:
        store_heartbeat(store, r, 1, NSEC_PER_S);
        break;
    case 13:
        store_source_hold(store, r, SLICE("s0"), NSEC_PER_S);
        break;
    case 14:
        store_events(store, r, CAMPAIGN, SLICE("0"), 10, NSEC_PER_S);
        break;
    case 15:
        store_all_campaigns(store, r);
        break;
    case 16:
        store_entries(store, r, CAMPAIGN, 0, 10);
        break;
    case 17:
        store_warmup_ask(store, r, &warm, &step->warmup);
        break;
    case 18:
        store_warmup_tell(store, r, &step->swap);
        break;
    case 19:
        store_suppressed(store, r, 7, words, 2);
        break;
    case 20:
        store_strike(store, r, &strike);
        break;
    case 21:
        store_control(store, r);
        break;
    case 22:
        store_lanes(store, r, SLICE("s0"));
        break;
    default:
        store_trim_events(store, r, CAMPAIGN, 10, NSEC_PER_S);
        break;
    }
}

static void on_woken(void *context, struct slice campaign)
{
    (void)context;
    assert_true(campaign.n < TEXT);
}

static struct hostile *hostile_new(uint64_t seed, const char *url, bool friendly)
{
    static const struct {
        const char *address;
        unsigned port;
    } places[LIARS] = {{"10.0.2.1", 6379}, {"10.0.2.2", 6379}, {"10.0.2.3", 26379}};
    struct hostile *hostile = calloc(1, sizeof *hostile);
    hostile->story = story_new(seed);
    hostile->friendly = friendly;
    for (unsigned i = 0; i < LIARS; i++) {
        hostile->liars[i].hostile = hostile;
        lies_at(&hostile->liars[i], places[i].address, places[i].port);
    }
    story_open_store(hostile->story, url, 3 * NSEC_PER_S);
    store_on_wake(hostile->story->store, on_woken, hostile);
    return hostile;
}

static void hostile_free(struct hostile *hostile)
{
    story_free(hostile->story);
    for (unsigned i = 0; i < LIARS; i++)
        for (struct caller *caller = hostile->liars[i].callers, *next; caller; caller = next) {
            next = caller->next;
            free(caller);
        }
    free(hostile);
}

static void test_liars(void **state)
{
    static const char *const urls[] = {"redis://:pw@10.0.2.1", "cluster://10.0.2.1,10.0.2.2",
                                       "sentinel://:pw@10.0.2.3,10.0.2.2/main"};
    unsigned answers[countof(urls)][STEPS] = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++)
        for (unsigned kind = 0; kind < countof(urls); kind++) {
            struct hostile *hostile = hostile_new(100 + seed, urls[kind], seed % 4 != 0);
            struct io *io = hostile->story->io;
            nsec until = io_now(io) + 60 * NSEC_PER_S;
            while (io_now(io) < until) {
                for (unsigned i = 0; i < STEPS; i++)
                    if (!store_request_busy(&hostile->steps[i].request) && draw(hostile, 50) == 0)
                        ask(hostile, i);
                store_flush(hostile->story->store);
                io_turn(io, nsec_min(until, io_now(io) + 20 * NSEC_PER_MS));
                hostile->turns++;
            }
            if (hostile->turns > 60 * 5000)
                fail_msg("seed %llu, %s: %llu turns in a minute", (unsigned long long)seed, urls[kind],
                         (unsigned long long)hostile->turns);
            assert_true(strlen(store_trouble(hostile->story->store)) < 512);
            for (unsigned i = 0; i < STEPS; i++) {
                assert_true(hostile->steps[i].answers <= hostile->steps[i].asked);
                answers[kind][i] += hostile->steps[i].answers;
            }
            hostile_free(hostile);
        }
    for (unsigned kind = 0; kind < countof(urls); kind++)
        for (unsigned i = 0; i < STEPS; i++)
            if (!answers[kind][i])
                fail_msg("%s: step %u was never answered", urls[kind], i);
}

const struct CMUnitTest story_hostile_tests[STORY_TESTS_MAX] = {
    cmocka_unit_test(test_liars),
};
