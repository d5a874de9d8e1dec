/* Turns addresses between text and what the kernel takes; the same for every backend. */
#include "io/io.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static bool parse_path(struct io_address *address, const char *text)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    size_t n = strlen(text);
    if (n >= sizeof local.sun_path)
        return false;
    memcpy(local.sun_path, text, n);
    memcpy(&address->storage, &local, sizeof local);
    address->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
    return true;
}

bool io_address_parse(struct io_address *address, const char *text, uint16_t port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    *address = (struct io_address){0};
    if (text[0] == '/')
        return parse_path(address, text);
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
        memcpy(&address->storage, &v4, sizeof v4);
        address->length = sizeof v4;
        return true;
    }
    if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1) {
        memcpy(&address->storage, &v6, sizeof v6);
        address->length = sizeof v6;
        return true;
    }
    return false;
}

void io_address_text(const struct io_address *address, char *text, size_t cap)
{
    const struct sockaddr_storage *storage = &address->storage;
    sluice_assert(cap > 0);
    text[0] = 0;
    if (!address->length)
        return;
    if (storage->ss_family == AF_INET) {
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)storage)->sin_addr, text, (socklen_t)cap);
    } else if (storage->ss_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)storage)->sin6_addr, text, (socklen_t)cap);
    } else if (storage->ss_family == AF_UNIX) {
        /* The peer of a Unix socket may be unnamed: then there is no path at all. */
        size_t head = offsetof(struct sockaddr_un, sun_path);
        size_t n = address->length > head ? address->length - head : 0;
        snprintf(text, cap, "%.*s", (int)n, ((const struct sockaddr_un *)storage)->sun_path);
    }
}

uint16_t io_address_port(const struct io_address *address)
{
    if (address->length && address->storage.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&address->storage)->sin_port);
    if (address->length && address->storage.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&address->storage)->sin6_port);
    return 0;
}

void io_address_set_port(struct io_address *address, uint16_t port)
{
    if (address->length && address->storage.ss_family == AF_INET)
        ((struct sockaddr_in *)&address->storage)->sin_port = htons(port);
    if (address->length && address->storage.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&address->storage)->sin6_port = htons(port);
}

bool io_address_equal(const struct io_address *a, const struct io_address *b)
{
    if (!a->length || !b->length)
        return a->length == b->length;
    if (a->storage.ss_family != b->storage.ss_family || io_address_port(a) != io_address_port(b))
        return false;
    if (a->storage.ss_family == AF_INET)
        return ((const struct sockaddr_in *)&a->storage)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)&b->storage)->sin_addr.s_addr;
    if (a->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *x = (const struct sockaddr_in6 *)&a->storage;
        const struct sockaddr_in6 *y = (const struct sockaddr_in6 *)&b->storage;
        return memcmp(&x->sin6_addr, &y->sin6_addr, sizeof x->sin6_addr) == 0 && x->sin6_scope_id == y->sin6_scope_id;
    }
    return a->length == b->length && memcmp(&a->storage, &b->storage, a->length) == 0;
}
