/* rsa_timing.c - does the time of a batch tell anything about keys or messages?
 *
 *     rsa_timing [MEASUREMENTS]      4,000 of each kind; half a minute on a core that has nothing else to do
 *
 * The method of Reparaz, Balasch and Verbauwhede ("Dude, is my code constant time?", DATE 2017): two classes of input,
 * one fixed and one fresh each time, in random order; Welch's t between their times, once with all of them and once
 * with the slowest left out, at several cuts, for what a scheduler adds hides what a leak would. |t| below 4.5 is no
 * evidence of a leak. The last row is a control: its second class computes one product more of some 2,600, which must
 * be seen, or the machine is too noisy for the others to mean anything.
 *
 * What this cannot show: leaks smaller than the control's, and those through anything but time. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include "sign/rsa_ifma.h"
#include "sign/rsa_lanes.h"

enum { D = RSA_IFMA_DIGITS, LANES = RSA_IFMA_LANES, CUTS = 6 };

static const double cuts[CUTS] = {1.0, 0.95, 0.8, 0.5, 0.25, 0.1};

struct bench {
    struct rsa_ifma_batch batch, fresh;
    uint64_t chance;
};

static uint64_t draw(struct bench *bench) /* splitmix64 */
{
    uint64_t z = bench->chance += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void fill(struct bench *bench, uint64_t (*rows)[LANES], unsigned count, uint64_t top)
{
    for (unsigned j = 0; j < count; j++)
        for (unsigned lane = 0; lane < LANES; lane++)
            rows[j][lane] = draw(bench) >> (64 - RSA_IFMA_DIGIT_BITS);
    for (unsigned lane = 0; lane < LANES; lane++)
        rows[count - 1][lane] = rows[count - 1][lane] & (top - 1);
}

/* Any odd number will do: what comes out means nothing, but it takes as long. */
static void fill_modulus(struct bench *bench, uint64_t (*m)[LANES], unsigned count, uint64_t top, uint64_t *k)
{
    fill(bench, m, count, top);
    for (unsigned lane = 0; lane < LANES; lane++) {
        uint64_t inverse = m[0][lane] |= 1;
        m[count - 1][lane] |= top;
        for (int i = 0; i < 5; i++)
            inverse *= 2 - m[0][lane] * inverse;
        k[lane] = -inverse & ((UINT64_C(1) << RSA_IFMA_DIGIT_BITS) - 1);
    }
}

static void fill_prime(struct bench *bench, struct rsa_ifma_prime *prime)
{
    fill_modulus(bench, prime->modulus.m, D, UINT64_C(1) << 35, prime->modulus.k);
    fill(bench, prime->r2, D, UINT64_C(1) << 35);
    fill(bench, prime->r3, D, UINT64_C(1) << 35);
    for (unsigned i = 0; i < RSA_IFMA_WINDOWS; i++)
        for (unsigned lane = 0; lane < LANES; lane++)
            prime->exponent[i][lane] = draw(bench) % RSA_IFMA_POWERS;
}

static void fill_batch(struct bench *bench, struct rsa_ifma_batch *batch)
{
    fill_prime(bench, &batch->p);
    fill_prime(bench, &batch->q);
    fill(bench, batch->q_inverse, D, UINT64_C(1) << 35);
    fill_modulus(bench, batch->n, 2 * D, UINT64_C(1) << 19, batch->n_k);
    fill(bench, batch->n_r2, 2 * D, UINT64_C(1) << 19);
    fill(bench, batch->message, 2 * D, UINT64_C(1) << 19);
}

/* ---- what is varied ---- */

enum subject { EXPONENTS_ZERO, EXPONENTS_ONES, MESSAGES_ZERO, KEYS, CONTROL, SUBJECTS };

static const char *const subject_names[SUBJECTS] = {
    [EXPONENTS_ZERO] = "exponents of zeros, or any", [EXPONENTS_ONES] = "exponents of ones, or any",
    [MESSAGES_ZERO] = "messages of zeros, or any",   [KEYS] = "the same keys, or any",
    [CONTROL] = "control: eight products more",
};

/* Both classes make and copy the same amount, so that caches and branches are in the same state. */
static void prepare(struct bench *bench, enum subject subject, bool second)
{
    struct rsa_ifma_batch *batch = &bench->batch, *fresh = &bench->fresh;
    fill_batch(bench, fresh);
    struct rsa_ifma_prime *primes[2] = {&batch->p, &batch->q}, *others[2] = {&fresh->p, &fresh->q};
    for (int i = 0; i < 2; i++) {
        if (subject == EXPONENTS_ZERO || subject == EXPONENTS_ONES) {
            if (!second)
                memset(others[i]->exponent, subject == EXPONENTS_ZERO ? 0 : RSA_IFMA_POWERS - 1,
                       sizeof others[i]->exponent);
            memcpy(primes[i]->exponent, others[i]->exponent, sizeof primes[i]->exponent);
        }
        if (subject == KEYS && second)
            *primes[i] = *others[i];
        else if (subject == KEYS)
            *others[i] = *primes[i];
    }
    if (subject == MESSAGES_ZERO) {
        if (!second)
            memset(fresh->message, 0, sizeof fresh->message);
        memcpy(batch->message, fresh->message, sizeof batch->message);
    }
}

static double take_time(struct bench *bench, enum subject subject, bool second)
{
    unsigned core;
    struct rsa_ifma_batch *batch = &bench->batch;
    prepare(bench, subject, second);
    uint64_t begin = __rdtscp(&core);
    rsa_ifma_sign(batch);
    for (int i = 0; i < (subject == CONTROL && second ? 8 : 0); i++)
        rsa_ifma_multiply(batch->scratch.number[0], batch->scratch.number[0], batch->scratch.number[1],
                          &batch->p.modulus, batch->scratch.column);
    return (double)(__rdtscp(&core) - begin);
}

/* ---- statistics ---- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Welch's t of the times up to `limit`. */
static double welch(const double *const times[2], const unsigned counts[2], double limit)
{
    double mean[2], error[2];
    for (int class = 0; class < 2; class ++) {
        double n = 0, m = 0, squares = 0;
        for (unsigned i = 0; i < counts[class]; i++) {
            if (times[class][i] > limit)
                continue;
            double delta = times[class][i] - m;
            m += delta / ++n;
            squares += delta * (times[class][i] - m);
        }
        if (n < 3)
            return 0;
        mean[class] = m;
        error[class] = squares / (n - 1) / n;
    }
    return (mean[0] - mean[1]) / sqrt(error[0] + error[1]);
}

static double worst_t(double *const times[2], const unsigned counts[2], double *all, unsigned n)
{
    double worst = 0;
    for (unsigned class = 0, at = 0; class < 2; class ++)
        for (unsigned i = 0; i < counts[class]; i++)
            all[at++] = times[class][i];
    qsort(all, n, sizeof *all, ascending);
    for (int i = 0; i < CUTS; i++) {
        double t = welch((const double *const *)times, counts, all[(unsigned)(cuts[i] * (n - 1))]);
        worst = fabs(t) > fabs(worst) ? t : worst;
    }
    return worst;
}

int main(int argc, char **argv)
{
    enum rsa_lanes_state state;
    struct rsa_lanes *lanes = rsa_lanes_open(NULL, &state);
    unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 4000;
    static struct bench bench = {.chance = 1};
    double *times[2] = {calloc(n, sizeof(double)), calloc(n, sizeof(double))}, *all = calloc(n, sizeof(double));
    if (!lanes || !times[0] || !times[1] || !all || n < 100) {
        fprintf(stderr, "rsa_timing: no AVX-512 IFMA, no memory, or too few measurements\n");
        return 2;
    }
    rsa_lanes_close(lanes);
    bool leaks = false, seen = false;
    printf("%-30s %14s %14s %8s\n", "what is varied", "median ticks", "quarter ticks", "|t|");
    for (enum subject subject = 0; subject < SUBJECTS; subject++) {
        unsigned counts[2] = {0, 0};
        fill_batch(&bench, &bench.batch);
        for (unsigned i = 0; i < 50; i++)
            take_time(&bench, subject, i % 2);
        for (unsigned i = 0; i < n; i++) {
            bool second = draw(&bench) >> 63;
            times[second][counts[second]++] = take_time(&bench, subject, second);
        }
        double t = fabs(worst_t(times, counts, all, n));
        printf("%-30s %14.0f %14.0f %8.2f\n", subject_names[subject], all[n / 2], all[n / 4], t);
        fflush(stdout);
        leaks |= subject != CONTROL && t >= 4.5;
        seen |= subject == CONTROL && t >= 4.5;
    }
    printf(leaks  ? "the times differ\n"
           : seen ? "no evidence of a leak\n"
                  : "too noisy: not even the control is seen\n");
    free(times[0]), free(times[1]), free(all);
    return leaks || !seen;
}
