/* test_log.c - lines that nobody can forge, of bounded length, and troubles that are said once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "control/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A log into a pipe, and what came out of it. */
struct taken {
    struct log log;
    int from;
    char text[4 * LOG_LINE];
};

static void take_open(struct taken *t, enum log_level level)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    t->from = ends[0];
    log_init(&t->log, ends[1], level);
}

/* All that was written; closes the pipe. */
static const char *take_close(struct taken *t)
{
    size_t n = 0;
    ssize_t got;
    close(t->log.fd);
    while (n < sizeof t->text - 1 && (got = read(t->from, t->text + n, sizeof t->text - 1 - n)) > 0)
        n += (size_t)got;
    t->text[n] = 0;
    close(t->from);
    return t->text;
}

static unsigned lines_in(const char *text)
{
    unsigned n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void a_line_has_time_level_and_fields(void **state)
{
    struct taken t;
    (void)state;
    take_open(&t, LOG_LEVEL_INFO);
    struct log part;
    log_part(&part, &t.log, "shard=3");
    log_warning(&part, "it rains", log_text("where", "here"), log_number("drops", -5), log_slice("cut", SLICE("a b")));
    const char *text = take_close(&t);
    int year, month, day, hour, minute, second, milli, end = 0;
    assert_int_equal(sscanf(text, "time=%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year, &month, &day, &hour, &minute, &second,
                            &milli, &end),
                     7);
    assert_string_equal(text + end, "level=warning msg=\"it rains\" where=here drops=-5 cut=\"a b\" shard=3\n");
}

static void text_of_others_stays_in_its_value(void **state)
{
    struct taken t;
    (void)state;
    take_open(&t, LOG_LEVEL_INFO);
    log_info(&t.log, "a \"b\"\nc", log_text("x", "1\n2"), log_text("q", "say \"hi\" \\"), log_text("e", ""),
             log_text("k", "a=b"), log_text("c", "\x01\x7f\r"), log_text("u", "gr\xc3\xbc\xc3\x9f"),
             log_text("n", NULL));
    const char *text = take_close(&t);
    assert_int_equal(lines_in(text), 1);
    assert_non_null(strstr(text, "msg=\"a \\\"b\\\"\\nc\" x=\"1\\n2\" q=\"say \\\"hi\\\" \\\\\" e=\"\" k=\"a=b\" "
                                 "c=\"\\x01\\x7f\\x0d\" u=gr\xc3\xbc\xc3\x9f n=\"\"\n"));
}

static void levels_are_kept(void **state)
{
    struct taken t;
    (void)state;
    take_open(&t, LOG_LEVEL_WARNING);
    log_error(&t.log, "one");
    log_warning(&t.log, "two");
    log_info(&t.log, "three");
    log_debug(&t.log, "four");
    log_write(NULL, LOG_LEVEL_ERROR, "nobody listens", NULL, 0);
    const char *text = take_close(&t);
    assert_int_equal(lines_in(text), 2);
    assert_non_null(strstr(text, "level=error msg=\"one\"\n"));
    assert_non_null(strstr(text, "level=warning msg=\"two\"\n"));
}

static void a_line_is_bounded(void **state)
{
    static char longer[3 * LOG_LINE];
    (void)state;
    memset(longer, 'x', sizeof longer - 1);
    for (size_t n = LOG_LINE - 200; n < LOG_LINE + 10; n++) {
        struct taken t;
        take_open(&t, LOG_LEVEL_INFO);
        log_info(&t.log, "long", log_slice("x", (struct slice){longer, n}), log_text("tail", "t"));
        const char *text = take_close(&t);
        size_t got = strlen(text);
        assert_true(got <= LOG_LINE);
        assert_int_equal(lines_in(text), 1);
        bool whole = strstr(text, "tail=t\n") != NULL;
        assert_true(whole || (strcmp(text + got - 4, "...\n") == 0 && got == LOG_LINE));
    }
}

static void the_journal_gets_priorities(void **state)
{
    char stream[64];
    struct stat st;
    struct taken t;
    (void)state;
    take_open(&t, LOG_LEVEL_DEBUG);
    assert_false(t.log.journal);
    assert_int_equal(fstat(t.log.fd, &st), 0);
    snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_init(&t.log, t.log.fd, LOG_LEVEL_DEBUG);
    unsetenv("JOURNAL_STREAM");
    assert_true(t.log.journal);
    log_error(&t.log, "e");
    log_warning(&t.log, "w");
    log_info(&t.log, "i");
    log_debug(&t.log, "d");
    assert_string_equal(take_close(&t), "<3>msg=\"e\"\n<4>msg=\"w\"\n<6>msg=\"i\"\n<7>msg=\"d\"\n");
    /* The stream of somebody else is not ours. */
    take_open(&t, LOG_LEVEL_DEBUG);
    setenv("JOURNAL_STREAM", "1:1", 1);
    log_init(&t.log, t.log.fd, LOG_LEVEL_DEBUG);
    unsetenv("JOURNAL_STREAM");
    assert_false(t.log.journal);
    take_close(&t);
}

static void a_trouble_is_said_once(void **state)
{
    struct taken t;
    struct log_trouble trouble = {0};
    (void)state;
    take_open(&t, LOG_LEVEL_INFO);
    log_trouble_over(&t.log, &trouble, 0, "nothing was wrong");
    for (nsec now = 0; now < 1000; now++)
        log_trouble(&t.log, &trouble, now, 0, "redis is away", "refused");
    log_trouble_over(&t.log, &trouble, 5 * NSEC_PER_S, "redis is back");
    log_trouble_over(&t.log, &trouble, 5 * NSEC_PER_S, "redis is back");
    const char *text = take_close(&t);
    assert_int_equal(lines_in(text), 2);
    assert_non_null(strstr(text, "level=warning msg=\"redis is away\" error=refused times=1 for_s=0\n"));
    assert_non_null(strstr(text, "level=info msg=\"redis is back\" times=1000 after_ms=5000\n"));
}

static void a_trouble_is_said_again(void **state)
{
    struct taken t;
    struct log_trouble trouble = {0};
    (void)state;
    take_open(&t, LOG_LEVEL_INFO);
    /* Every minute for five minutes... */
    for (nsec s = 0; s <= 300; s++)
        log_trouble(&t.log, &trouble, s * NSEC_PER_S, 60 * NSEC_PER_S, "away", "a");
    /* ...and two texts that take turns, ten times a second, are said once a second. */
    for (nsec i = 1; i <= 25; i++)
        log_trouble(&t.log, &trouble, 300 * NSEC_PER_S + i * 100 * NSEC_PER_MS, 0, "away", i % 2 ? "b" : "c");
    const char *text = take_close(&t);
    assert_int_equal(lines_in(text), 6 + 2);
    assert_non_null(strstr(text, "for_s=300"));
}

/* A full disk, and a pipe whose reader has stopped. */
static void lines_that_cannot_be_written_are_counted(void **state)
{
    (void)state;
    struct log_lost lost = {0};
    struct log log, part;
    char text[8192];
    int full = open("/dev/full", O_WRONLY), ends[2];
    assert_true(full >= 0 && pipe2(ends, O_NONBLOCK) == 0);
    log_init(&log, full, LOG_LEVEL_INFO);
    log.lost = &lost;
    log_part(&part, &log, "shard=3");
    log_info(&log, "one");
    log_info(&part, "two");
    assert_int_equal(lost.lines, 2);
    memset(text, 'x', sizeof text);
    while (write(ends[1], text, sizeof text) > 0)
        ;
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0); /* from here a write would wait */
    log.fd = ends[1];
    log_info(&log, "three");
    assert_int_equal(lost.lines, 3);
    while (read(ends[0], text, sizeof text) > 0)
        ;
    log_info(&log, "four");
    ssize_t n = read(ends[0], text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = 0;
    assert_non_null(strstr(text, "msg=\"four\"\n"));
    assert_non_null(strstr(text, "msg=\"lines of this log could not be written\" lines=3\n"));
    log_info(&log, "five");
    n = read(ends[0], text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = 0;
    assert_int_equal(lines_in(text), 1);
    close(full);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_and_fields),
        cmocka_unit_test(text_of_others_stays_in_its_value),
        cmocka_unit_test(levels_are_kept),
        cmocka_unit_test(a_line_is_bounded),
        cmocka_unit_test(the_journal_gets_priorities),
        cmocka_unit_test(a_trouble_is_said_once),
        cmocka_unit_test(a_trouble_is_said_again),
        cmocka_unit_test(lines_that_cannot_be_written_are_counted),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
