/* sts_fetch.c - the thread that fetches policies: libcurl waits and verifies in ways of its own, which no shard can
 * wait for. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "net/sts_transfer.h"

/* How the parts fit. A shard puts its fetch in `queued`, under the lock, and wakes the thread. The thread gives it a
 * transfer, or joins it to the one that asks for the same domain already. When that is over the cache knows what came
 * of it, and each fetch goes to its desk's `answered`; the desk's eventfd wakes its shard, which calls `done`. */

enum {
    TRANSFERS = 16,   /* at once; more wait */
    SAVE_EVERY_S = 5, /* the file is written this long after a change at most, sooner when nothing else is to do */
    TURN_MS = 1000,   /* curl_multi_poll's longest sleep while something runs */
    PATH_OCTETS = 1024,
};

struct job {
    struct sts_fetch *waiting;     /* none: their shards are gone */
    char domain[LIMIT_DOMAIN + 1]; /* "": the transfer is free */
    char id[STS_ID + 1];
    struct sts_transfer transfer;
};

struct sts {
    pthread_mutex_t lock; /* of all down to the blank line */
    struct sts_cache *cache;
    struct sts_fetch *queued, **queued_end;
    struct job jobs[TRANSFERS];
    bool ending;

    pthread_t thread;
    CURLM *multi;
    unsigned running;
    bool changed;
    nsec saved;
    char file[PATH_OCTETS], ca_file[PATH_OCTETS];
    uint16_t port;
    const struct log *log;
};

struct sts_desk {
    struct sts *sts;
    struct io *io;
    int fd;
    struct io_op poll;
    struct sts_fetch *answered; /* under the lock */
};

static nsec clock_now(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return now.tv_sec * NSEC_PER_S + now.tv_nsec;
}

/* ---- the file ---- */

static const char heading[] = "sluice mta-sts 1";

static void write_line(void *context, const char *text)
{
    fprintf(context, "%s\n", text); /* in memory: save_text looks whether there was enough */
}

/* All that is known as one text, to be freed. NULL: no memory. Nothing is written to a disk under the lock, for the
 * shards wait for it. */
static char *save_text(struct sts *sts, size_t *n)
{
    char *text = NULL;
    FILE *memory = open_memstream(&text, n);
    if (!memory)
        return NULL;
    write_line(memory, heading);
    pthread_mutex_lock(&sts->lock);
    sts_cache_save(sts->cache, clock_now(CLOCK_REALTIME), write_line, memory);
    pthread_mutex_unlock(&sts->lock);
    bool good = !ferror(memory);
    if (fclose(memory) == 0 && good)
        return text;
    free(text);
    return NULL;
}

/* Beside it, then in its place: what is there is always whole. */
static bool write_file(struct sts *sts, const char *path, const char *text, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    while (n > 0) {
        ssize_t written = write(fd, text, n);
        if (written < 0)
            break;
        text += written;
        n -= (size_t)written;
    }
    bool good = n == 0 && fsync(fd) == 0;
    return close(fd) == 0 && good && rename(path, sts->file) == 0;
}

static void save(struct sts *sts)
{
    char path[PATH_OCTETS + 8];
    size_t n = 0;
    char *text = save_text(sts, &n);
    snprintf(path, sizeof path, "%s.new", sts->file);
    if (!text || !write_file(sts, path, text, n))
        log_warning(sts->log, "the MTA-STS policies could not be saved", log_text("file", sts->file),
                    log_text("error", strerror(errno)));
    free(text);
    sts->changed = false;
    sts->saved = clock_now(CLOCK_MONOTONIC);
}

static void load(struct sts *sts)
{
    char line[STS_CACHE_LINE + 1];
    FILE *file = fopen(sts->file, "re");
    unsigned count = 0;
    if (!file)
        return;
    bool first = true;
    nsec wall = clock_now(CLOCK_REALTIME);
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (first && strcmp(line, heading) != 0)
            break; /* of another version, or no such file */
        count += !first && sts_cache_load(sts->cache, slice_of(line), wall);
        first = false;
    }
    fclose(file);
    log_debug(sts->log, "MTA-STS policies are known", log_number("count", count));
}

/* ---- the thread ---- */

/* The lock is held. */
static void answer(struct sts_fetch *fetch)
{
    struct sts_desk *desk = fetch->desk;
    uint64_t one = 1;
    fetch->next = desk->answered;
    desk->answered = fetch;
    ssize_t written = write(desk->fd, &one, sizeof one); /* fails when the counter is full, and then it is awake */
    (void)written;
}

static void job_over(struct sts *sts, struct job *job, const struct sts_policy *policy)
{
    nsec wall = clock_now(CLOCK_REALTIME);
    struct slice domain = slice_of(job->domain), id = slice_of(job->id);
    bool tell = false;
    pthread_mutex_lock(&sts->lock);
    if (policy)
        sts_cache_put(sts->cache, domain, id, wall, policy);
    else
        tell = sts_cache_failed(sts->cache, domain, id, wall);
    while (job->waiting) {
        struct sts_fetch *fetch = job->waiting;
        job->waiting = fetch->next;
        answer(fetch);
    }
    pthread_mutex_unlock(&sts->lock);
    sts->changed = sts->changed || policy;
    if (tell)
        log_warning(sts->log, "a domain's MTA-STS policy could not be fetched", log_slice("domain", domain),
                    log_text("error", job->transfer.error));
    job->domain[0] = 0; /* free: nobody but this thread looks for one */
}

static struct job *job_of(struct sts *sts, const char *domain)
{
    for (unsigned i = 0; i < TRANSFERS; i++)
        if (strcmp(sts->jobs[i].domain, domain) == 0)
            return &sts->jobs[i];
    return NULL;
}

/* A copy of the next fetch that needs a transfer of its own. NULL: none, or no transfer is free. */
static struct job *next_job(struct sts *sts, struct sts_fetch *copy)
{
    struct job *job = NULL;
    pthread_mutex_lock(&sts->lock);
    while (!job && sts->queued) {
        struct sts_fetch *fetch = sts->queued;
        struct job *same = job_of(sts, fetch->domain), *spare = same ? same : job_of(sts, "");
        if (!spare)
            break;
        sts->queued = fetch->next;
        if (!sts->queued)
            sts->queued_end = &sts->queued;
        fetch->next = spare->waiting;
        spare->waiting = fetch;
        if (same)
            continue;
        *copy = *fetch;
        slice_copy(spare->domain, sizeof spare->domain, slice_of(fetch->domain));
        slice_copy(spare->id, sizeof spare->id, slice_of(fetch->id));
        job = spare;
    }
    pthread_mutex_unlock(&sts->lock);
    return job;
}

static void start_jobs(struct sts *sts)
{
    struct sts_fetch fetch;
    for (struct job *job; (job = next_job(sts, &fetch));) {
        if (fetch.address_count == 0) {
            snprintf(job->transfer.error, sizeof job->transfer.error, "mta-sts.%.200s has no address", job->domain);
            job_over(sts, job, NULL);
        } else if (!sts_transfer_begin(&job->transfer, sts->multi, &fetch, sts->ca_file, sts->port, job)) {
            job_over(sts, job, NULL);
        } else {
            sts->running++;
        }
    }
}

static void end_jobs(struct sts *sts)
{
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(sts->multi, &left));) {
        struct sts_policy policy;
        struct job *job = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode result = message->data.result; /* the message goes with its handle */
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&job);
        bool good = sts_transfer_end(&job->transfer, sts->multi, result, &policy);
        sts->running--;
        job_over(sts, job, good ? &policy : NULL);
    }
}

static bool is_ending(struct sts *sts)
{
    pthread_mutex_lock(&sts->lock);
    bool ending = sts->ending;
    pthread_mutex_unlock(&sts->lock);
    return ending;
}

static void *thread_main(void *argument)
{
    struct sts *sts = argument;
    while (!is_ending(sts)) {
        int going;
        start_jobs(sts);
        curl_multi_perform(sts->multi, &going);
        end_jobs(sts);
        bool due = clock_now(CLOCK_MONOTONIC) - sts->saved >= SAVE_EVERY_S * NSEC_PER_S;
        if (sts->changed && (sts->running == 0 || due))
            save(sts);
        curl_multi_poll(sts->multi, NULL, 0, sts->running ? TURN_MS : 60 * TURN_MS, NULL);
    }
    return NULL;
}

/* ---- desks ---- */

static void on_wake(struct io_op *op, int result)
{
    struct sts_desk *desk = container_of(op, struct sts_desk, poll);
    uint64_t count;
    if (result == -ECANCELED)
        return;
    ssize_t got = read(desk->fd, &count, sizeof count);
    (void)got; /* nothing there is nothing to do */
    pthread_mutex_lock(&desk->sts->lock);
    struct sts_fetch *fetch = desk->answered;
    desk->answered = NULL;
    pthread_mutex_unlock(&desk->sts->lock);
    io_poll(desk->io, &desk->poll, desk->fd, POLLIN);
    while (fetch) {
        struct sts_fetch *next = fetch->next;
        fetch->desk = NULL;
        fetch->done(fetch);
        fetch = next;
    }
}

struct sts_desk *sts_desk_open(struct sts *sts, struct io *io)
{
    struct sts_desk *desk = calloc(1, sizeof *desk);
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!desk || fd < 0) {
        if (fd >= 0)
            close(fd);
        free(desk);
        return NULL;
    }
    *desk = (struct sts_desk){.sts = sts, .io = io, .fd = fd, .poll = {.done = on_wake}};
    io_poll(io, &desk->poll, fd, POLLIN);
    return desk;
}

static void forget(struct sts_fetch **list, const struct sts_desk *desk)
{
    while (*list)
        if ((*list)->desk == desk)
            *list = (*list)->next;
        else
            list = &(*list)->next;
}

void sts_desk_close(struct sts_desk *desk)
{
    struct sts *sts = desk->sts;
    pthread_mutex_lock(&sts->lock);
    forget(&sts->queued, desk);
    sts->queued_end = &sts->queued;
    while (*sts->queued_end)
        sts->queued_end = &(*sts->queued_end)->next;
    for (unsigned i = 0; i < TRANSFERS; i++)
        forget(&sts->jobs[i].waiting, desk);
    pthread_mutex_unlock(&sts->lock);
    close(desk->fd);
    free(desk);
}

void sts_fetch(struct sts_desk *desk, struct sts_fetch *fetch, struct slice domain, struct slice id,
               const struct io_address *addresses, unsigned count)
{
    struct sts *sts = desk->sts;
    fetch->desk = desk;
    fetch->next = NULL;
    slice_copy(fetch->domain, sizeof fetch->domain, domain);
    for (char *p = fetch->domain; *p; p++)
        *p = ascii_lower(*p);
    slice_copy(fetch->id, sizeof fetch->id, id);
    fetch->address_count = count < STS_FETCH_ADDRESSES ? count : STS_FETCH_ADDRESSES;
    memcpy(fetch->addresses, addresses, fetch->address_count * sizeof *addresses);
    pthread_mutex_lock(&sts->lock);
    *sts->queued_end = fetch;
    sts->queued_end = &fetch->next;
    pthread_mutex_unlock(&sts->lock);
    curl_multi_wakeup(sts->multi);
}

enum sts_advice sts_look(struct sts *sts, struct slice domain, struct slice id, nsec wall, struct sts_policy *policy)
{
    pthread_mutex_lock(&sts->lock);
    enum sts_advice advice = sts_cache_look(sts->cache, domain, id, wall, policy);
    pthread_mutex_unlock(&sts->lock);
    return advice;
}

/* ---- beginning and end ---- */

static void free_all(struct sts *sts)
{
    for (unsigned i = 0; i < TRANSFERS; i++) {
        struct sts_transfer *transfer = &sts->jobs[i].transfer;
        if (sts->multi && transfer->easy)
            curl_multi_remove_handle(sts->multi, transfer->easy);
        sts_transfer_close(transfer);
    }
    if (sts->multi)
        curl_multi_cleanup(sts->multi);
    if (sts->cache)
        sts_cache_close(sts->cache);
    pthread_mutex_destroy(&sts->lock);
    free(sts);
}

static bool make(struct sts *sts)
{
    bool made = curl_global_init(CURL_GLOBAL_DEFAULT) == 0;
    sts->multi = made ? curl_multi_init() : NULL;
    sts->cache = sts_cache_open();
    made = sts->multi && sts->cache;
    for (unsigned i = 0; i < TRANSFERS && made; i++)
        made = sts_transfer_open(&sts->jobs[i].transfer);
    return made;
}

struct sts *sts_open(const struct sts_config *config, char *error, size_t error_cap)
{
    struct sts *sts = calloc(1, sizeof *sts);
    if (!sts) {
        snprintf(error, error_cap, "mta-sts: no memory");
        return NULL;
    }
    pthread_mutex_init(&sts->lock, NULL);
    sts->queued_end = &sts->queued;
    snprintf(sts->file, sizeof sts->file, "%s", config->file);
    snprintf(sts->ca_file, sizeof sts->ca_file, "%s", config->ca_file);
    sts->port = config->port;
    sts->log = config->log;
    if (!make(sts)) {
        snprintf(error, error_cap, "mta-sts: libcurl does not start, or there is no memory");
        free_all(sts);
        return NULL;
    }
    load(sts);
    sigset_t all, before; /* signals are for the thread that waits for them */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&sts->thread, NULL, thread_main, sts);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        snprintf(error, error_cap, "mta-sts: no thread: %s", strerror(failed));
        free_all(sts);
        return NULL;
    }
    return sts;
}

void sts_close(struct sts *sts)
{
    pthread_mutex_lock(&sts->lock);
    sts->ending = true;
    pthread_mutex_unlock(&sts->lock);
    curl_multi_wakeup(sts->multi);
    pthread_join(sts->thread, NULL);
    if (sts->changed)
        save(sts);
    free_all(sts);
}
