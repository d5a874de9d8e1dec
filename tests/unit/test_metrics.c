/* test_metrics.c - what is counted is what is shown, and a board is read whole while it is being written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "control/metrics.h"
#include "gathered.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void has_line(const struct gathered *g, const char *line)
{
    char with_ends[512];
    snprintf(with_ends, sizeof with_ends, "\n%s\n", line);
    if (!strstr(g->text, with_ends))
        fail_msg("no line <%s> in:\n%s", line, g->text);
}

static void shards_are_added_up(void **state)
{
    struct metrics *metrics = metrics_create(3);
    struct gathered g = {0};
    (void)state;
    assert_int_equal(metrics_shards(metrics), 3);
    metrics_add(metrics_of(metrics, 0), METRIC_STARTED, 5);
    metrics_add(metrics_of(metrics, 0), METRIC_STARTED, 1);
    metrics_add(metrics_of(metrics, 2), METRIC_STARTED, 10);
    metrics_set(metrics_of(metrics, 1), METRIC_SESSIONS, 7);
    metrics_set(metrics_of(metrics, 1), METRIC_SESSIONS, 4);
    metrics_set(metrics_of(metrics, 2), METRIC_SESSIONS, 1);
    for (int type = EVENT_DELIVERED; type < EVENT_TYPE_COUNT; type++)
        for (int i = 0; i < type; i++)
            metrics_event(metrics_of(metrics, 1), (enum event_type)type);
    assert_int_equal(metrics_total(metrics, METRIC_STARTED), 16);
    metrics_expose(metrics, gather, &g);
    has_line(&g, "sluice_started_total 16");
    has_line(&g, "sluice_sessions 5");
    has_line(&g, "sluice_shards 3");
    has_line(&g, "sluice_messages_total{event=\"delivered\"} 1");
    has_line(&g, "sluice_messages_total{event=\"bounced\"} 3");
    has_line(&g, "sluice_messages_total{event=\"in_doubt\"} 8");
    free(g.text);
    metrics_free(metrics);
}

/* Every metric has one line, every family one HELP and one TYPE that stand before its lines, and lines of a family
 * stand together, as the format asks. */
static void exposition_is_well_formed(void **state)
{
    struct metrics *metrics = metrics_create(1);
    struct gathered g = {0};
    char family[128] = "", seen[128][128];
    size_t families = 0, values = 0;
    (void)state;
    for (unsigned m = 1; m < METRIC_COUNT; m++)
        metrics_add(metrics_of(metrics, 0), (enum metric)m, 1000 + m);
    metrics_expose(metrics, gather, &g);
    for (unsigned m = 1; m < METRIC_COUNT; m++) {
        char value[32];
        snprintf(value, sizeof value, " %u\n", 1000 + m);
        char *first = strstr(g.text, value);
        assert_non_null(first);
        assert_null(strstr(first + 1, value));
    }
    for (char *line = strtok(g.text, "\n"); line; line = strtok(NULL, "\n")) {
        char name[128], kind[128];
        if (sscanf(line, "# HELP %127s %127s", name, kind) == 2) {
            for (size_t i = 0; i < families; i++)
                assert_string_not_equal(seen[i], name);
            snprintf(seen[families++], sizeof seen[0], "%s", name);
            snprintf(family, sizeof family, "%s", name);
        } else if (sscanf(line, "# TYPE %127s %127s", name, kind) == 2) {
            assert_string_equal(name, family);
            bool total = strlen(name) > 6 && strcmp(name + strlen(name) - 6, "_total") == 0;
            assert_true(total == (strcmp(kind, "counter") == 0));
        } else {
            assert_memory_equal(line, family, strlen(family));
            assert_memory_equal(line, "sluice_", 7);
            values++;
        }
    }
    assert_true(values > METRIC_COUNT);
    free(g.text);
    metrics_free(metrics);
}

static void histograms_are_cumulative(void **state)
{
    struct metrics *metrics = metrics_create(2);
    struct gathered g = {0};
    (void)state;
    metrics_observe(metrics_of(metrics, 0), METRICS_MESSAGE, 20 * NSEC_PER_US); /* a bound belongs to its bucket */
    metrics_observe(metrics_of(metrics, 0), METRICS_MESSAGE, 20 * NSEC_PER_US + 1);
    metrics_observe(metrics_of(metrics, 1), METRICS_MESSAGE, 3 * NSEC_PER_S);
    metrics_observe(metrics_of(metrics, 1), METRICS_MESSAGE, 3600 * NSEC_PER_S);
    metrics_observe(metrics_of(metrics, 1), METRICS_MESSAGE, -5);
    metrics_expose(metrics, gather, &g);
    has_line(&g, "sluice_message_seconds_bucket{le=\"2e-05\"} 2");
    has_line(&g, "sluice_message_seconds_bucket{le=\"0.0001\"} 3");
    has_line(&g, "sluice_message_seconds_bucket{le=\"1\"} 3");
    has_line(&g, "sluice_message_seconds_bucket{le=\"5\"} 4");
    has_line(&g, "sluice_message_seconds_bucket{le=\"600\"} 4");
    has_line(&g, "sluice_message_seconds_bucket{le=\"+Inf\"} 5");
    has_line(&g, "sluice_message_seconds_count 5");
    has_line(&g, "sluice_message_seconds_sum 3603.000040001");
    free(g.text);
    metrics_free(metrics);
}

static struct metrics_row row_of(uint64_t n)
{
    struct metrics_row row;
    memset(&row, 0, sizeof row);
    snprintf(row.isp, sizeof row.isp, "isp-%ju", (uintmax_t)n);
    snprintf(row.why, sizeof row.why, "why-%ju", (uintmax_t)n);
    row.sessions = row.waiting = row.started = n;
    row.next_ms = (int64_t)n;
    return row;
}

static void a_board_is_what_was_put(void **state)
{
    struct metrics *metrics = metrics_create(1);
    struct metrics_shard *shard = metrics_of(metrics, 0);
    struct metrics_row *rows = calloc(METRICS_BOARD_ROWS, sizeof *rows);
    struct metrics_board board;
    (void)state;
    assert_true(metrics_board_read(shard, rows, &board));
    assert_int_equal(board.count, 0);
    assert_int_equal(board.wall_ms, 0);
    for (unsigned extra = 0; extra < 2; extra++) {
        metrics_board_begin(shard);
        for (unsigned i = 0; i < METRICS_BOARD_ROWS + extra * 3; i++) {
            struct metrics_row row = row_of(i);
            metrics_board_put(shard, &row);
        }
        metrics_board_end(shard, 77 + extra);
        assert_true(metrics_board_read(shard, rows, &board));
        assert_int_equal(board.count, METRICS_BOARD_ROWS);
        assert_int_equal(board.left_out, extra * 3);
        assert_int_equal(board.wall_ms, 77 + extra);
        struct metrics_row last = row_of(METRICS_BOARD_ROWS - 1);
        assert_memory_equal(&rows[METRICS_BOARD_ROWS - 1], &last, sizeof last);
    }
    metrics_board_begin(shard);
    assert_false(metrics_board_read(shard, rows, &board)); /* a shard that stands still in the middle blocks nobody */
    metrics_board_end(shard, 80);
    assert_true(metrics_board_read(shard, rows, &board));
    assert_int_equal(board.count, 0);
    free(rows);
    metrics_free(metrics);
}

struct writer {
    struct metrics_shard *shard;
    unsigned stop;
};

/* Board number n has n % 40 rows, all of them row_of(n). */
static void *write_boards(void *context)
{
    struct writer *w = context;
    for (uint64_t n = 1; !__atomic_load_n(&w->stop, __ATOMIC_RELAXED); n++) {
        struct metrics_row row = row_of(n);
        metrics_board_begin(w->shard);
        for (uint64_t i = 0; i < n % 40; i++)
            metrics_board_put(w->shard, &row);
        metrics_board_end(w->shard, (int64_t)n);
    }
    return NULL;
}

static void a_board_is_never_a_mixture(void **state)
{
    struct metrics *metrics = metrics_create(1);
    struct metrics_row *rows = calloc(METRICS_BOARD_ROWS, sizeof *rows);
    struct writer writer = {.shard = metrics_of(metrics, 0)};
    pthread_t thread;
    unsigned whole = 0;
    int64_t last = 0;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, write_boards, &writer), 0);
    while (whole < 2000) {
        struct metrics_board board;
        if (!metrics_board_read(writer.shard, rows, &board) || board.wall_ms == 0)
            continue;
        struct metrics_row expected = row_of((uint64_t)board.wall_ms);
        assert_int_equal(board.count, board.wall_ms % 40);
        for (unsigned i = 0; i < board.count; i++)
            assert_memory_equal(&rows[i], &expected, sizeof expected);
        assert_true(board.wall_ms >= last);
        last = board.wall_ms;
        whole++;
    }
    __atomic_store_n(&writer.stop, 1, __ATOMIC_RELAXED);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(last > 1);
    free(rows);
    metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_are_added_up),        cmocka_unit_test(exposition_is_well_formed),
        cmocka_unit_test(histograms_are_cumulative),  cmocka_unit_test(a_board_is_what_was_put),
        cmocka_unit_test(a_board_is_never_a_mixture),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
