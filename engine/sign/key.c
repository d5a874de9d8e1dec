/* Turns a file into a key that may sign, or into a sentence that says why it may not. */
#include "sign/key.h"

#include "control/secret.h"
#include "proto/message/encode.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { PUBLIC_MAX = 640 /* the DER of RSA-4096 takes 550 */ };

struct sign_key {
    atomic_uint holders;
    EVP_PKEY *openssl;          /* owned */
    struct rsa_lanes_key *lane; /* owned; NULL: none */
    enum dkim_algorithm algorithm;
    unsigned bits;
    size_t public_n;
    unsigned char public[PUBLIC_MAX];
};

struct file {
    const char *name;
    struct secret secret;
    char *error;
    size_t error_cap;
};

static bool printf_like(2, 3) fail(const struct file *file, const char *format, ...)
{
    va_list arguments;
    int n = snprintf(file->error, file->error_cap, "%s: ", file->name);
    va_start(arguments, format);
    if (n >= 0 && (size_t)n < file->error_cap)
        vsnprintf(file->error + n, file->error_cap - (size_t)n, format, arguments);
    va_end(arguments);
    ERR_clear_error();
    return false;
}

/* ---- what is in it ---- */

static bool holds(const struct file *file, const char *text) { return strstr(file->secret.bytes, text) != NULL; }

/* OpenSSL would only say that it could not decode. */
static bool is_usable_pem(const struct file *file)
{
    if (holds(file, "-----BEGIN ENCRYPTED PRIVATE KEY-----") || holds(file, "Proc-Type: 4,ENCRYPTED"))
        return fail(file, "is encrypted, and nobody is there to be asked; openssl pkey -in %s -out FILE decrypts it",
                    file->name);
    if (holds(file, "-----BEGIN OPENSSH PRIVATE KEY-----"))
        return fail(file, "is a key of OpenSSH; it must be PEM: openssl genrsa -out FILE 2048 makes one");
    if (holds(file, "PRIVATE KEY-----"))
        return true;
    if (holds(file, "PUBLIC KEY-----"))
        return fail(file, "holds a public key; the private one is needed");
    if (holds(file, "-----BEGIN "))
        return fail(file, "holds no private key");
    return fail(file, "is not PEM: there is no line -----BEGIN PRIVATE KEY-----");
}

static int no_passphrase(char *buffer, int size, int writing, void *context)
{
    (void)buffer, (void)size, (void)writing, (void)context;
    return -1;
}

static bool parse(const struct file *file, struct sign_key *key)
{
    BIO *bio = BIO_new_mem_buf(file->secret.bytes, (int)file->secret.n);
    key->openssl = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    BIO_free(bio);
    return key->openssl || fail(file, "is damaged: OpenSSL finds no private key in it");
}

static bool is_supported(const struct file *file, struct sign_key *key)
{
    const char *type = EVP_PKEY_get0_type_name(key->openssl);
    key->bits = (unsigned)EVP_PKEY_get_bits(key->openssl);
    if (EVP_PKEY_is_a(key->openssl, "ED25519")) {
        key->algorithm = DKIM_ED25519;
        return true;
    }
    if (!EVP_PKEY_is_a(key->openssl, "RSA"))
        return fail(file, "is of type %s; DKIM knows RSA and ED25519", type ? type : "unknown");
    key->algorithm = DKIM_RSA;
    if (key->bits < SIGN_RSA_BITS_MIN || key->bits > SIGN_RSA_BITS_MAX)
        return fail(file, "is RSA of %u bits; it must have from %d to %d, and should have %d", key->bits,
                    (int)SIGN_RSA_BITS_MIN, (int)SIGN_RSA_BITS_MAX, (int)SIGN_RSA_BITS_ADVISED);
    return true;
}

/* A key whose halves do not fit together signs what nobody can verify. */
static bool is_consistent(const struct file *file, const struct sign_key *key)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key->openssl, NULL);
    bool good = context && EVP_PKEY_check(context) == 1;
    EVP_PKEY_CTX_free(context);
    return good || fail(file, "is damaged: the parts of the key do not fit together");
}

static bool keep_public(const struct file *file, struct sign_key *key)
{
    unsigned char *p = key->public;
    int n = -1;
    key->public_n = sizeof key->public;
    if (key->algorithm == DKIM_ED25519)
        return EVP_PKEY_get_raw_public_key(key->openssl, key->public, &key->public_n) == 1 ||
               fail(file, "has no public half");
    n = i2d_PUBKEY(key->openssl, NULL);
    if (n <= 0 || n > PUBLIC_MAX)
        return fail(file, "has a public half that cannot be published: its exponent is too large");
    key->public_n = (size_t)i2d_PUBKEY(key->openssl, &p);
    return true;
}

struct sign_key *sign_key_load(const char *name, char *error, size_t error_cap)
{
    struct file file = {.name = name, .error = error, .error_cap = error_cap};
    struct sign_key *key = calloc(1, sizeof *key);
    bool good;
    if (key) {
        atomic_init(&key->holders, 1);
        good = secret_read(name, &file.secret, error, error_cap) && is_usable_pem(&file) && parse(&file, key) &&
               is_supported(&file, key) && is_consistent(&file, key) && keep_public(&file, key);
    } else {
        good = fail(&file, "no memory");
    }
    secret_free(&file.secret);
    if (!good) {
        sign_key_release(key);
        return NULL;
    }
    key->lane = rsa_lanes_key_new(key->openssl);
    ERR_clear_error(); /* of a key that does not fit */
    return key;
}

struct sign_key *sign_key_hold(struct sign_key *key)
{
    atomic_fetch_add_explicit(&key->holders, 1, memory_order_relaxed);
    return key;
}

void sign_key_release(struct sign_key *key)
{
    if (!key || atomic_fetch_sub_explicit(&key->holders, 1, memory_order_acq_rel) > 1)
        return;
    rsa_lanes_key_free(key->lane); /* both wipe it */
    EVP_PKEY_free(key->openssl);
    free(key);
}

/* ---- what others may know ---- */

enum dkim_algorithm sign_key_algorithm(const struct sign_key *key) { return key->algorithm; }

unsigned sign_key_bits(const struct sign_key *key) { return key->bits; }

size_t sign_key_signature_bytes(const struct sign_key *key) { return (size_t)EVP_PKEY_get_size(key->openssl); }

struct slice sign_key_public(const struct sign_key *key)
{
    return (struct slice){(const char *)key->public, key->public_n};
}

void sign_key_record(const struct sign_key *key, char *text, size_t cap)
{
    char digits[(PUBLIC_MAX + 2) / 3 * 4 + 1];
    size_t n = 0;
    for (size_t i = 0; i < key->public_n; i += 3)
        n += encode_base64_group(key->public + i, key->public_n - i < 3 ? key->public_n - i : 3, digits + n);
    digits[n] = 0;
    snprintf(text, cap, "v=DKIM1; k=%s; p=%s", key->algorithm == DKIM_ED25519 ? "ed25519" : "rsa", digits);
}

EVP_PKEY *sign_key_openssl(const struct sign_key *key) { return key->openssl; }

const struct rsa_lanes_key *sign_key_lane(const struct sign_key *key) { return key->lane; }
