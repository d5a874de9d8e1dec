/* A stream of events tells when attempts ended; who asks when they started has to put them in order, however many. */
#include "cli/runs.h"

#include <stdlib.h>
#include <unistd.h>

bool runs_open(struct runs *runs)
{
    *runs = (struct runs){.items = malloc(RUNS_ITEMS * sizeof *runs->items)};
    return runs->items != NULL;
}

void runs_close(struct runs *runs)
{
    for (unsigned i = 0; i < runs->run_count; i++)
        fclose(runs->runs[i].file);
    free(runs->items);
}

static int earlier(const void *a, const void *b)
{
    const struct runs_item *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->of < y->of ? -1 : x->of > y->of;
}

static FILE *temporary(void)
{
    const char *directory = getenv("TMPDIR");
    char name[4096];
    snprintf(name, sizeof name, "%s/sluice-audit-XXXXXX", directory && directory[0] ? directory : "/tmp");
    int fd = mkstemp(name);
    if (fd < 0)
        return NULL;
    unlink(name);
    FILE *file = fdopen(fd, "w+b");
    if (!file)
        close(fd);
    return file;
}

static bool spill(struct runs *runs)
{
    if (runs->run_count == RUNS_MOST)
        return false;
    struct runs_run *run = &runs->runs[runs->run_count];
    run->file = temporary();
    if (!run->file)
        return false;
    runs->run_count++;
    qsort(runs->items, runs->count, sizeof *runs->items, earlier);
    if (fwrite(runs->items, sizeof *runs->items, runs->count, run->file) != runs->count || fflush(run->file) != 0)
        return false;
    rewind(run->file);
    runs->count = 0;
    return true;
}

bool runs_add(struct runs *runs, int64_t at, uint64_t of)
{
    if (runs->count == RUNS_ITEMS && !spill(runs))
        return false;
    runs->items[runs->count++] = (struct runs_item){at, of};
    return true;
}

static void read_head(struct runs *runs, struct runs_run *run)
{
    run->has_head = fread(&run->head, sizeof run->head, 1, run->file) == 1;
    runs->failed |= !run->has_head && ferror(run->file);
}

bool runs_sort(struct runs *runs)
{
    if (!runs->run_count) {
        qsort(runs->items, runs->count, sizeof *runs->items, earlier);
        return true;
    }
    if (runs->count && !spill(runs))
        return false;
    for (unsigned i = 0; i < runs->run_count; i++)
        read_head(runs, &runs->runs[i]);
    return !runs->failed;
}

bool runs_next(struct runs *runs, struct runs_item *item)
{
    if (runs->next < runs->count) {
        *item = runs->items[runs->next++];
        return true;
    }
    struct runs_run *first = NULL;
    for (unsigned i = 0; i < runs->run_count; i++)
        if (runs->runs[i].has_head && (!first || earlier(&runs->runs[i].head, &first->head) < 0))
            first = &runs->runs[i];
    if (!first || runs->failed)
        return false;
    *item = first->head;
    read_head(runs, first);
    return true;
}
