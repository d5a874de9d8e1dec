/* Lets OpenSSL read from the slice that the ring lent and write into the buffers that the ring will send, so that a
 * connection owns no memory while it is idle and ciphertext is copied once. */
#include "net/tls_private.h"

/* A connection's first buffer is its own by right, and so is one that answers the peer while others are on their way;
 * what content takes beyond is of all, while it lasts. So nobody ever waits for another connection. */
static bool may_grow(const struct tls_link *link)
{
    if (link->count == link->flying)
        return link->count < TLS_LINK_BUFFERS;
    return !link->flying && link->count < TLS_DATA_BUFFERS && link->tls->extra < TLS_EXTRA_BUFFERS;
}

struct tls_buffer *tls_bio_buffer(struct tls_link *link, size_t room)
{
    struct tls *tls = link->tls;
    struct tls_buffer *last = link->count > link->flying ? link->buffers[link->count - 1] : NULL;
    if (last && sizeof last->bytes - last->n >= room)
        return last;
    if (!may_grow(link))
        return NULL;
    if (link->count > link->flying) {
        link->extra++;
        tls->extra++;
    }
    last = pool_take(&tls->buffers);
    sluice_assert(last); /* two for each connection and the extra ones were laid out */
    last->n = 0;
    link->buffers[link->count++] = last;
    return last;
}

static int bio_read(BIO *bio, char *to, size_t cap, size_t *n)
{
    struct tls_link *link = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *n = cap < link->in.n ? cap : link->in.n;
    if (*n == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    memcpy(to, link->in.p, *n);
    link->in.p += *n;
    link->in.n -= *n;
    return 1;
}

/* All or nothing: nobody waits for room here. A peer that asks for more answers than there is room for while it takes
 * none is done for. */
static int bio_write(BIO *bio, const char *from, size_t count, size_t *n)
{
    struct tls_link *link = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *n = 0;
    while (*n < count) {
        struct tls_buffer *buffer = tls_bio_buffer(link, 1);
        if (!buffer) {
            link->broken = true;
            return 0;
        }
        size_t room = sizeof buffer->bytes - buffer->n, part = count - *n < room ? count - *n : room;
        memcpy(buffer->bytes + buffer->n, from + *n, part);
        buffer->n += (uint32_t)part;
        *n += part;
    }
    return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH; /* nothing else is known here: no kTLS, no end of file, no waiting bytes */
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

BIO_METHOD *tls_bio_method(void)
{
    /* Nobody looks for a BIO by its type; the numbers of BIO_get_new_index are few in a process. */
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_START | BIO_TYPE_SOURCE_SINK, "sluice");
    if (method && BIO_meth_set_read_ex(method, bio_read) && BIO_meth_set_write_ex(method, bio_write) &&
        BIO_meth_set_ctrl(method, bio_control) && BIO_meth_set_create(method, bio_create))
        return method;
    BIO_meth_free(method);
    return NULL;
}
