/* A secret that others can read is none: whoever runs Sluice hears of it at start, not after the theft. */
#include "control/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool refuse(char *error, size_t cap, const char *path, const char *why)
{
    snprintf(error, cap, "%s: %s", path, why);
    return false;
}

static bool check(int fd, const char *path, char *error, size_t cap)
{
    struct stat stat;
    if (fstat(fd, &stat) != 0)
        return refuse(error, cap, path, strerror(errno));
    if (!S_ISREG(stat.st_mode))
        return refuse(error, cap, path, "is no regular file");
    if (stat.st_uid != 0 && stat.st_uid != geteuid())
        return refuse(error, cap, path, "belongs to another user; it must be root's, or of the user who runs Sluice");
    mode_t allowed = stat.st_uid == 0 ? 0740 : 0700;
    if (stat.st_mode & 0777 & ~allowed) {
        snprintf(error, cap, "%s: has mode %04o, so others can use it; allowed is 0600%s", path,
                 (unsigned)stat.st_mode & 0777, stat.st_uid == 0 ? ", or 0640 as a file of root's" : "");
        return false;
    }
    if (stat.st_size > SECRET_MAX)
        return refuse(error, cap, path, "is longer than 64 KiB");
    return true;
}

static bool read_all(int fd, struct secret *secret)
{
    secret->bytes = malloc(SECRET_MAX + 1);
    secret->n = 0;
    while (secret->bytes && secret->n < SECRET_MAX) {
        ssize_t n = read(fd, secret->bytes + secret->n, SECRET_MAX - secret->n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        if (n == 0)
            break;
        secret->n += (size_t)n;
    }
    if (secret->bytes)
        secret->bytes[secret->n] = 0;
    return secret->bytes != NULL;
}

bool secret_read(const char *path, struct secret *secret, char *error, size_t error_cap)
{
    *secret = (struct secret){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return refuse(error, error_cap, path, strerror(errno));
    bool good = check(fd, path, error, error_cap);
    if (good && !read_all(fd, secret)) {
        good = refuse(error, error_cap, path, strerror(errno));
        secret_free(secret);
    }
    close(fd);
    return good;
}

void secret_free(struct secret *secret)
{
    if (secret->bytes)
        explicit_bzero(secret->bytes, SECRET_MAX + 1);
    free(secret->bytes);
    *secret = (struct secret){0};
}

bool secret_line(struct slice *rest, struct slice *line)
{
    while (rest->n) {
        const char *end = memchr(rest->p, '\n', rest->n);
        size_t n = end ? (size_t)(end - rest->p) : rest->n;
        *line = slice_trim((struct slice){rest->p, n});
        *rest = (struct slice){rest->p + n + (end != NULL), rest->n - n - (end != NULL)};
        if (line->n && line->p[0] != '#')
            return true;
    }
    return false;
}
