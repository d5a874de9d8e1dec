/* Some servers say when to come back. Their texts name other times too ("100 messages in 60 minutes"), so a number
 * counts only where the words before it ask for patience. */
#include "proto/policy/wording.h"

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool begins(struct slice s, const char *with)
{
    size_t n = strlen(with);
    return s.n >= n && slice_equal_nocase((struct slice){s.p, n}, (struct slice){with, n});
}

static bool contains_any(struct slice s, const char *const *words, size_t count)
{
    for (; s.n; s.p++, s.n--)
        for (size_t i = 0; i < count; i++)
            if (begins(s, words[i]))
                return true;
    return false;
}

/* ---- the words before the number ---- */

/* The word that ends here, punctuation aside. */
static struct slice last_word(struct slice s)
{
    while (s.n && !ascii_is_alnum(s.p[s.n - 1]))
        s.n--;
    size_t n = s.n;
    while (n && (ascii_is_alnum(s.p[n - 1]) || s.p[n - 1] == '-'))
        n--;
    return (struct slice){s.p + n, s.n - n};
}

static bool is_one_of(struct slice word, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equal_nocase(word, slice_of(words[i])))
            return true;
    return false;
}

/* Does what stands before a duration make it the time that we are to wait? */
static bool asks_for_patience(struct slice before)
{
    static const char *const again[] = {"try",   "retr",      "again",   "come back", "resend", "reconnect",
                                        "later", "retry-aft", "re-send", "resubmit",  "attempt"};
    static const char *const punished[] = {"greylist", "graylist", "grey list", "gray list", "block",
                                           "defer",    "delay",    "suspend",   "limited",   "restrict",
                                           "banned",   "penalty",  "paused",    "throttl"};
    static const char *const directly[] = {"wait",  "another",    "retry",   "retry-after",
                                           "delay", "greylisted", "delayed", "wait:"};
    static const char *const about[] = {"at",     "least", "about", "approximately", "approx",
                                        "around", "next",  "a",     "further"};
    enum { NEAR = 90 };
    if (before.n > NEAR)
        before = (struct slice){before.p + before.n - NEAR, NEAR};
    struct slice word = last_word(before);
    while (is_one_of(word, about, countof(about))) {
        before.n = (size_t)(word.p - before.p);
        word = last_word(before);
    }
    struct slice until = {before.p, (size_t)(word.p - before.p)};
    if (is_one_of(word, directly, countof(directly)))
        return true;
    bool after = slice_equal_nocase(word, SLICE("after")) || slice_equal_nocase(word, SLICE("in"));
    bool lasting = slice_equal_nocase(word, SLICE("for"));
    if (!after && !lasting)
        return false;
    return contains_any(until, again, countof(again)) ||
           (lasting && (contains_any(until, punished, countof(punished)) || contains_any(until, directly, 1)));
}

/* "wait" may also come first with words between, "please wait at least 5 minutes", or behind: "5 minutes later". */
static bool asks_behind(struct slice before, struct slice behind)
{
    static const char *const again[] = {"try", "retr", "come back", "resend"};
    struct slice word = last_word(before);
    return begins(slice_trim(behind), "later") && contains_any(before, again, countof(again)) &&
           !slice_equal_nocase(word, SLICE("per"));
}

/* ---- the duration ---- */

enum { TOO_LONG = 1000 * 24 * 3600 };

/* A number at the front, in digits or as a word; its length, or 0. */
static size_t number(struct slice s, uint32_t *value)
{
    static const struct {
        const char *word;
        uint32_t value;
    } words[] = {{"an ", 1},   {"one ", 1},     {"two ", 2},      {"three ", 3},   {"four ", 4},    {"five ", 5},
                 {"ten ", 10}, {"twelve ", 12}, {"fifteen ", 15}, {"twenty ", 20}, {"thirty ", 30}, {"sixty ", 60}};
    size_t n = 0;
    *value = 0;
    for (; n < s.n && is_digit(s.p[n]); n++)
        *value = *value < TOO_LONG ? 10 * *value + (uint32_t)(s.p[n] - '0') : TOO_LONG;
    for (size_t i = 0; n == 0 && i < countof(words); i++)
        if (begins(s, words[i].word)) {
            *value = words[i].value;
            return strlen(words[i].word) - 1;
        }
    return n;
}

/* The unit behind a number, in seconds; 0: there is none. */
static uint32_t unit(struct slice s, size_t *length)
{
    static const struct {
        const char *word;
        uint32_t seconds;
    } units[] = {{"seconds", 1},  {"second", 1},  {"secs", 1},     {"sec", 1},     {"minutes", 60}, {"minute", 60},
                 {"mins", 60},    {"min", 60},    {"hours", 3600}, {"hour", 3600}, {"hrs", 3600},   {"hr", 3600},
                 {"days", 86400}, {"day", 86400}, {"s", 1},        {"m", 60},      {"h", 3600}};
    size_t blank = 0;
    while (blank < s.n && blank < 2 && (s.p[blank] == ' ' || s.p[blank] == '-'))
        blank++;
    if (begins((struct slice){s.p + blank, s.n - blank}, "(")) /* "minute(s)" comes behind the word, not before */
        return 0;
    for (size_t i = 0; i < countof(units); i++) {
        size_t n = blank + strlen(units[i].word);
        if (s.n >= n && begins((struct slice){s.p + blank, s.n - blank}, units[i].word) &&
            (s.n == n || !ascii_is_alnum(s.p[n]))) {
            *length = n;
            return units[i].seconds;
        }
    }
    return 0;
}

/* "00:05:00" at the front, as greylisting daemons write it; 0: there is none. */
static uint64_t clock_time(struct slice s, size_t *length)
{
    uint64_t total = 0;
    size_t n = 0;
    unsigned parts = 0;
    for (; parts < 3; parts++) {
        uint32_t value;
        struct slice rest = {s.p + n, s.n - n};
        if (parts && (!rest.n || rest.p[0] != ':'))
            break;
        n += parts > 0;
        rest = (struct slice){s.p + n, s.n - n};
        size_t digits = rest.n && is_digit(rest.p[0]) ? number(rest, &value) : 0;
        if (digits == 0 || digits > 2)
            return 0;
        total = 60 * total + value;
        n += digits;
    }
    *length = n;
    return parts == 3 ? total : 0;
}

nsec wording_retry_after(struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        struct slice here = {text.p + i, text.n - i}, before = {text.p, i};
        uint32_t count;
        size_t digits, length = 0;
        if (i && (ascii_is_alnum(text.p[i - 1]) || text.p[i - 1] == '.' || text.p[i - 1] == ':'))
            continue;
        uint64_t seconds = clock_time(here, &length);
        if (!seconds && (digits = number(here, &count)) > 0)
            seconds = (uint64_t)count * unit((struct slice){here.p + digits, here.n - digits}, &length),
            length += digits;
        if (!seconds ||
            !(asks_for_patience(before) || asks_behind(before, (struct slice){here.p + length, here.n - length})))
            continue;
        if (seconds < WORDING_SECONDS_LEAST)
            seconds = WORDING_SECONDS_LEAST;
        if (seconds > WORDING_SECONDS_MOST)
            seconds = WORDING_SECONDS_MOST;
        return (nsec)seconds * NSEC_PER_S;
    }
    return 0;
}
