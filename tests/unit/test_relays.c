/* test_relays.c - secrets are read where only we can read them, and again when they change; a relay that refuses them
 * stops once, is probed by one at a time, and goes again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "control/relays.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char secret_text[] = "hunter2-hunter2";

struct scene {
    char dir[64], secret[96], log_file[96];
    struct config *config;
    struct log log;
};

static void put(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void set_up(struct scene *s)
{
    char text[512], error[512];
    snprintf(s->dir, sizeof s->dir, "/tmp/sluice-relays-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->secret, sizeof s->secret, "%s/secret", s->dir);
    snprintf(s->log_file, sizeof s->log_file, "%s/log", s->dir);
    put(s->secret, "hunter2-hunter2\n", 0600);
    put(s->log_file, "", 0600);
    snprintf(text, sizeof text,
             "relay open { host = h.example }\n"
             "relay ses { host = h.example user = u auth = plain\n password_file = %s }\n",
             s->secret);
    s->config = config_parse("dir/x.conf", slice_of(text), error, sizeof error);
    assert_non_null(s->config);
    log_init(&s->log, open(s->log_file, O_WRONLY | O_APPEND), LOG_LEVEL_DEBUG);
    assert_true(s->log.fd >= 0);
}

static void tear_down(struct scene *s)
{
    close(s->log.fd);
    config_free(s->config);
    unlink(s->secret);
    unlink(s->log_file);
    assert_int_equal(rmdir(s->dir), 0);
}

static unsigned logged(const struct scene *s, const char *text)
{
    char line[LOG_LINE + 1];
    unsigned count = 0;
    FILE *file = fopen(s->log_file, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        assert_null(strstr(line, "hunter2"));
        count += strstr(line, text) != NULL;
    }
    fclose(file);
    return count;
}

static struct relays *opened(struct scene *s)
{
    char error[1024] = "";
    struct relays *relays = relays_open(s->config, &s->log, error, sizeof error);
    if (!relays)
        fail_msg("%s", error);
    return relays;
}

static void refused(struct scene *s, const char *what)
{
    char error[1024] = "";
    assert_null(relays_open(s->config, &s->log, error, sizeof error));
    if (strncmp(error, "dir/x.conf:3: relay ses: password_file ", 39) != 0 || !strstr(error, what) ||
        strstr(error, "hunter2"))
        fail_msg("expected <... %s>, got <%s>", what, error);
}

static bool holds(struct relays *relays, const char *text, uint64_t *version)
{
    char secret[RELAY_SECRET_MAX];
    size_t n;
    *version = relays_secret(relays, 1, secret, &n);
    return slice_equal((struct slice){secret, n}, slice_of(text));
}

static void files_that_are_refused(void **state)
{
    static const mode_t open_modes[] = {0640, 0620, 0604, 0602, 0644, 0666};
    struct scene s;
    char longer[RELAY_SECRET_MAX + 2];
    (void)state;
    set_up(&s);
    relays_close(opened(&s));
    for (size_t i = 0; i < countof(open_modes); i++) {
        assert_int_equal(chmod(s.secret, open_modes[i]), 0);
        if (open_modes[i] != 0640 || geteuid() != 0) /* a file of root's may be its group's to read */
            refused(&s, "so others can use it");
    }
    unlink(s.secret);
    refused(&s, "No such file");
    put(s.secret, "\r\n\n", 0600);
    refused(&s, "is empty");
    put(s.secret, "hunter2\nhunter2\n", 0600);
    refused(&s, "more than one line");
    memset(longer, 'x', sizeof longer);
    longer[RELAY_SECRET_MAX + 1] = 0;
    put(s.secret, longer, 0600);
    refused(&s, "longer than 8192 bytes");
    unlink(s.secret);
    assert_int_equal(mkdir(s.secret, 0700), 0);
    refused(&s, "is no regular file");
    assert_int_equal(rmdir(s.secret), 0);
    assert_int_equal(logged(&s, ""), 0);
    tear_down(&s);
}

static void read_again_when_it_changes(void **state)
{
    struct scene s;
    uint64_t first, second;
    char other[128];
    (void)state;
    set_up(&s);
    struct relays *relays = opened(&s);
    assert_true(holds(relays, secret_text, &first));
    assert_true(first > 0);
    relays_refresh(relays, 1);
    assert_true(holds(relays, secret_text, &second));
    assert_int_equal(first, second);

    /* Replaced as one replaces files: by another that takes its name. */
    snprintf(other, sizeof other, "%s.new", s.secret);
    put(other, "hunter2-second", 0600);
    assert_int_equal(rename(other, s.secret), 0);
    relays_refresh(relays, 2);
    assert_true(holds(relays, "hunter2-second", &second));
    assert_true(second != first);
    assert_int_equal(logged(&s, "a relay's secret has changed"), 1);

    /* Gone, or open to all: what was known stays, and one line says so. */
    unlink(s.secret);
    for (nsec now = 3; now < 10; now++)
        relays_refresh(relays, now * NSEC_PER_S);
    assert_true(holds(relays, "hunter2-second", &first));
    assert_int_equal(first, second);
    assert_int_equal(logged(&s, "cannot be read again"), 1);
    put(s.secret, "hunter2-third", 0644);
    relays_refresh(relays, 20 * NSEC_PER_S);
    assert_true(holds(relays, "hunter2-second", &first));
    assert_int_equal(logged(&s, "so others can use it"), 1);
    assert_int_equal(chmod(s.secret, 0600), 0);
    relays_refresh(relays, 21 * NSEC_PER_S);
    assert_true(holds(relays, "hunter2-third", &first));
    assert_int_equal(logged(&s, "can be read again"), 1);
    relays_close(relays);
    tear_down(&s);
}

static void gather(void *context, const char *line)
{
    char *text = context;
    snprintf(text + strlen(text), 1024 - strlen(text), "%s\n", line);
}

static void it_stops_once_and_goes_again(void **state)
{
    struct scene s;
    uint64_t version, next;
    char text[1024] = "", why[RELAY_WHY];
    (void)state;
    set_up(&s);
    struct relays *relays = opened(&s);
    assert_true(holds(relays, secret_text, &version));
    assert_false(relays_stopped(relays, 1));
    assert_int_equal(relays_probe(relays, 1, 0), RELAY_GOES);
    assert_false(relays_complaint(relays, text, sizeof text));

    nsec now = 1000 * NSEC_PER_S;
    for (unsigned i = 0; i < 5; i++) /* shards find out one after the other */
        relays_refused(relays, 1, version, now, "535 5.7.8 no");
    assert_true(relays_stopped(relays, 1));
    assert_false(relays_stopped(relays, 0));
    assert_int_equal(logged(&s, "level=error"), 1);
    relays_why(relays, 1, why);
    assert_string_equal(why, "535 5.7.8 no");
    assert_true(relays_complaint(relays, text, sizeof text));
    assert_string_equal(text, "relay ses is stopped, it refuses our credentials: 535 5.7.8 no");
    text[0] = 0;
    relays_expose(relays, gather, text);
    assert_non_null(strstr(text, "\nsluice_relay_stopped{relay=\"open\"} 0\nsluice_relay_stopped{relay=\"ses\"} 1\n"));

    /* By time: one probe, and no second one beside it. */
    assert_int_equal(relays_probe(relays, 1, now + RELAY_REST - 1), RELAY_STOPPED);
    assert_int_equal(relays_probe(relays, 1, now + RELAY_REST), RELAY_PROBE);
    assert_int_equal(relays_probe(relays, 1, now + 2 * RELAY_REST), RELAY_STOPPED);
    relays_refused(relays, 1, version, now + 2 * RELAY_REST, "535 still no");
    assert_int_equal(relays_probe(relays, 1, now + 3 * RELAY_REST - 1), RELAY_STOPPED);
    assert_int_equal(relays_probe(relays, 1, now + 3 * RELAY_REST), RELAY_PROBE);
    relays_probed(relays, 1, now + 3 * RELAY_REST); /* nobody answered */
    now += 3 * RELAY_REST;
    assert_int_equal(relays_probe(relays, 1, now + 59 * NSEC_PER_S), RELAY_STOPPED);
    assert_int_equal(logged(&s, "level=error"), 1);

    /* By a new secret: at once, and once. */
    put(s.secret, "hunter2-new", 0600);
    relays_refresh(relays, now);
    assert_true(holds(relays, "hunter2-new", &next));
    assert_int_equal(relays_probe(relays, 1, now), RELAY_PROBE);
    relays_refused(relays, 1, version, now, "535 the old one"); /* another session had the old secret */
    assert_true(relays_stopped(relays, 1));
    relays_why(relays, 1, why);
    assert_string_equal(why, "535 still no");
    relays_accepted(relays, 1, version); /* as had this one */
    assert_true(relays_stopped(relays, 1));
    relays_accepted(relays, 1, next);
    assert_false(relays_stopped(relays, 1));
    relays_why(relays, 1, why);
    assert_string_equal(why, "");
    assert_int_equal(logged(&s, "takes us again"), 1);

    /* What was refused before the new secret came stops nothing; the next refusal is another alert. */
    relays_refused(relays, 1, version, now, "535 late");
    assert_false(relays_stopped(relays, 1));
    relays_refused(relays, 1, next, now, "535 again");
    assert_true(relays_stopped(relays, 1));
    assert_int_equal(logged(&s, "level=error"), 2);
    relays_close(relays);
    tear_down(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_are_refused),
        cmocka_unit_test(read_again_when_it_changes),
        cmocka_unit_test(it_stops_once_and_goes_again),
    };
    return cmocka_run_group_tests_name("relays", tests, NULL, NULL);
}
