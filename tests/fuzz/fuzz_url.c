/* An address of Redis, and an error of a cluster's server, may be any text: what is taken can be said again without its
 * password and is the same then, and what is refused says why. */
#include "store/slot.h"
#include "store/url.h"

#include "sluice/slice.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_url(const char *text)
{
    static struct url url, again;
    char error[URL_ERROR] = "", shown[URL_HOSTS_MAX * URL_HOST_TEXT + 256];
    if (!url_parse(&url, text, error, sizeof error)) {
        sluice_assert(strstr(error, "allowed are unix:/path"));
        return;
    }
    url_text(&url, shown, sizeof shown);
    if (strpbrk(shown, "@")) /* part of a path or a host; behind the next parse it would be a user's end */
        return;
    sluice_assert(url_parse(&again, shown, error, sizeof error));
    sluice_assert(again.kind == url.kind && again.is_tls == url.is_tls && again.database == url.database);
    sluice_assert(again.host_count == url.host_count && strcmp(again.path, url.path) == 0);
    sluice_assert(strcmp(again.master, url.master) == 0 && !again.password[0] && !again.user[0]);
    for (unsigned i = 0; i < url.host_count; i++)
        sluice_assert(again.hosts[i].port == url.hosts[i].port && strcmp(again.hosts[i].name, url.hosts[i].name) == 0);
}

static void check_slot(struct slice text)
{
    struct slot_place place = {0};
    enum slot_answer answer = slot_error(text, &place);
    sluice_assert(slot_of(text) < SLOT_COUNT);
    if (answer == SLOT_MOVED || answer == SLOT_ASK)
        sluice_assert(place.slot < SLOT_COUNT && place.port > 0 && place.host.n < text.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1); /* of its size, so that a sanitizer sees its end */
    sluice_assert(text);
    if (size)
        memcpy(text, data, size);
    text[size] = 0;
    check_url(text);
    check_slot((struct slice){text, size});
    free(text);
    return 0;
}
