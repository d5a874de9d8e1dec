/* Keeps sessions for resumption, each under the hash of the demand that it fulfils: a resumed handshake costs a small
 * part of a full one (RFC 8446 §2.2, RFC 5077). */
#include "net/tls_private.h"

static uint32_t bucket_of(const struct tls_sessions *sessions, const uint8_t identity[32])
{
    uint32_t hash;
    memcpy(&hash, identity, sizeof hash); /* of SHA-256: any four octets will do */
    return hash % sessions->capacity;
}

static void order_remove(struct tls_sessions *sessions, struct tls_kept *kept)
{
    *(kept->newer ? &kept->newer->older : &sessions->newest) = kept->older;
    *(kept->older ? &kept->older->newer : &sessions->oldest) = kept->newer;
}

static void order_push(struct tls_sessions *sessions, struct tls_kept *kept)
{
    kept->newer = NULL;
    kept->older = sessions->newest;
    *(sessions->newest ? &sessions->newest->newer : &sessions->oldest) = kept;
    sessions->newest = kept;
}

static void drop(struct tls_sessions *sessions, struct tls_kept *kept)
{
    struct tls_kept **at = &sessions->buckets[bucket_of(sessions, kept->identity)];
    while (*at != kept)
        at = &(*at)->bucket_next;
    *at = kept->bucket_next;
    order_remove(sessions, kept);
    SSL_SESSION_free(kept->session);
    *kept = (struct tls_kept){.bucket_next = sessions->freed};
    sessions->freed = kept;
    sessions->count--;
}

static struct tls_kept *find(struct tls_sessions *sessions, const uint8_t identity[32])
{
    struct tls_kept *kept = sessions->buckets[bucket_of(sessions, identity)];
    while (kept && memcmp(kept->identity, identity, sizeof kept->identity) != 0)
        kept = kept->bucket_next;
    return kept;
}

const struct tls_kept *tls_sessions_find(struct tls_sessions *sessions, const uint8_t identity[32], nsec now)
{
    struct tls_kept *kept = find(sessions, identity);
    if (!kept)
        return NULL;
    /* OpenSSL marks the session of a connection that a fatal alert ended (RFC 5246 §7.2.2). */
    if (kept->until <= now || !SSL_SESSION_is_resumable(kept->session)) {
        drop(sessions, kept);
        return NULL;
    }
    order_remove(sessions, kept);
    order_push(sessions, kept);
    return kept;
}

void tls_sessions_keep(struct tls_sessions *sessions, const uint8_t identity[32], SSL_SESSION *session, nsec until,
                       nsec relied_until)
{
    struct tls_kept *kept = find(sessions, identity);
    if (kept) {
        SSL_SESSION_free(kept->session);
        order_remove(sessions, kept);
    } else {
        if (sessions->count == sessions->capacity)
            drop(sessions, sessions->oldest);
        kept = sessions->freed;
        if (kept)
            sessions->freed = kept->bucket_next;
        else
            kept = &sessions->entries[sessions->laid_out++];
        struct tls_kept **bucket = &sessions->buckets[bucket_of(sessions, identity)];
        memcpy(kept->identity, identity, sizeof kept->identity);
        kept->bucket_next = *bucket;
        *bucket = kept;
        sessions->count++;
    }
    kept->session = session;
    kept->until = nsec_min(until, relied_until);
    kept->relied_until = relied_until;
    order_push(sessions, kept);
}

void tls_sessions_forget(struct tls_sessions *sessions, const uint8_t identity[32])
{
    struct tls_kept *kept = find(sessions, identity);
    if (kept)
        drop(sessions, kept);
}

size_t tls_sessions_bytes(unsigned capacity)
{
    return capacity * (sizeof(struct tls_kept) + sizeof(struct tls_kept *)) + 256;
}

bool tls_sessions_open(struct tls_sessions *sessions, struct arena *arena, unsigned capacity)
{
    sluice_assert(capacity > 0);
    *sessions = (struct tls_sessions){.capacity = capacity};
    sessions->entries = arena_take(arena, capacity * sizeof *sessions->entries, 64);
    sessions->buckets = arena_take(arena, capacity * sizeof(struct tls_kept *), 64);
    return sessions->entries && sessions->buckets;
}

void tls_sessions_close(struct tls_sessions *sessions)
{
    while (sessions->oldest)
        drop(sessions, sessions->oldest);
}
