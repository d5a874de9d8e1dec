/* Puts OpenSSL behind sign_batch: what it needs for a key is made once and used for many signatures. */
#include "sign/signer.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdlib.h>

enum { PREPARED_MAX = 2 * DKIM_SIGNATURES_MAX };

/* One of RSA or Ed25519: a context that stays ready for the next digest. */
struct prepared {
    struct sign_key *key; /* held, so that no other key can come to stand at its address */
    EVP_PKEY *own;        /* a copy of the shard's own: OpenSSL locks a key that several threads share */
    EVP_PKEY_CTX *rsa;
    EVP_MD_CTX *ed25519;
};

struct signer {
    EVP_MD *sha256;
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

static bool sign_one(struct signer *signer, struct sign_job *job)
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

unsigned sign_batch(struct signer *signer, struct sign_job *jobs, unsigned count)
{
    unsigned failed = 0;
    for (unsigned i = 0; i < count; i++) {
        jobs[i].failed = !sign_one(signer, &jobs[i]);
        failed += jobs[i].failed;
    }
    if (failed)
        ERR_clear_error();
    return failed;
}
