/* A running engine answers over HTTP; several commands ask it the same. */
#include "cli/fetch.h"

#include "cli/cli.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER_MAX = 64 * 1024 * 1024, TIMEOUT_S = 5 };

struct body {
    char *text;
    size_t n;
};

static size_t on_bytes(char *bytes, size_t one, size_t n, void *context)
{
    struct body *body = context;
    char *grown = body->n + n < ANSWER_MAX ? realloc(body->text, body->n + n + 1) : NULL;
    if (!grown)
        return 0;
    body->text = grown;
    memcpy(body->text + body->n, bytes, n);
    body->n += n;
    body->text[body->n] = 0;
    return one * n;
}

char *fetch_status(const char *address)
{
    char url[256], why[CURL_ERROR_SIZE] = "";
    struct body body = {0};
    long status = 0;
    CURL *curl = curl_easy_init();
    snprintf(url, sizeof url, "http://%s/status", address);
    if (!curl) {
        cli_error("libcurl cannot be used");
        return NULL;
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* the address is one of this machine, whatever http_proxy says */
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    if (code == CURLE_OK && status == 200 && body.text)
        return body.text;
    if (code == CURLE_OK)
        cli_error("the engine answers %ld on %s", status, url);
    else
        cli_error("no engine answers on %s: %s; does `sluice run` run with this configuration?", url,
                  why[0] ? why : curl_easy_strerror(code));
    free(body.text);
    return NULL;
}
