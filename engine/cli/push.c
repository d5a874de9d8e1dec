/* Gets a list of recipients into Redis: all of it is checked first, then pushed in batches. */
#include "cli/push.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BATCH_ENTRIES = 1000, BATCH_BYTES = 1024 * 1024, COPY_BYTES = 64 * 1024 };

/* Standard input can be read only once, and a fault in the last line must be known before the first is pushed. */
static FILE *keep_input(void)
{
    char *buffer = malloc(COPY_BYTES);
    FILE *kept = tmpfile();
    size_t n = 0;
    while (buffer && kept && (n = fread(buffer, 1, COPY_BYTES, stdin)) > 0)
        if (fwrite(buffer, 1, n, kept) != n)
            break;
    bool good = buffer && kept && !ferror(stdin) && !ferror(kept) && n == 0;
    free(buffer);
    if (good && fseek(kept, 0, SEEK_SET) == 0)
        return kept;
    cli_error("standard input cannot be kept in a temporary file: %s", strerror(errno));
    if (kept)
        fclose(kept);
    return NULL;
}

static FILE *open_list(const char *file)
{
    struct stat st;
    if (strcmp(file, "-") == 0)
        return keep_input();
    FILE *stream = fopen(file, "re");
    if (!stream || fstat(fileno(stream), &st) < 0 || !S_ISREG(st.st_mode)) {
        cli_error("%s cannot be read: %s", file, stream ? "it is no file; use --to - for a pipe" : strerror(errno));
        if (stream)
            fclose(stream);
        return NULL;
    }
    return stream;
}

static bool check_all(struct push_list *list)
{
    struct slice entry;
    enum input_result result;
    struct input *input = input_open(list->stream, list->format);
    if (!input) {
        cli_error("no memory");
        return false;
    }
    while ((result = input_next(input, &entry)) == INPUT_ENTRY)
        list->count++;
    if (result == INPUT_FAULT)
        cli_error("%s: " SLICE_FORMAT, list->name, SLICE_ARGS(entry));
    else if (list->count == 0)
        cli_error("%s holds no recipient", list->name);
    input_close(input);
    return result == INPUT_END && list->count && fseek(list->stream, 0, SEEK_SET) == 0;
}

bool push_open(struct push_list *list, const char *file)
{
    *list = (struct push_list){.name = strcmp(file, "-") == 0 ? "standard input" : file};
    list->stream = open_list(file);
    if (!list->stream)
        return false;
    list->format = input_guess(file, list->stream);
    if (check_all(list))
        return true;
    push_close(list);
    return false;
}

void push_close(struct push_list *list)
{
    if (list->stream)
        fclose(list->stream);
    *list = (struct push_list){0};
}

char *push_first(struct push_list *list)
{
    struct slice entry;
    char *first = NULL;
    struct input *input = input_open(list->stream, list->format);
    if (input && input_next(input, &entry) == INPUT_ENTRY)
        first = strndup(entry.p, entry.n);
    input_close(input);
    rewind(list->stream);
    return first;
}

struct batch {
    struct slice entries[BATCH_ENTRIES];
    size_t starts[BATCH_ENTRIES];
    unsigned count;
    char *bytes; /* owned */
    size_t n, cap;
};

static void add_entry(struct batch *batch, struct slice entry)
{
    if (batch->cap - batch->n < entry.n) {
        batch->cap = 2 * batch->cap + entry.n + BATCH_BYTES;
        batch->bytes = realloc(batch->bytes, batch->cap);
        sluice_assert(batch->bytes);
    }
    memcpy(batch->bytes + batch->n, entry.p, entry.n);
    batch->starts[batch->count] = batch->n;
    batch->entries[batch->count].n = entry.n;
    batch->count++;
    batch->n += entry.n;
}

static bool push_batch(struct ask *ask, struct batch *batch, const char *campaign)
{
    struct ask_answer answer = {0};
    for (unsigned i = 0; i < batch->count; i++)
        batch->entries[i].p = batch->bytes + batch->starts[i];
    store_push(ask->store, ask_request(&answer), slice_of(campaign), batch->entries, batch->count);
    bool good = ask_wait(ask, &answer);
    ask_free(&answer);
    batch->count = 0;
    batch->n = 0;
    return good;
}

bool push_all(struct ask *ask, struct push_list *list, const char *campaign)
{
    struct batch *batch = calloc(1, sizeof *batch);
    struct input *input = input_open(list->stream, list->format);
    struct slice entry;
    uint64_t pushed = 0;
    bool good = batch && input;
    for (bool more = good; good && more;) {
        more = input_next(input, &entry) == INPUT_ENTRY;
        if (more)
            add_entry(batch, entry);
        unsigned count = batch->count;
        if (count && (!more || count == BATCH_ENTRIES || batch->n >= BATCH_BYTES)) {
            good = push_batch(ask, batch, campaign);
            pushed += good ? count : 0;
            if (good && more && ask_interrupted()) {
                cli_error("interrupted");
                good = false;
            }
        }
    }
    /* The list was counted before: a file that changed meanwhile must not pass for the one that was checked. */
    if (good && pushed != list->count) {
        cli_error("%s changed while it was read", list->name);
        good = false;
    }
    if (!good)
        cli_error("%ju of %ju recipients were pushed for certain; campaign %s was not started, and nothing was sent",
                  (uintmax_t)pushed, (uintmax_t)list->count, campaign);
    input_close(input);
    if (batch)
        free(batch->bytes);
    free(batch);
    return good;
}
