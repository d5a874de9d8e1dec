/* access.h - by what certificates and passwords Redis is reached, beside those of its address (url.h).
 *
 * Part of the configuration, which owns the texts; "" or NULL where there is none. */
#ifndef STORE_ACCESS_H
#define STORE_ACCESS_H

struct access {
    char *ca;                /* file of the authorities that are trusted (PEM); none: the system's */
    char *cert, *key;        /* files (PEM) of what we show: a certificate with its chain, and its key. Both or none */
    char *name;              /* that the servers' certificates must be for; none: the host that is connected to */
    char *sentinel_user;     /* none: the default user */
    char *sentinel_password; /* none: sentinels ask for none */
};

#endif
