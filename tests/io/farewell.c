/* A peer answers and goes away before we have looked: what it said is told all the same, and before its end, though the
 * kernel says of our next send that the peer is gone before it says that there is something to read. */
#include "net/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define SAID "250 2.0.0 taken\r\n"

static char heard[256];
static unsigned connected, sent, ended, closed;
static int end_result;

static void on_connected(struct stream *stream, int result)
{
    (void)stream;
    assert_int_equal(result, 0);
    connected++;
}

static void on_bytes(struct stream *stream, struct slice bytes)
{
    (void)stream;
    assert_int_equal(sent + ended, 0);
    strncat(heard, bytes.p, bytes.n);
}

static void on_sent(struct stream *stream, int result)
{
    (void)stream;
    (void)result;
    sent++;
}

static void on_ended(struct stream *stream, int result)
{
    ended++;
    end_result = result;
    stream_close(stream);
}

static void on_closed(struct stream *stream)
{
    (void)stream;
    closed++;
}

static void until(struct io *io, const unsigned *happened)
{
    for (nsec limit = io_now(io) + 20 * NSEC_PER_S; !*happened && io_now(io) < limit;)
        io_turn(io, limit);
    assert_int_equal(*happened, 1);
}

static int listen_at(struct io_address *at)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(io_address_parse(at, "127.0.0.1", 0));
    assert_int_equal(bind(fd, (struct sockaddr *)&at->storage, at->length), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at->storage, &at->length), 0);
    return fd;
}

static void what_it_said_is_told_first(void **unused)
{
    (void)unused;
    static const struct stream_events events = {
        .connected = on_connected, .bytes = on_bytes, .sent = on_sent, .ended = on_ended, .closed = on_closed};
    char error[512] = "";
    struct io_group *group = io_group_open(1);
    struct io *io = group ? io_open(&(struct io_config){.group = group, .sessions_max = 16}, error, sizeof error) : NULL;
    if (!io)
        fail_msg("%s", error);
    struct io_address at;
    struct stream stream = {.state = STREAM_CLOSED};
    int listener = listen_at(&at);
    assert_int_equal(stream_connect(&stream, io, &events, NULL, &at), 0);
    until(io, &connected);
    io_turn(io, 0); /* the receive waits in the kernel */
    int peer = accept(listener, NULL, NULL);
    assert_true(peer >= 0);
    assert_int_equal(write(peer, SAID, strlen(SAID)), (ssize_t)strlen(SAID));
    struct linger now = {.l_onoff = 1, .l_linger = 0}; /* close() sends RST (socket(7), tcp(7)) */
    assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    assert_int_equal(close(peer), 0);
    stream_send(&stream, &SLICE("MAIL FROM:<a@b.example>\r\n"), 1);
    until(io, &closed);
    assert_string_equal(heard, SAID);
    assert_int_equal(sent, 0);
    assert_int_equal(ended, 1);
    assert_true(end_result < 0);
    close(listener);
    io_close_all(io);
    io_group_close(group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_it_said_is_told_first)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
