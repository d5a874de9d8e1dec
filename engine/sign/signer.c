/* Puts OpenSSL, and lanes where there are any, behind sign_batch: what a key needs is made once and used for many
 * signatures. */
#include "sign/signer.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdlib.h>

enum { PREPARED_MAX = 2 * DKIM_SIGNATURES_MAX, LANE_FAILURES_SAID = 1000 };

/* One of RSA or Ed25519: a context that stays ready for the next digest. */
struct prepared {
    struct sign_key *key; /* held, so that no other key can come to stand at its address */
    EVP_PKEY *own;        /* a copy of the shard's own: OpenSSL locks a key that several threads share */
    EVP_PKEY_CTX *rsa;
    EVP_MD_CTX *ed25519;
};

struct signer {
    EVP_MD *sha256;
    struct rsa_lanes *lanes; /* NULL: OpenSSL alone */
    struct signer_counts counts;
    const struct log *log;
    struct prepared prepared[PREPARED_MAX];
    unsigned next; /* to be replaced */
};

static void unprepare(struct prepared *p)
{
    EVP_PKEY_CTX_free(p->rsa);
    EVP_MD_CTX_free(p->ed25519);
    EVP_PKEY_free(p->own);
    sign_key_release(p->key);
    *p = (struct prepared){.key = NULL};
}

struct signer *signer_open(void)
{
    struct signer *signer = calloc(1, sizeof *signer);
    if (signer)
        signer->sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    if (signer && !signer->sha256) {
        free(signer);
        return NULL;
    }
    return signer;
}

void signer_forget(struct signer *signer)
{
    for (unsigned i = 0; i < PREPARED_MAX; i++)
        unprepare(&signer->prepared[i]);
}

void signer_close(struct signer *signer)
{
    if (!signer)
        return;
    signer_forget(signer);
    rsa_lanes_close(signer->lanes);
    EVP_MD_free(signer->sha256);
    free(signer);
}

static bool prepare_rsa(struct signer *signer, struct prepared *p)
{
    p->rsa = EVP_PKEY_CTX_new_from_pkey(NULL, p->own, NULL);
    return p->rsa && EVP_PKEY_sign_init(p->rsa) == 1 && EVP_PKEY_CTX_set_rsa_padding(p->rsa, RSA_PKCS1_PADDING) == 1 &&
           EVP_PKEY_CTX_set_signature_md(p->rsa, signer->sha256) == 1;
}

static struct prepared *prepare(struct signer *signer, struct sign_key *key)
{
    for (unsigned i = 0; i < PREPARED_MAX; i++)
        if (signer->prepared[i].key == key)
            return &signer->prepared[i];
    struct prepared *p = &signer->prepared[signer->next];
    unprepare(p);
    p->own = EVP_PKEY_dup(sign_key_openssl(key));
    bool good = p->own != NULL;
    if (good && sign_key_algorithm(key) == DKIM_RSA)
        good = prepare_rsa(signer, p);
    else if (good)
        good = (p->ed25519 = EVP_MD_CTX_new()) != NULL;
    if (!good) {
        unprepare(p);
        return NULL;
    }
    p->key = sign_key_hold(key);
    signer->next = (signer->next + 1) % PREPARED_MAX;
    return p;
}

static bool sign_by_openssl(struct signer *signer, struct sign_job *job)
{
    struct prepared *p = prepare(signer, job->key);
    size_t expected = sign_key_signature_bytes(job->key), n = expected;
    if (!p)
        return false;
    if (p->rsa)
        return EVP_PKEY_sign(p->rsa, job->signature, &n, job->digest, DKIM_HASH) == 1 && n == expected;
    return EVP_DigestSignInit_ex(p->ed25519, NULL, NULL, NULL, NULL, p->own, NULL) == 1 &&
           EVP_DigestSign(p->ed25519, job->signature, &n, job->digest, DKIM_HASH) == 1 && n == expected;
}

static void sign_one(struct signer *signer, struct sign_job *job)
{
    job->failed = !sign_by_openssl(signer, job);
    signer->counts.openssl += !job->failed;
}

/* ---- in lanes ---- */

enum rsa_lanes_state signer_lanes(struct signer *signer, bool lanes, const struct rsa_lanes_fault *fault)
{
    enum rsa_lanes_state state = RSA_LANES_READY;
    if (!lanes || fault) {
        rsa_lanes_close(signer->lanes);
        signer->lanes = NULL;
    }
    if (lanes && !signer->lanes)
        signer->lanes = rsa_lanes_open(fault, &state);
    return state;
}

void signer_log(struct signer *signer, const struct log *log) { signer->log = log; }

struct signer_counts signer_counts(const struct signer *signer) { return signer->counts; }

static void sign_again(struct signer *signer, struct sign_job *job)
{
    sign_one(signer, job);
    if (signer->counts.again++ % LANE_FAILURES_SAID == 0)
        log_warning(signer->log, "a lane computed a wrong signature, OpenSSL signed again; is this CPU sound?",
                    log_number("times", (int64_t)signer->counts.again));
}

static void sign_in_lanes(struct signer *signer, struct sign_job *const jobs[], unsigned count)
{
    const struct rsa_lanes_key *keys[RSA_LANES] = {NULL};
    uint8_t em[RSA_LANES][RSA_LANES_BYTES], signatures[RSA_LANES][RSA_LANES_BYTES];
    for (unsigned i = 0; i < count; i++) {
        keys[i] = sign_key_lane(jobs[i]->key);
        rsa_lanes_encode(jobs[i]->digest, em[i]);
    }
    unsigned wrong = rsa_lanes_sign(signer->lanes, keys, em, signatures, count);
    for (unsigned i = 0; i < count; i++) {
        if (wrong >> i & 1) {
            sign_again(signer, jobs[i]);
            continue;
        }
        memcpy(jobs[i]->signature, signatures[i], RSA_LANES_BYTES);
        jobs[i]->failed = false;
        signer->counts.lanes++;
    }
}

static void sign_waiting(struct signer *signer, struct sign_job *const jobs[], unsigned count)
{
    if (count >= RSA_LANES_WORTHWHILE) {
        sign_in_lanes(signer, jobs, count);
        return;
    }
    for (unsigned i = 0; i < count; i++)
        sign_one(signer, jobs[i]);
}

unsigned sign_batch(struct signer *signer, struct sign_job *jobs, unsigned count)
{
    struct sign_job *waiting[RSA_LANES] = {NULL};
    unsigned failed = 0, waits = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!signer->lanes || !sign_key_lane(jobs[i].key)) {
            sign_one(signer, &jobs[i]);
            continue;
        }
        waiting[waits++] = &jobs[i];
        if (waits == RSA_LANES) {
            sign_waiting(signer, waiting, waits);
            waits = 0;
        }
    }
    sign_waiting(signer, waiting, waits);
    for (unsigned i = 0; i < count; i++)
        failed += jobs[i].failed;
    if (failed)
        ERR_clear_error();
    return failed;
}
