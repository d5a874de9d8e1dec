/* rsa.c - sluice-rsa: what an RSA-2048 signature costs with OpenSSL and in lanes, side by side.
 *
 *     sluice-rsa [--runs N] [--ms N]
 *
 * OpenSSL's loop is that of `openssl speed rsa2048`: EVP_PKEY_sign over a prepared context. The lanes' is sign_batch
 * with eight jobs, so with the encoding, the verification and the wiping. Contenders run in turn, first on one core,
 * then on two with a thread pinned to each, and each figure is the median of the runs. A second is one of the thread's
 * own CPU time, as in `openssl speed`, so that other programs on the machine disturb less. Prints Markdown. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sign/rsa_ifma.h"
#include "sign/signer.h"

enum { BATCH = RSA_LANES, RUNS_MAX = 101, THREADS_MAX = 2 };

struct contender {
    const char *name;
    bool lanes;
};

struct work {
    const struct contender *contender;
    struct sign_key *key;
    nsec until; /* of CPU time */
    int core;
    double rate; /* out: signatures a second */
    pthread_barrier_t *start;
};

static void die(const char *what)
{
    fprintf(stderr, "sluice-rsa: %s\n", what);
    exit(1);
}

static nsec cpu_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * NSEC_PER_S + now.tv_nsec;
}

static void pin(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        die("a core that cannot be had");
}

/* ---- contenders ---- */

static double run_openssl(const struct work *work)
{
    uint8_t digest[DKIM_HASH] = {0}, signature[RSA_LANES_BYTES];
    EVP_PKEY *key = EVP_PKEY_dup(sign_key_openssl(work->key)); /* threads that share one wait for each other */
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    if (EVP_PKEY_sign_init(context) != 1 || EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) != 1 ||
        EVP_PKEY_CTX_set_signature_md(context, EVP_sha256()) != 1)
        die("OpenSSL refuses");
    unsigned count = 0;
    nsec begin = cpu_now(), now;
    do {
        size_t n = sizeof signature;
        memcpy(digest, &count, sizeof count);
        if (EVP_PKEY_sign(context, signature, &n, digest, sizeof digest) != 1)
            die("OpenSSL does not sign");
        count++;
        now = cpu_now();
    } while (now - begin < work->until);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(key);
    return count * 1e9 / (double)(now - begin);
}

static double run_lanes(const struct work *work)
{
    static _Thread_local uint8_t signatures[BATCH][DKIM_SIGNATURE_BYTES];
    struct sign_job jobs[BATCH];
    struct signer *signer = signer_open();
    if (!signer || signer_lanes(signer, true, NULL) != RSA_LANES_READY)
        die("this CPU has no AVX-512 IFMA");
    unsigned count = 0;
    nsec begin = cpu_now(), now;
    do {
        for (unsigned i = 0; i < BATCH; i++) {
            jobs[i] = (struct sign_job){.key = work->key, .signature = signatures[i]};
            memcpy(jobs[i].digest, &count, sizeof count);
            jobs[i].digest[31] = (uint8_t)i;
        }
        if (sign_batch(signer, jobs, BATCH) != 0)
            die("the signer does not sign");
        count += BATCH;
        now = cpu_now();
    } while (now - begin < work->until);
    if (signer_counts(signer).lanes != count)
        die("the signer went by OpenSSL");
    signer_close(signer);
    return count * 1e9 / (double)(now - begin);
}

static void *work_run(void *argument)
{
    struct work *work = argument;
    pin(work->core);
    pthread_barrier_wait(work->start);
    work->rate = work->contender->lanes ? run_lanes(work) : run_openssl(work);
    return NULL;
}

/* Signatures a second of all threads together. */
static double measure(const struct contender *contender, struct sign_key *key, int threads, nsec until)
{
    struct work works[THREADS_MAX];
    pthread_t ids[THREADS_MAX];
    pthread_barrier_t start;
    double sum = 0;
    pthread_barrier_init(&start, NULL, (unsigned)threads);
    for (int i = 0; i < threads; i++) {
        works[i] = (struct work){.contender = contender,
                                 .key = key,
                                 .until = until,
                                 .core = threads == 1 ? (int)sysconf(_SC_NPROCESSORS_ONLN) - 1 : i,
                                 .start = &start};
        if (pthread_create(&ids[i], NULL, work_run, &works[i]) != 0)
            die("no thread");
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        sum += works[i].rate;
    }
    pthread_barrier_destroy(&start);
    return sum;
}

/* ---- the two primitives ---- */

struct operands {
    struct rsa_ifma_modulus modulus;
    alignas(64) uint64_t a[RSA_IFMA_DIGITS][RSA_IFMA_LANES], b[RSA_IFMA_DIGITS][RSA_IFMA_LANES];
    alignas(64) uint64_t column[2 * RSA_IFMA_DIGITS][RSA_IFMA_LANES];
};

/* Nanoseconds for eight products, or squares. */
static double measure_primitive(struct operands *o, bool squares)
{
    enum { TIMES = 2000 };
    nsec begin = cpu_now();
    for (int i = 0; i < TIMES; i++) {
        if (squares)
            rsa_ifma_square(o->a, o->a, &o->modulus, o->column);
        else
            rsa_ifma_multiply(o->a, o->a, o->b, &o->modulus, o->column);
    }
    return (double)(cpu_now() - begin) / TIMES;
}

/* ---- the table ---- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, int count)
{
    double sorted[RUNS_MAX];
    memcpy(sorted, values, (size_t)count * sizeof sorted[0]);
    qsort(sorted, (size_t)count, sizeof sorted[0], ascending);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

static struct sign_key *make_key(void)
{
    char file[] = "/tmp/sluice-rsa-XXXXXX", error[512];
    EVP_PKEY *openssl = EVP_RSA_gen(2048);
    int fd = mkstemp(file);
    FILE *stream = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!openssl || !stream || PEM_write_PrivateKey(stream, openssl, NULL, NULL, 0, NULL, NULL) != 1 ||
        fclose(stream) != 0)
        die("no key");
    EVP_PKEY_free(openssl);
    struct sign_key *key = sign_key_load(file, error, sizeof error);
    unlink(file);
    if (!key)
        die(error);
    return key;
}

static void report(struct sign_key *key, int runs, nsec until)
{
    static const struct contender openssl = {"OpenSSL", false}, lanes = {"lanes", true};
    printf("| cores | OpenSSL /s | lanes /s | ratio |\n|---:|---:|---:|---:|\n");
    for (int threads = 1; threads <= THREADS_MAX && threads <= sysconf(_SC_NPROCESSORS_ONLN); threads++) {
        double by_openssl[RUNS_MAX], by_lanes[RUNS_MAX], ratio[RUNS_MAX];
        for (int i = 0; i < runs; i++) {
            by_openssl[i] = measure(&openssl, key, threads, until);
            by_lanes[i] = measure(&lanes, key, threads, until);
            ratio[i] = by_lanes[i] / by_openssl[i];
        }
        printf("| %d | %.0f | %.0f | %.2f |\n", threads, median(by_openssl, runs), median(by_lanes, runs),
               median(ratio, runs));
        fflush(stdout);
    }
    double squares[RUNS_MAX], products[RUNS_MAX];
    static struct operands operands;
    memset(operands.modulus.m, 0x5, sizeof operands.modulus.m);
    for (int i = 0; i < runs; i++) {
        squares[i] = measure_primitive(&operands, true);
        products[i] = measure_primitive(&operands, false);
    }
    printf("\nEight squares modulo 1,024 bits: %.0f ns; eight products: %.0f ns.\n", median(squares, runs),
           median(products, runs));
}

int main(int argc, char **argv)
{
    int runs = 9;
    nsec until = 300 * NSEC_PER_MS;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--runs") == 0)
            runs = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--ms") == 0)
            until = atoi(argv[i + 1]) * NSEC_PER_MS;
        else
            die("usage: sluice-rsa [--runs N] [--ms N]");
    }
    if (argc % 2 == 0 || runs < 1 || runs > RUNS_MAX || until <= 0)
        die("usage: sluice-rsa [--runs N] [--ms N]");
    struct sign_key *key = make_key();
    report(key, runs, until);
    sign_key_release(key);
    return 0;
}
