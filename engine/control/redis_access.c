/* A certificate that nobody asks for, or a password that goes nowhere, is a mistake that is better found at the start.
 */
#include "control/redis_access.h"

#include "control/secret.h"
#include "net/tls.h"
#include "store/url.h"

#include <stdio.h>

static bool refuse(char *error, size_t cap, const char *key, const char *why)
{
    snprintf(error, cap, "%s: %s", key, why);
    return false;
}

/* Keys that say something where it cannot be heard. */
static bool all_heard(const struct config *config, const struct url *url, char *error, size_t cap)
{
    const struct access *access = &config->redis_access;
    const struct {
        const char *key, *value;
        bool heard;
        const char *where;
    } keys[] = {
        {"redis_ca", access->ca, url->is_tls, "is for rediss://, sentinels:// and clusters:// alone"},
        {"redis_name", access->name, url->is_tls, "is for rediss://, sentinels:// and clusters:// alone"},
        {"redis_cert", access->cert, url->is_tls, "is for rediss://, sentinels:// and clusters:// alone"},
        {"redis_key", access->key, url->is_tls, "is for rediss://, sentinels:// and clusters:// alone"},
        {"redis_sentinel_user", access->sentinel_user, url->kind == URL_SENTINEL,
         "is for sentinel:// and sentinels:// alone"},
        {"redis_sentinel_password", access->sentinel_password, url->kind == URL_SENTINEL,
         "is for sentinel:// and sentinels:// alone"},
    };
    for (unsigned i = 0; i < countof(keys); i++)
        if (keys[i].value[0] && !keys[i].heard)
            return refuse(error, cap, keys[i].key, keys[i].where);
    return true;
}

/* Its key is a secret, and is kept as one. */
static bool cert_usable(const struct access *access, char *error, size_t cap)
{
    struct secret secret;
    if (!access->cert[0] && !access->key[0])
        return true;
    if (!access->cert[0] || !access->key[0])
        return refuse(error, cap, access->cert[0] ? "redis_cert" : "redis_key",
                      "a certificate and its key go together: both redis_cert and redis_key, or neither");
    if (!secret_read(access->key, &secret, error, cap))
        return false;
    secret_free(&secret);
    return tls_cert_usable("redis_cert", access->cert, access->key, error, cap);
}

bool redis_access_usable(const struct config *config, char *error, size_t cap)
{
    const struct access *access = &config->redis_access;
    struct url url = {.kind = URL_UNIX}; /* our own private one */
    if (config->redis[0] && !url_parse(&url, config->redis, error, cap))
        return false;
    if (!all_heard(config, &url, error, cap))
        return false;
    if (access->sentinel_user[0] && !access->sentinel_password[0])
        return refuse(error, cap, "redis_sentinel_user", "a user without redis_sentinel_password");
    if (access->ca[0] && !tls_ca_usable("redis_ca", access->ca, error, cap))
        return false;
    return cert_usable(access, error, cap);
}
