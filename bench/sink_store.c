/* sink_store.c - writes messages down, because some questions about them are only answered by other programs. */
#include "bench/sink_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_ROOM = 4096 };

static _Noreturn void fail(const char *path)
{
    perror(path);
    exit(1);
}

void sink_store_file(const char *path, struct slice text)
{
    FILE *file = fopen(path, "we");
    bool kept = file && (!text.n || fwrite(text.p, 1, text.n, file) == text.n); /* nothing may have no address */
    if (!kept || fclose(file) != 0)
        fail(path);
}

/* Anybody may send any campaign's name: it leads nowhere else, and hides nothing. */
static void safe_name(char *to, size_t cap, const char *campaign)
{
    size_t n = slice_copy(to, cap, slice_of(campaign[0] ? campaign : "-"));
    for (size_t i = 0; i < n; i++) {
        char c = to[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '_' || (c == '.' && i > 0);
        if (!plain)
            to[i] = '_';
    }
}

void sink_store_message(const char *directory, unsigned thread, const struct mx_ledger *ledger,
                        const struct mx_accepted *record, uint64_t number, struct slice text)
{
    char path[PATH_ROOM], part[PATH_ROOM], campaign[MX_CAMPAIGN_MAX + 1], seq[24] = "-";
    safe_name(campaign, sizeof campaign, mx_ledger_campaign(ledger, record));
    if (record->seq != UINT64_MAX)
        snprintf(seq, sizeof seq, "%llu", (unsigned long long)record->seq);
    int n = snprintf(path, sizeof path, "%s/%s.%s.%u-%u-%llu.eml", directory, campaign, seq, thread, record->connection,
                     (unsigned long long)number);
    int m = snprintf(part, sizeof part, "%s/.%u.part", directory, thread);
    if (n < 0 || (size_t)n >= sizeof path || m < 0 || (size_t)m >= sizeof part)
        fail(directory);
    sink_store_file(part, text);
    if (rename(part, path) != 0)
        fail(path);
}
