/* press.c - what a message costs before it meets the wire: rendered and encoded, hashed, signed. One core, no ring, no
 * Redis; CPU time of the process.
 *
 * usage: sluice-press [--messages N] [--json] */
#include <getopt.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "flow/ledger.h"
#include "flow/press.h"

enum { OCTETS = 20480, FIELDS = 10, TEMPLATE_MAX = 64 * 1024, ENTRY_MAX = 1024, VARIANTS = 64 };

struct bench {
    struct arena arena;
    struct press press;
    struct config *config;
    struct sign_keys *keys;
    struct editions editions;
    struct campaign campaign;
    struct lease lease;
    struct attempt attempts[VARIANTS];
    char entries[VARIANTS][ENTRY_MAX];
    char html[TEMPLATE_MAX];
};

static void die(const char *what)
{
    fprintf(stderr, "sluice-press: %s\n", what);
    exit(1);
}

/* ---- what is pressed ---- */

/* Markup with a field in each of ten paragraphs; the message comes to about OCTETS. */
static void write_template(struct bench *bench)
{
    static const char words[] = "the shop has new shirts, cups and tickets for you and all your friends at the lake";
    size_t n = 0, each = (OCTETS - 1400) / FIELDS;
    n += (size_t)snprintf(bench->html, TEMPLATE_MAX, "<!doctype html><html><body>\n");
    for (unsigned field = 0; field < FIELDS; field++) {
        size_t begin = n;
        n += (size_t)snprintf(bench->html + n, TEMPLATE_MAX - n, "<p>Dear {{f%u}},\n", field);
        while (n - begin + sizeof words < each)
            n += (size_t)snprintf(bench->html + n, TEMPLATE_MAX - n, "%s\n", words);
        n += (size_t)snprintf(bench->html + n, TEMPLATE_MAX - n, "</p>\n");
    }
    snprintf(bench->html + n, TEMPLATE_MAX - n, "</body></html>\n");
}

static void write_entry(struct bench *bench, unsigned i)
{
    char *entry = bench->entries[i];
    int n = snprintf(entry, ENTRY_MAX, "{\"to\":\"user%02u@bench.example\"", i);
    for (unsigned field = 0; field < FIELDS; field++)
        n += snprintf(entry + n, (size_t)(ENTRY_MAX - n), ",\"f%u\":\"value %u of %u\"", field, field * 7919, i * 31);
    n += snprintf(entry + n, (size_t)(ENTRY_MAX - n), "}");
    bench->attempts[i] = (struct attempt){.campaign = &bench->campaign, .lease = &bench->lease, .seq = i};
    bench->attempts[i].raw = (struct slice){entry, (size_t)n};
    bench->attempts[i].to = (struct slice){entry + 7, 20};
    bench->attempts[i].domain = (struct slice){entry + 14, 13};
}

/* ---- its key ---- */

static FILE *temporary(char *path)
{
    int fd = mkstemp(path);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file)
        die("no temporary file can be made");
    return file;
}

static void make_keys(struct bench *bench)
{
    char key_path[] = "/tmp/sluice-press-XXXXXX", path[] = "/tmp/sluice-press-XXXXXX", error[1024];
    EVP_PKEY *key = EVP_RSA_gen(2048);
    FILE *file = temporary(key_path);
    if (!key || PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) != 1 || fclose(file) != 0)
        die("no key can be made");
    EVP_PKEY_free(key);
    file = temporary(path);
    fprintf(file,
            "pool bench {\n  source 127.0.1.1 { ehlo = m1.shop.example }\n}\n"
            "dkim shop.example { selector = s1  key = %s }\n",
            key_path);
    if (fclose(file) != 0)
        die("no configuration can be written");
    bench->config = config_load(path, error, sizeof error);
    bench->keys = bench->config ? sign_keys_load(bench->config, NULL, NULL, error, sizeof error) : NULL;
    unlink(path);
    unlink(key_path);
    if (!bench->keys)
        die(error);
}

static void open_bench(struct bench *bench)
{
    char reason[256];
    write_template(bench);
    make_keys(bench);
    strcpy(bench->campaign.id, "bench");
    bench->lease.campaign = &bench->campaign;
    struct slice items[] = {SLICE("from"),    SLICE("Shop <news@shop.example>"),
                            SLICE("subject"), SLICE("{{f0}}, your points"),
                            SLICE("html"),    slice_of(bench->html)};
    bench->campaign.edition = edition_make(&bench->editions, items, countof(items), reason, sizeof reason);
    if (!bench->campaign.edition)
        die(reason);
    if (!arena_open(&bench->arena, (size_t)64 << 20) ||
        !press_open(&bench->press, &bench->arena, (size_t)8 << 20, NULL))
        die("no memory");
    for (unsigned i = 0; i < VARIANTS; i++)
        write_entry(bench, i);
}

/* ---- measuring ---- */

static double cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* One batch; returns the octets of its first message. */
static uint64_t press_eight(struct bench *bench, unsigned from)
{
    struct attempt *others[PRESS_BATCH];
    struct slice reason;
    uint64_t octets = 0;
    for (unsigned i = 1; i < PRESS_BATCH; i++)
        others[i - 1] = &bench->attempts[(from + i) % VARIANTS];
    nsec wall = (nsec)time(NULL) * NSEC_PER_S;
    if (press_batch(&bench->press, &bench->attempts[from], others, PRESS_BATCH - 1, wall, &reason) != PRESS_DONE)
        die("a message could not be pressed");
    /* Without a key each is pressed alone: there is nothing to be gained by company. */
    for (unsigned i = 1; i < PRESS_BATCH; i++)
        if (!others[i - 1]->pressed && press_batch(&bench->press, others[i - 1], NULL, 0, wall, &reason) != PRESS_DONE)
            die("a message could not be pressed");
    octets = bench->attempts[from].pressed->size;
    press_discard(&bench->press);
    return octets;
}

static double measure(struct bench *bench, unsigned messages, uint64_t *octets)
{
    for (unsigned i = 0; i < 16; i++) /* memory is touched, guesses are made */
        *octets = press_eight(bench, i % VARIANTS);
    double before = cpu_us();
    for (unsigned i = 0; i < messages / PRESS_BATCH; i++)
        press_eight(bench, i * PRESS_BATCH % VARIANTS);
    return (cpu_us() - before) / (double)(messages / PRESS_BATCH * PRESS_BATCH);
}

static double measure_signer(struct bench *bench, unsigned messages)
{
    static uint8_t signatures[PRESS_BATCH][DKIM_SIGNATURE_BYTES];
    struct sign_job jobs[PRESS_BATCH];
    memset(jobs, 0, sizeof jobs);
    double before = cpu_us();
    for (unsigned n = 0; n < messages / PRESS_BATCH; n++) {
        for (unsigned i = 0; i < PRESS_BATCH; i++) {
            jobs[i] = (struct sign_job){.key = sign_keys_at(bench->keys, 0)->key, .signature = signatures[i]};
            memcpy(jobs[i].digest, &n, sizeof n);
        }
        if (sign_batch(bench->press.signer, jobs, PRESS_BATCH) != 0)
            die("a digest could not be signed");
    }
    return (cpu_us() - before) / (double)(messages / PRESS_BATCH * PRESS_BATCH);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"messages", required_argument, NULL, 'm'}, {"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
    static struct bench bench;
    unsigned messages = 40000;
    bool json = false;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'm' && atoi(optarg) >= 80)
            messages = (unsigned)atoi(optarg);
        else if (c == 'j')
            json = true;
        else
            die("usage: sluice-press [--messages N] [--json], N at least 80");
    }
    open_bench(&bench);
    uint64_t octets, with;
    double rendered = measure(&bench, messages, &octets);
    press_rekey(&bench.press, bench.keys);
    double pressed = measure(&bench, messages / 10, &with);
    double signer = measure_signer(&bench, messages / 10);
    printf(json ? "{\"octets\":%llu,\"rendered_us\":%.2f,\"hashed_us\":%.2f,\"signed_us\":%.2f}\n"
                : "%llu octets: %.2f us to render and encode, %.2f to hash and write the field, %.2f to sign\n",
           (unsigned long long)octets, rendered, pressed - rendered - signer, signer);
    press_close(&bench.press);
    edition_retire(bench.campaign.edition);
    sign_keys_release(bench.keys);
    config_free(bench.config);
    arena_drop(&bench.arena);
    return 0;
}
