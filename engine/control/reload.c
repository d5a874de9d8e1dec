/* Between a file that somebody has changed and shards that run stands this: all of it is good, or none is taken. */
#include "control/reload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/config_align.h"
#include "control/rules.h"

bool reload_has_source(const struct config_source *source, char *error, size_t error_cap)
{
    int fd = socket(source->address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        snprintf(error, error_cap, "no socket for source %s: %s", source->name, strerror(errno));
        return false;
    }
    bool bound = bind(fd, (const struct sockaddr *)&source->address.storage, source->address.length) == 0;
    int failed = errno;
    close(fd);
    if (bound)
        return true;
    char address[128];
    io_address_text(&source->address, address, sizeof address);
    if (failed == EADDRNOTAVAIL)
        snprintf(error, error_cap,
                 "source %s (%s) is not an address of this machine; add it to an interface (ip address add %s dev ...) "
                 "or take it out of the configuration",
                 source->name, address, address);
    else
        snprintf(error, error_cap, "source %s (%s) cannot be used: %s", source->name, address, strerror(failed));
    return false;
}

static bool has_new_sources(const struct config *next, const struct config *now, char *error, size_t error_cap)
{
    for (unsigned i = 0; i < next->source_count; i++) {
        const struct config_source *source = &next->sources[i];
        bool known = i < now->source_count && !now->sources[i].removed &&
                     io_address_equal(&source->address, &now->sources[i].address);
        if (!source->removed && !known && !reload_has_source(source, error, error_cap))
            return false;
    }
    return true;
}

static struct config *read_config(const struct config *now, const struct log *log, char *error, size_t error_cap)
{
    char changed[512];
    struct config *next = config_load(now->file, error, error_cap);
    if (!next)
        return NULL;
    bool good = config_align(next, now, changed, sizeof changed, error, error_cap) &&
                has_new_sources(next, now, error, error_cap) && (!now->rules || rules_load(next, error, error_cap));
    if (good && !config_pools(next)) {
        snprintf(error, error_cap, "%s has no pool, so there would be nowhere to send from", next->file);
        good = false;
    }
    if (good && changed[0])
        log_warning(log, "keys that take a restart have changed: they stay as they were, all others are taken",
                    log_text("keys", changed));
    if (good)
        return next;
    config_free(next);
    return NULL;
}

struct reload *reload_read(const struct config *now, const struct log *log,
                           void (*warn)(void *context, const char *sentence), void *context, char *error,
                           size_t error_cap)
{
    struct reload *reload = calloc(1, sizeof *reload);
    struct config *config = reload ? read_config(now, log, error, error_cap) : NULL;
    if (!reload)
        snprintf(error, error_cap, "no memory");
    if (config) {
        reload->config = config;
        reload->relays = relays_open(config, log, error, error_cap);
        reload->keys = reload->relays ? sign_keys_load(config, warn, context, error, error_cap) : NULL;
    }
    if (reload && reload->keys)
        return reload;
    reload_free(reload);
    return NULL;
}

struct reload *reload_copy(const struct reload *reload)
{
    struct reload *copy = malloc(sizeof *copy);
    if (copy)
        *copy = (struct reload){config_hold(reload->config), relays_hold(reload->relays), sign_keys_hold(reload->keys)};
    return copy;
}

void reload_free(struct reload *reload)
{
    if (!reload)
        return;
    sign_keys_release(reload->keys);
    relays_close(reload->relays);
    if (reload->config)
        config_release(reload->config);
    free(reload);
}
