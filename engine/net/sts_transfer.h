/* sts_transfer.h - one policy file by HTTPS (RFC 8461 §3.3), with libcurl's multi interface. Private to sts_fetch.c. */
#ifndef NET_STS_TRANSFER_H
#define NET_STS_TRANSFER_H

#include <curl/curl.h>

#include "net/sts.h"

enum { STS_TRANSFER_ERROR = CURL_ERROR_SIZE + 64 };

struct sts_transfer {
    CURL *easy;                   /* made once and used again; keeps nothing from one policy host to another */
    struct curl_slist *resolve;   /* where the host is, as the shard's resolver said */
    char told[LIMIT_DOMAIN + 32]; /* takes back what libcurl was told of the last host; "": nothing */
    size_t n;
    bool too_long;
    char error[STS_TRANSFER_ERROR];
    char body[STS_FILE];
};

must_use bool sts_transfer_open(struct sts_transfer *transfer); /* false: no memory */
void sts_transfer_close(struct sts_transfer *transfer);
/* False: no memory; `error` says it. `private` is what curl tells of the transfer. */
must_use bool sts_transfer_begin(struct sts_transfer *transfer, CURLM *multi, const struct sts_fetch *fetch,
                                 const char *ca_file, uint16_t port, void *private);
/* It is over with `result`: true if there is a well-formed policy, else `error` says why not. */
must_use bool sts_transfer_end(struct sts_transfer *transfer, CURLM *multi, CURLcode result, struct sts_policy *policy);

#endif
