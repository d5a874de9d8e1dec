/* floor.c - sluice-floor: what it costs to move the bytes of a message and nothing else, the ceiling for the engine.
 *
 * A raw ring sends bytes that were rendered beforehand and counts reply lines. The dialogue is the engine's: with one
 * round trip a message (the next MAIL, RCPT and DATA behind the dot), with two (PIPELINING within a message), or with
 * four (none). No look-up, no template, no ledger, no Redis. */
#include "sluice/base.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { FLOOR_BUFFER = 4096, FLOOR_FLIGHTS_MAX = 4, FLOOR_GROUP = 0 };
enum floor_kind { FLOOR_SENT = 1, FLOOR_RECEIVED };

/* Bytes that leave together, and the reply lines that must come before the next do. */
struct flight {
    char *bytes;
    size_t n;
    unsigned lines;
};

struct session {
    int fd;
    unsigned flight;
    unsigned lines_due;
    uint64_t messages_left; /* whose last flight has not been answered */
    bool sending, at_line_start;
};

struct floor {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    char *buffer_bytes;
    unsigned buffer_count;
    struct flight flights[FLOOR_FLIGHTS_MAX]; /* of one message, in a circle */
    unsigned flight_count;
    struct session *sessions;
    unsigned session_count;
    unsigned open; /* sessions with messages left */
};

struct options {
    struct sockaddr_in to;
    struct in_addr *sources;
    unsigned source_count;
    unsigned sessions;
    uint64_t messages;
    size_t size;
    unsigned trips;
    bool json;
};

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "sluice-floor: %s\n", what);
    exit(1);
}

static _Noreturn void fail_errno(const char *what)
{
    fprintf(stderr, "sluice-floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- bytes ---- */

static const char mail[] = "MAIL FROM:<bounce@shop.example>\r\n";
static const char rcpt[] = "RCPT TO:<recipient@isp.example>\r\n";
static const char data[] = "DATA\r\n";

/* A message of `size` octets, its dot behind it. */
static char *make_message(size_t size, size_t *n)
{
    static const char head[] = "From: Shop <news@shop.example>\r\nTo: recipient@isp.example\r\n"
                               "Subject: what the bytes alone cost\r\nX-Campaign: floor/0\r\n\r\n";
    size_t used = sizeof head - 1;
    char *bytes = malloc(size + used + 80 + 3);
    sluice_assert(bytes);
    memcpy(bytes, head, used);
    while (used < size) {
        size_t line = size - used < 78 ? size - used : 78;
        if (line < 3)
            line = 3;
        memset(bytes + used, 'x', line - 2);
        memcpy(bytes + used + line - 2, "\r\n", 2);
        used += line;
    }
    memcpy(bytes + used, ".\r\n", 3);
    *n = used + 3;
    return bytes;
}

static struct flight make_flight(unsigned lines, const char *a, size_t a_n, const char *b, size_t b_n)
{
    struct flight flight = {.bytes = malloc(a_n + b_n), .n = a_n + b_n, .lines = lines};
    sluice_assert(flight.bytes);
    memcpy(flight.bytes, a, a_n);
    if (b_n)
        memcpy(flight.bytes + a_n, b, b_n);
    return flight;
}

static void make_flights(struct floor *self, const struct options *options)
{
    char envelope[sizeof mail + sizeof rcpt + sizeof data];
    int envelope_n = snprintf(envelope, sizeof envelope, "%s%s%s", mail, rcpt, data);
    size_t message_n;
    char *message = make_message(options->size, &message_n);
    switch (options->trips) {
    case 1: /* behind an envelope that stands already: each flight ends one message and begins the next */
        self->flights[0] = make_flight(4, message, message_n, envelope, (size_t)envelope_n);
        self->flight_count = 1;
        break;
    case 2:
        self->flights[0] = make_flight(3, envelope, (size_t)envelope_n, NULL, 0);
        self->flights[1] = make_flight(1, message, message_n, NULL, 0);
        self->flight_count = 2;
        break;
    default:
        self->flights[0] = make_flight(1, mail, sizeof mail - 1, NULL, 0);
        self->flights[1] = make_flight(1, rcpt, sizeof rcpt - 1, NULL, 0);
        self->flights[2] = make_flight(1, data, sizeof data - 1, NULL, 0);
        self->flights[3] = make_flight(1, message, message_n, NULL, 0);
        self->flight_count = 4;
    }
    free(message);
}

/* ---- before the clock runs ---- */

static void exchange(int fd, const char *text, unsigned lines)
{
    char heard[4096];
    size_t n = strlen(text);
    if (n && send(fd, text, n, MSG_NOSIGNAL) != (ssize_t)n)
        fail_errno("send");
    for (unsigned seen = 0; seen < lines;) {
        ssize_t got = recv(fd, heard, sizeof heard, 0);
        if (got <= 0)
            fail("the server closed before the first message");
        for (ssize_t i = 0; i < got; i++)
            seen += heard[i] == '\n';
    }
}

/* EHLO's reply has as many lines as it likes; the last one has a space behind its code. */
static void say_hello(int fd)
{
    static const char hello[] = "EHLO floor.example\r\n";
    char heard[4096];
    size_t used = 0;
    if (send(fd, hello, sizeof hello - 1, MSG_NOSIGNAL) < 0)
        fail_errno("send");
    for (;;) {
        ssize_t got = recv(fd, heard + used, sizeof heard - 1 - used, 0);
        if (got <= 0)
            fail("the server closed at EHLO");
        used += (size_t)got;
        heard[used] = 0;
        const char *last = used >= 2 && heard[used - 1] == '\n' ? memrchr(heard, '\n', used - 1) : NULL;
        last = last ? last + 1 : heard;
        if (heard[used - 1] == '\n' && strlen(last) > 3 && last[3] == ' ')
            return;
    }
}

static int open_session(const struct options *options, unsigned i)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0)
        fail_errno("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (options->source_count) {
        struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr = options->sources[i % options->source_count]};
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(fd, (const struct sockaddr *)&source, sizeof source) != 0)
            fail_errno("bind");
    }
    if (connect(fd, (const struct sockaddr *)&options->to, sizeof options->to) != 0)
        fail_errno("connect");
    exchange(fd, "", 1);
    say_hello(fd);
    if (options->trips == 1) {
        char envelope[sizeof mail + sizeof rcpt + sizeof data];
        snprintf(envelope, sizeof envelope, "%s%s%s", mail, rcpt, data);
        exchange(fd, envelope, 3);
    }
    return fd;
}

static void open_ring(struct floor *self)
{
    unsigned entries = 256;
    while (entries < 2 * self->session_count && entries < 4096)
        entries *= 2;
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                              IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
                                     .cq_entries = 8 * entries};
    errno = -io_uring_queue_init_params(entries, &self->ring, &params);
    if (errno)
        fail_errno("io_uring");
    self->buffer_count = 64;
    while (self->buffer_count < self->session_count && self->buffer_count < 1024)
        self->buffer_count *= 2;
    size_t ring_bytes = self->buffer_count * sizeof(struct io_uring_buf);
    self->buffers = aligned_alloc(4096, (ring_bytes + 4095) / 4096 * 4096);
    self->buffer_bytes = aligned_alloc(4096, (size_t)self->buffer_count * FLOOR_BUFFER);
    sluice_assert(self->buffers && self->buffer_bytes);
    struct io_uring_buf_reg about = {
        .ring_addr = (uintptr_t)self->buffers, .ring_entries = self->buffer_count, .bgid = FLOOR_GROUP};
    errno = -io_uring_register_buf_ring(&self->ring, &about, 0);
    if (errno)
        fail_errno("io_uring buffers");
    io_uring_buf_ring_init(self->buffers);
    for (unsigned i = 0; i < self->buffer_count; i++)
        io_uring_buf_ring_add(self->buffers, self->buffer_bytes + (size_t)i * FLOOR_BUFFER, FLOOR_BUFFER,
                              (unsigned short)i, (int)self->buffer_count - 1, (int)i);
    io_uring_buf_ring_advance(self->buffers, (int)self->buffer_count);
}

/* ---- while the clock runs ---- */

static uint64_t tag(unsigned session, enum floor_kind kind) { return (uint64_t)session << 8 | kind; }

static struct io_uring_sqe *free_sqe(struct floor *self)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);
    if (!sqe) {
        io_uring_submit(&self->ring);
        sqe = io_uring_get_sqe(&self->ring);
        sluice_assert(sqe);
    }
    return sqe;
}

static void receive(struct floor *self, unsigned i)
{
    struct io_uring_sqe *sqe = free_sqe(self);
    io_uring_prep_recv_multishot(sqe, self->sessions[i].fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = FLOOR_GROUP;
    io_uring_sqe_set_data64(sqe, tag(i, FLOOR_RECEIVED));
}

static void take_off(struct floor *self, unsigned i)
{
    struct session *session = &self->sessions[i];
    const struct flight *flight = &self->flights[session->flight];
    struct io_uring_sqe *sqe = free_sqe(self);
    io_uring_prep_send(sqe, session->fd, flight->bytes, flight->n, MSG_WAITALL | MSG_NOSIGNAL);
    io_uring_sqe_set_data64(sqe, tag(i, FLOOR_SENT));
    session->lines_due = flight->lines;
    session->sending = true;
}

static void next(struct floor *self, unsigned i)
{
    struct session *session = &self->sessions[i];
    if (session->lines_due || session->sending)
        return;
    session->flight = (session->flight + 1) % self->flight_count;
    if (session->flight == 0 && --session->messages_left == 0)
        self->open--;
    else
        take_off(self, i);
}

static void count_lines(struct session *session, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (session->at_line_start && p[i] != '2' && p[i] != '3')
            fail("the server refused something: a floor is measured against one that takes everything");
        session->at_line_start = p[i] == '\n';
        if (!session->at_line_start)
            continue;
        if (!session->lines_due)
            fail("a reply came that nobody asked for");
        session->lines_due--;
    }
}

static void handle(struct floor *self, const struct io_uring_cqe *cqe)
{
    unsigned i = (unsigned)(cqe->user_data >> 8);
    struct session *session = &self->sessions[i];
    if ((cqe->user_data & 0xff) == FLOOR_SENT) {
        if (cqe->res != (int)self->flights[session->flight].n)
            fail("a send was cut short");
        session->sending = false;
    } else {
        if (cqe->res > 0) {
            unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
            char *buffer = self->buffer_bytes + (size_t)id * FLOOR_BUFFER;
            count_lines(session, buffer, (size_t)cqe->res);
            io_uring_buf_ring_add(self->buffers, buffer, FLOOR_BUFFER, (unsigned short)id, (int)self->buffer_count - 1,
                                  0);
            io_uring_buf_ring_advance(self->buffers, 1);
        } else if (cqe->res != -ENOBUFS) {
            fail("the server closed a connection");
        }
        if (!(cqe->flags & IORING_CQE_F_MORE))
            receive(self, i);
    }
    next(self, i);
}

static void run(struct floor *self)
{
    for (unsigned i = 0; i < self->session_count; i++) {
        receive(self, i);
        if (self->sessions[i].messages_left) {
            self->open++;
            take_off(self, i);
        }
    }
    while (self->open) {
        struct io_uring_cqe *cqe;
        unsigned head, n = 0;
        int result = io_uring_submit_and_wait(&self->ring, 1);
        if (result < 0 && result != -EINTR)
            fail("io_uring_submit_and_wait");
        io_uring_for_each_cqe(&self->ring, head, cqe)
        {
            handle(self, cqe);
            n++;
        }
        io_uring_cq_advance(&self->ring, n);
    }
}

/* ---- command line ---- */

static const char usage_text[] =
    "usage: sluice-floor --to ADDRESS:PORT [options]\n"
    "Sends pre-rendered messages with as little work as there can be, and says what that cost.\n"
    "\n"
    "  --to ADDRESS:PORT    IPv4\n"
    "  --source ADDRESS     repeatable: sessions take them in turn\n"
    "  --sessions N         (64)\n"
    "  --messages N         altogether (100000)\n"
    "  --size N             octets of a message (4096)\n"
    "  --trips 1|2|4        round trips a message (1)\n"
    "  --json               one line of JSON\n";

static unsigned long number(const char *text, unsigned long least, unsigned long most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end || text[0] == '-' || value < least || value > most) {
        fprintf(stderr, "sluice-floor: %s: a number from %lu to %lu is wanted\n", text, least, most);
        exit(2);
    }
    return value;
}

static void parse_to(struct sockaddr_in *to, const char *text)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof host)
        fail("--to wants ADDRESS:PORT");
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    to->sin_family = AF_INET;
    to->sin_port = htons((uint16_t)number(colon + 1, 1, 65535));
    if (inet_pton(AF_INET, host, &to->sin_addr) != 1)
        fail("--to wants an IPv4 address and a port");
}

static void parse(struct options *options, int argc, char **argv)
{
    enum { TO = 256, SOURCE, SESSIONS, MESSAGES, SIZE, TRIPS, JSON };
    static const struct option longs[] = {
        {"to", required_argument, NULL, TO},
        {"source", required_argument, NULL, SOURCE},
        {"sessions", required_argument, NULL, SESSIONS},
        {"messages", required_argument, NULL, MESSAGES},
        {"size", required_argument, NULL, SIZE},
        {"trips", required_argument, NULL, TRIPS},
        {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    options->sources = calloc((size_t)argc, sizeof *options->sources);
    sluice_assert(options->sources);
    for (int option; (option = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
        if (option == TO) {
            parse_to(&options->to, optarg);
        } else if (option == SOURCE) {
            if (inet_pton(AF_INET, optarg, &options->sources[options->source_count++]) != 1)
                fail("--source wants an IPv4 address");
        } else if (option == SESSIONS) {
            options->sessions = (unsigned)number(optarg, 1, 60000);
        } else if (option == MESSAGES) {
            options->messages = number(optarg, 1, UINT32_MAX);
        } else if (option == SIZE) {
            options->size = number(optarg, 200, 64 * 1024 * 1024);
        } else if (option == TRIPS) {
            options->trips = (unsigned)number(optarg, 1, 4);
        } else if (option == JSON) {
            options->json = true;
        } else {
            fputs(usage_text, option == 'h' ? stdout : stderr);
            exit(option == 'h' ? 0 : 2);
        }
    }
    if (!options->to.sin_port || options->trips == 3 || optind < argc) {
        fputs(usage_text, stderr);
        exit(2);
    }
}

static double cpu_seconds(double *user)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    *user = (double)used.ru_utime.tv_sec + (double)used.ru_utime.tv_usec / 1e6;
    return *user + (double)used.ru_stime.tv_sec + (double)used.ru_stime.tv_usec / 1e6;
}

static double wall_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void set_up(struct floor *self, const struct options *options)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    self->session_count = options->sessions;
    self->sessions = calloc(options->sessions, sizeof *self->sessions);
    sluice_assert(self->sessions);
    make_flights(self, options);
    for (unsigned i = 0; i < options->sessions; i++) {
        self->sessions[i].fd = open_session(options, i);
        self->sessions[i].at_line_start = true;
        self->sessions[i].messages_left =
            options->messages / options->sessions + (i < options->messages % options->sessions);
    }
    open_ring(self);
}

static void tear_down(struct floor *self)
{
    io_uring_queue_exit(&self->ring);
    for (unsigned i = 0; i < self->session_count; i++)
        close(self->sessions[i].fd);
    for (unsigned i = 0; i < self->flight_count; i++)
        free(self->flights[i].bytes);
    free(self->sessions);
    free(self->buffers);
    free(self->buffer_bytes);
}

int main(int argc, char **argv)
{
    struct options options = {.sessions = 64, .messages = 100000, .size = 4096, .trips = 1};
    struct floor self = {0};
    parse(&options, argc, argv);
    set_up(&self, &options);
    double user_before, user_after;
    double cpu = cpu_seconds(&user_before), wall = wall_seconds();
    run(&self);
    wall = wall_seconds() - wall;
    cpu = cpu_seconds(&user_after) - cpu;
    double user = user_after - user_before, messages = (double)options.messages;
    if (options.json)
        printf("{\"messages\":%.0f,\"seconds\":%.6f,\"per_second\":%.1f,\"cpu_us\":%.3f,\"user_us\":%.3f}\n", messages,
               wall, messages / wall, cpu * 1e6 / messages, user * 1e6 / messages);
    else
        printf(
            "%.0f messages of %zu octets, %u sessions, %u round trips: %.0f a second, CPU %.2f us each (%.2f user)\n",
            messages, options.size, options.sessions, options.trips, messages / wall, cpu * 1e6 / messages,
            user * 1e6 / messages);
    tear_down(&self);
    free(options.sources);
    return 0;
}
