/* Shards share nothing, but a password file is one and an account is one: here is the one place for both. */
#include "control/relays.h"

#include "control/secret.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const nsec probe_again = 60 * NSEC_PER_S;

struct relay {
    const struct config_relay *config;
    atomic_bool stopped;
    pthread_mutex_t lock; /* of all below */
    char secret[RELAY_SECRET_MAX];
    size_t n;
    uint64_t version; /* of the secret */
    bool probing;
    uint64_t refused; /* the version that was refused, or probed, last */
    nsec probe_at;
    char why[RELAY_WHY];
    /* The main thread's: */
    struct stat seen; /* the file as it was when it was read */
    struct log_trouble trouble;
};

struct relays {
    struct log log;
    bool logs;
    atomic_uint holders;
    const struct config *config; /* held */
    unsigned count;
    struct relay all[];
};

static const struct log *log_of(const struct relays *relays) { return relays->logs ? &relays->log : NULL; }

/* ---- secrets ---- */

static bool is_changed(const struct stat *a, const struct stat *b)
{
    return a->st_dev != b->st_dev || a->st_ino != b->st_ino || a->st_size != b->st_size ||
           a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec ||
           a->st_ctim.tv_sec != b->st_ctim.tv_sec || a->st_ctim.tv_nsec != b->st_ctim.tv_nsec;
}

/* The file without the line end that editors and `echo` put behind it. */
static bool trim(struct secret *secret, const char *path, char *error, size_t cap)
{
    const char *wrong = NULL;
    while (secret->n && (secret->bytes[secret->n - 1] == '\n' || secret->bytes[secret->n - 1] == '\r'))
        secret->n--;
    for (size_t i = 0; i < secret->n; i++)
        if ((unsigned char)secret->bytes[i] < ' ' || secret->bytes[i] == 0x7f)
            wrong = "has more than one line, or control characters; it holds the secret and nothing else";
    if (secret->n == 0)
        wrong = "is empty; it holds the secret and nothing else";
    if (secret->n > RELAY_SECRET_MAX)
        wrong = "is longer than 8192 bytes, which no AUTH command can carry";
    if (wrong)
        snprintf(error, cap, "%s: %s", path, wrong);
    return !wrong;
}

static void take(struct relay *relay, const struct secret *secret)
{
    pthread_mutex_lock(&relay->lock);
    explicit_bzero(relay->secret, sizeof relay->secret);
    memcpy(relay->secret, secret->bytes, secret->n);
    relay->n = secret->n;
    relay->version++;
    pthread_mutex_unlock(&relay->lock);
}

/* Its state is taken before it is read: what changes meanwhile is read once more. */
static bool load(struct relay *relay, char *error, size_t cap)
{
    struct secret secret;
    const char *path = relay->config->secret_file;
    if (stat(path, &relay->seen) != 0) {
        snprintf(error, cap, "%s: %s", path, strerror(errno));
        return false;
    }
    if (!secret_read(path, &secret, error, cap))
        return false;
    bool good = trim(&secret, path, error, cap);
    if (good)
        take(relay, &secret);
    secret_free(&secret);
    return good;
}

static void refresh(struct relays *relays, struct relay *relay, nsec now)
{
    struct stat there;
    char error[512];
    if (!relay->config->secret_file)
        return;
    if (stat(relay->config->secret_file, &there) == 0 && !is_changed(&there, &relay->seen))
        return;
    if (!load(relay, error, sizeof error)) {
        log_trouble(log_of(relays), &relay->trouble, now, 0, "a relay's secret cannot be read again; the old one stays",
                    error);
        return;
    }
    log_trouble_over(log_of(relays), &relay->trouble, now, "a relay's secret can be read again");
    log_info(log_of(relays), "a relay's secret has changed", log_text("relay", relay->config->name),
             log_text("file", relay->config->secret_file));
}

void relays_refresh(struct relays *relays, nsec now)
{
    for (unsigned i = 0; i < relays->count; i++)
        refresh(relays, &relays->all[i], now);
}

uint64_t relays_secret(struct relays *relays, unsigned relay, char secret[RELAY_SECRET_MAX], size_t *n)
{
    struct relay *r = &relays->all[relay];
    pthread_mutex_lock(&r->lock);
    uint64_t version = r->version;
    *n = r->n;
    memcpy(secret, r->secret, r->n);
    pthread_mutex_unlock(&r->lock);
    return version;
}

/* ---- does it take us? ---- */

bool relays_stopped(const struct relays *relays, unsigned relay)
{
    return atomic_load_explicit(&relays->all[relay].stopped, memory_order_relaxed);
}

enum relay_state relays_probe(struct relays *relays, unsigned relay, nsec now)
{
    struct relay *r = &relays->all[relay];
    enum relay_state state = RELAY_STOPPED;
    pthread_mutex_lock(&r->lock);
    if (!atomic_load(&r->stopped)) {
        state = RELAY_GOES;
    } else if (!r->probing && (now >= r->probe_at || r->version != r->refused)) {
        r->probing = true;
        r->refused = r->version; /* one probe for each change */
        state = RELAY_PROBE;
    }
    pthread_mutex_unlock(&r->lock);
    return state;
}

void relays_refused(struct relays *relays, unsigned relay, uint64_t version, nsec now, const char *why)
{
    struct relay *r = &relays->all[relay];
    char said[RELAY_WHY];
    slice_copy(said, sizeof said, slice_of(why));
    for (char *p = said; *p; p++) /* it goes into JSON, too */
        if (*p < ' ' || *p > '~')
            *p = '?';
    pthread_mutex_lock(&r->lock);
    bool stale = version != r->version, first = !stale && !atomic_load(&r->stopped);
    r->probing = false;
    if (!stale) {
        r->refused = version;
        r->probe_at = now + RELAY_REST;
        memcpy(r->why, said, sizeof r->why);
        atomic_store(&r->stopped, true);
    }
    pthread_mutex_unlock(&r->lock);
    if (first)
        log_error(log_of(relays), "a relay refuses our credentials: nothing is sent through it until that is put right",
                  log_text("relay", r->config->name), log_text("host", r->config->host),
                  log_text("user", r->config->user), log_text("said", said));
}

void relays_accepted(struct relays *relays, unsigned relay, uint64_t version)
{
    struct relay *r = &relays->all[relay];
    if (!relays_stopped(relays, relay))
        return;
    pthread_mutex_lock(&r->lock);
    bool goes = version == r->version && atomic_load(&r->stopped);
    r->probing = false;
    if (goes)
        atomic_store(&r->stopped, false);
    pthread_mutex_unlock(&r->lock);
    if (goes)
        log_info(log_of(relays), "a relay takes us again: sending goes on", log_text("relay", r->config->name));
}

void relays_probed(struct relays *relays, unsigned relay, nsec now)
{
    struct relay *r = &relays->all[relay];
    pthread_mutex_lock(&r->lock);
    if (r->probing)
        r->probe_at = now + probe_again;
    r->probing = false;
    pthread_mutex_unlock(&r->lock);
}

/* ---- for people ---- */

void relays_why(struct relays *relays, unsigned relay, char why[RELAY_WHY])
{
    struct relay *r = &relays->all[relay];
    pthread_mutex_lock(&r->lock);
    memcpy(why, r->why, sizeof r->why);
    if (!atomic_load(&r->stopped))
        why[0] = 0;
    pthread_mutex_unlock(&r->lock);
}

void relays_expose(const struct relays *relays, void (*line)(void *context, const char *text), void *context)
{
    char text[256];
    if (!relays->count)
        return;
    line(context,
         "# HELP sluice_relay_stopped Whether nothing is sent through a relay because it refuses our credentials.");
    line(context, "# TYPE sluice_relay_stopped gauge");
    for (unsigned i = 0; i < relays->count; i++) {
        snprintf(text, sizeof text, "sluice_relay_stopped{relay=\"%s\"} %d", relays->all[i].config->name,
                 relays_stopped(relays, i));
        line(context, text);
    }
}

bool relays_complaint(struct relays *relays, char *text, size_t cap)
{
    unsigned stopped = 0;
    size_t n = 0;
    text[0] = 0;
    for (unsigned i = 0; i < relays->count && n < cap; i++) {
        char why[RELAY_WHY];
        if (!relays_stopped(relays, i))
            continue;
        relays_why(relays, i, why);
        n += (size_t)snprintf(text + n, cap - n, "%srelay %s is stopped, it refuses our credentials: %s",
                              stopped++ ? "; " : "", relays->all[i].config->name, why);
    }
    return stopped;
}

/* ---- start and end ---- */

struct relays *relays_open(const struct config *config, const struct log *log, char *error, size_t error_cap)
{
    struct relays *relays = calloc(1, sizeof *relays + config->relay_count * sizeof *relays->all);
    if (!relays) {
        snprintf(error, error_cap, "no memory for relays");
        return NULL;
    }
    atomic_init(&relays->holders, 1);
    relays->config = config_hold(config);
    relays->logs = log;
    if (log)
        relays->log = *log;
    for (; relays->count < config->relay_count; relays->count++) {
        struct relay *relay = &relays->all[relays->count];
        const struct config_relay *of = &config->relays[relays->count];
        char why[512];
        relay->config = of;
        relay->version = config->generation << 32; /* versions are other ones after each reload */
        pthread_mutex_init(&relay->lock, NULL);
        if (!of->secret_file || load(relay, why, sizeof why))
            continue;
        snprintf(error, error_cap, "%s:%u: relay %s: %s %s", of->file, of->line, of->name,
                 of->auth == CONFIG_AUTH_XOAUTH2 ? "token_file" : "password_file", why);
        relays->count++;
        relays_close(relays);
        return NULL;
    }
    return relays;
}

struct relays *relays_hold(struct relays *relays)
{
    if (relays)
        atomic_fetch_add_explicit(&relays->holders, 1, memory_order_relaxed);
    return relays;
}

void relays_close(struct relays *relays)
{
    if (!relays || atomic_fetch_sub_explicit(&relays->holders, 1, memory_order_acq_rel) > 1)
        return;
    for (unsigned i = 0; i < relays->count; i++) {
        explicit_bzero(relays->all[i].secret, sizeof relays->all[i].secret);
        pthread_mutex_destroy(&relays->all[i].lock);
    }
    config_release(relays->config);
    free(relays);
}
