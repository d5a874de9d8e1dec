/* Writes what happened as lines that people read and programs split, one write for each. */
#include "control/log.h"

#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- a bounded line ---- */

struct line {
    char text[LOG_LINE];
    size_t n;
    bool cut;
};

/* Room is kept for "...\n". */
enum { LINE_ROOM = LOG_LINE - 4, PATIENCE_MS = 20 };

static void put(struct line *line, const char *p, size_t n)
{
    size_t room = LINE_ROOM - line->n;
    if (n > room) {
        n = room;
        line->cut = true;
    }
    memcpy(line->text + line->n, p, n);
    line->n += n;
}

static void printf_like(2, 3) put_format(struct line *line, const char *format, ...)
{
    char text[128];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (n > 0)
        put(line, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

static bool is_plain(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f || strchr("\"\\=", s.p[i]))
            return false;
    return s.n > 0;
}

/* Bytes from 0x80 on pass as they are: they are UTF-8, or somebody's attempt at it, and end no line. */
static void put_escaped(struct line *line, struct slice s)
{
    for (size_t i = 0; i < s.n && !line->cut; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '\n')
            put(line, "\\n", 2);
        else if (c == '"' || c == '\\')
            put_format(line, "\\%c", c);
        else if (c < ' ' || c == 0x7f)
            put_format(line, "\\x%02x", c);
        else
            put(line, s.p + i, 1);
    }
}

static void put_field(struct line *line, const struct log_field *field)
{
    put(line, " ", 1);
    put(line, field->key, strlen(field->key));
    put(line, "=", 1);
    if (field->is_number) {
        put_format(line, "%" PRId64, field->number);
    } else if (is_plain(field->text)) {
        put(line, field->text.p, field->text.n);
    } else {
        put(line, "\"", 1);
        put_escaped(line, field->text);
        put(line, "\"", 1);
    }
}

/* ---- the log ---- */

/* JOURNAL_STREAM is "device:inode" of the stream that systemd gave us (systemd.exec(5)); after a redirection it is not
 * the one that we write to. */
static bool is_journal(int fd)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char mine[64];
    struct stat st;
    if (!stream || fstat(fd, &st) < 0)
        return false;
    snprintf(mine, sizeof mine, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(stream, mine) == 0;
}

void log_init(struct log *log, int fd, enum log_level level)
{
    *log = (struct log){.fd = fd, .level = level, .journal = is_journal(fd)};
}

void log_part(struct log *part, const struct log *log, const char *who)
{
    *part = *log;
    slice_copy(part->who, sizeof part->who, slice_of(who));
}

static void put_head(struct line *line, const struct log *log, enum log_level level)
{
    static const struct {
        const char *name;
        int priority; /* of syslog(3), as sd-daemon(3) writes it */
    } levels[] = {{"broken", 2}, {"error", 3}, {"warning", 4}, {"info", 6}, {"debug", 7}};
    sluice_assert(level > LOG_LEVEL_BROKEN && level < countof(levels));
    if (log->journal) {
        put_format(line, "<%d>", levels[level].priority);
        return;
    }
    struct timespec now;
    struct tm utc;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    put_format(line, "time=%s.%03ldZ level=%s ", text, now.tv_nsec / 1000000, levels[level].name);
}

/* A pipe whose reader has stopped would stop whoever writes to it. */
static bool takes_a_line(const struct log *log)
{
    struct pollfd writable = {.fd = log->fd, .events = POLLOUT};
    bool was_lost = log->lost && atomic_load(&log->lost->lines) != atomic_load(&log->lost->told);
    return poll(&writable, 1, was_lost ? 0 : PATIENCE_MS) != 0;
}

static void put_out(const struct log *log, const struct line *line)
{
    bool written = takes_a_line(log) && write(log->fd, line->text, line->n) == (ssize_t)line->n;
    if (!log->lost)
        return;
    if (!written) {
        atomic_fetch_add(&log->lost->lines, 1);
        return;
    }
    uint64_t lines = atomic_load(&log->lost->lines), told = atomic_exchange(&log->lost->told, lines);
    if (lines > told)
        log_warning(log, "lines of this log could not be written", log_number("lines", (int64_t)(lines - told)));
}

void log_write(const struct log *log, enum log_level level, const char *sentence, const struct log_field *fields,
               size_t count)
{
    struct line line;
    if (!log || level > log->level)
        return;
    line.n = 0;
    line.cut = false;
    put_head(&line, log, level);
    put(&line, "msg=\"", 5);
    put_escaped(&line, slice_of(sentence));
    put(&line, "\"", 1);
    for (size_t i = 0; i < count; i++)
        put_field(&line, &fields[i]);
    if (log->who[0]) {
        put(&line, " ", 1);
        put(&line, log->who, strlen(log->who));
    }
    if (line.cut) {
        memcpy(line.text + line.n, "...", 3);
        line.n += 3;
    }
    line.text[line.n++] = '\n';
    put_out(log, &line);
}

/* ---- troubles that last ---- */

static uint32_t hash_of(const char *text)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 16777619u;
    return hash;
}

void log_trouble(const struct log *log, struct log_trouble *trouble, nsec now, nsec again, const char *sentence,
                 const char *detail)
{
    uint32_t hash = hash_of(detail);
    bool begins = trouble->count == 0;
    bool is_new = begins || hash != trouble->text_hash;
    bool is_due = !begins && again > 0 && now - trouble->said >= again;
    if (begins)
        trouble->since = now;
    trouble->count++;
    /* Two texts that take turns are one trouble: a new text alone is said at most once a second. */
    if (!is_due && !(is_new && (begins || now - trouble->said >= NSEC_PER_S)))
        return;
    trouble->said = now;
    trouble->text_hash = hash;
    log_warning(log, sentence, log_text("error", detail), log_number("times", (int64_t)trouble->count),
                log_number("for_s", (now - trouble->since) / NSEC_PER_S));
}

void log_trouble_over(const struct log *log, struct log_trouble *trouble, nsec now, const char *sentence)
{
    if (trouble->count == 0)
        return;
    log_info(log, sentence, log_number("times", (int64_t)trouble->count),
             log_number("after_ms", (now - trouble->since) / NSEC_PER_MS));
    *trouble = (struct log_trouble){0};
}
