/* base.h - what every file may rely on: time in nanoseconds, and asserts that stay on.
 *
 * Three kinds of failure, three mechanisms: our own bug is a `sluice_assert`; the environment failing is a
 * return value that must be used; what a peer does is data, an outcome. */
#ifndef SLUICE_BASE_H
#define SLUICE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A duration or an instant in nanoseconds. An instant counts from the monotonic clock's own zero, or, where the
 * name says `wall`, from the Unix epoch in UTC. No float decides anything. */
typedef int64_t nsec;

#define NSEC_PER_US ((nsec)1000)
#define NSEC_PER_MS ((nsec)1000 * 1000)
#define NSEC_PER_S ((nsec)1000 * 1000 * 1000)
#define NSEC_NEVER INT64_MAX

#define must_use __attribute__((warn_unused_result))
#define printf_like(text, first) __attribute__((format(printf, text, first)))

#define countof(array) (sizeof(array) / sizeof((array)[0]))

/* The structure that a member is embedded in. */
#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* Stays on in release: a state that must not be is ended before it can lose or double a recipient. */
#define sluice_assert(condition)                                                                                       \
    do {                                                                                                               \
        if (__builtin_expect(!(condition), 0))                                                                         \
            __builtin_trap();                                                                                          \
    } while (0)

static inline nsec nsec_min(nsec a, nsec b) { return a < b ? a : b; }
static inline nsec nsec_max(nsec a, nsec b) { return a > b ? a : b; }

#endif
