/* secret.h - files that hold secrets (keys, passwords, tokens): read whole, and refused when others could have read or
 * written them.
 *
 * Allowed is a regular file of the user who runs Sluice, or of root, that nobody else can read or write; a file of
 * root's may be readable by its group, which is how a service without privileges is given one (mode 0640). */
#ifndef CONTROL_SECRET_H
#define CONTROL_SECRET_H

#include "sluice/slice.h"

enum { SECRET_MAX = 64 * 1024 };

/* Owned by whoever read it; secret_free wipes it. */
struct secret {
    char *bytes; /* followed by a zero byte */
    size_t n;
};

/* False: `error` names the file, what is wrong and what is allowed. */
must_use bool secret_read(const char *path, struct secret *secret, char *error, size_t error_cap);
void secret_free(struct secret *secret);
/* The next line without its end and the white space around it; lines that are empty or begin with '#' are passed over.
 * False: there is none. */
must_use bool secret_line(struct slice *rest, struct slice *line);

#endif
