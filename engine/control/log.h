/* log.h - key=value lines for people and journald.
 *
 *     time=2026-11-01T08:00:00.123Z level=warning msg="redis is away, sending stops" error="connection refused" shard=0
 *
 * One line is one write(2) of at most LOG_LINE bytes, so that lines of several threads never mix; what is longer is cut
 * and ends in "...". Values with a space, a quote, '=' or a control byte are quoted, with \n, \", \\ and \xNN inside: a
 * line never holds a line end of somebody else. When standard error is the journal (JOURNAL_STREAM names it) lines
 * begin with "<N>", the syslog priority, and carry no time, for the journal has its own.
 *
 * A line that cannot be written (a full disk, a pipe that nobody reads, or whose reader is too slow) is lost and
 * counted: the engine neither ends nor waits for it, but for a 50th of a second. The next one that can be says how many
 * were.
 *
 * A `struct log` is a value: whoever logs keeps one, there is no global. */
#ifndef CONTROL_LOG_H
#define CONTROL_LOG_H

#include "sluice/base.h"
#include "sluice/slice.h"

#include <stdatomic.h>

enum log_level {
    LOG_LEVEL_BROKEN = 0,
    LOG_LEVEL_ERROR,   /* somebody must act */
    LOG_LEVEL_WARNING, /* less is sent than should be */
    LOG_LEVEL_INFO,    /* what a person wants to read the day after */
    LOG_LEVEL_DEBUG,
};

enum { LOG_LINE = 2048, LOG_WHO = 32 };

/* Shared by a log and all its parts, in whatever thread. */
struct log_lost {
    atomic_uint_least64_t lines, told;
};

struct log {
    int fd;
    struct log_lost *lost; /* borrows for as long as it is used; NULL: lost lines are not counted */
    enum log_level level; /* what is above it is not written */
    bool journal;
    char who[LOG_WHO]; /* "shard=0", put at the end of each line; may be empty */
};

/* Writes to `fd`; `journal` is found out from JOURNAL_STREAM (device and inode of fd). */
void log_init(struct log *log, int fd, enum log_level level);
/* The same log for a part of the program: `log_part(&mine, log, "shard=3")`. */
void log_part(struct log *part, const struct log *log, const char *who);

/* One field. Made by the functions below; text is borrowed until the line is written. */
struct log_field {
    const char *key;
    struct slice text;
    int64_t number;
    bool is_number;
};
static inline struct log_field log_text(const char *key, const char *text)
{
    return (struct log_field){.key = key, .text = slice_of(text)};
}
static inline struct log_field log_slice(const char *key, struct slice text)
{
    return (struct log_field){.key = key, .text = text};
}
static inline struct log_field log_number(const char *key, int64_t number)
{
    return (struct log_field){.key = key, .number = number, .is_number = true};
}

/* A sentence without its full stop, then fields. Does nothing when `log` is NULL. */
void log_write(const struct log *log, enum log_level level, const char *sentence, const struct log_field *fields,
               size_t count);
#define log_say(log, level, sentence, ...)                                                                             \
    log_write((log), (level), (sentence), (struct log_field[]){__VA_ARGS__},                                           \
              sizeof((struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))
#define log_error(log, sentence, ...)   log_say(log, LOG_LEVEL_ERROR, sentence, __VA_ARGS__)
#define log_warning(log, sentence, ...) log_say(log, LOG_LEVEL_WARNING, sentence, __VA_ARGS__)
#define log_info(log, sentence, ...)    log_say(log, LOG_LEVEL_INFO, sentence, __VA_ARGS__)
#define log_debug(log, sentence, ...)   log_say(log, LOG_LEVEL_DEBUG, sentence, __VA_ARGS__)

/* A trouble that lasts is said when it begins, when its text changes (at most once a second), every `again`, and once
 * when it is over, with how long it took and how often it was met. Zero-initialised by its owner. */
struct log_trouble {
    nsec since; /* when it began; valid if `count` */
    nsec said;
    uint64_t count; /* 0: no trouble */
    uint32_t text_hash;
};
/* `now` is any clock that does not go back. `again` <= 0: never again while the text is the same. */
void log_trouble(const struct log *log, struct log_trouble *trouble, nsec now, nsec again, const char *sentence,
                 const char *detail);
void log_trouble_over(const struct log *log, struct log_trouble *trouble, nsec now, const char *sentence);

#endif
