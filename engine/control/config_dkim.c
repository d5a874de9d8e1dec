/* Who signs what: blocks that lack something, contradict each other or would sign one message too often are refused
 * before any key is read. */
#include "control/config.h"

#include "control/config_build.h"
#include "proto/message/dkim.h"

#include <stdlib.h>

static bool fail_at(struct config_build *b, cfg_t *section, const char *key, const char *why)
{
    return config_build_fail(b, section->filename, config_build_line(section, key), "dkim %s: %s", section->title, why);
}

static bool fill_in_domain(struct config_build *b, cfg_t *section, struct config_dkim *dkim)
{
    if (!dkim->domain) {
        if (!config_text_fits(config_row_find(CONFIG_DKIM, "domain"), section->title))
            return fail_at(b, section, "domain", "its name is no domain, so it needs one: domain = shop.example");
        dkim->domain = strdup(section->title);
        if (!dkim->domain)
            return config_build_no_memory(b);
    }
    if (!strchr(dkim->domain, '.'))
        return fail_at(b, section, "domain",
                       "its domain is a single label; nobody's mail may be signed for all below it");
    for (char *p = dkim->domain; *p; p++)
        *p = ascii_lower(*p);
    return true;
}

static bool add_block(struct config_build *b, cfg_t *section, struct config_dkim *dkim)
{
    if (!config_build_name(b, section, LIMIT_DKIM_NAME))
        return false;
    slice_copy(dkim->name, sizeof dkim->name, slice_of(section->title));
    if (!config_build_defaults(b, CONFIG_DKIM, dkim) || !config_build_given(b, section, CONFIG_DKIM, dkim) ||
        !fill_in_domain(b, section, dkim))
        return false;
    if (!dkim->selector)
        return fail_at(b, section, "selector",
                       "it has no selector: selector = s1, for the record s1._domainkey.DOMAIN");
    if (!dkim->key)
        return fail_at(b, section, "key", "it has no key: key = /etc/sluice/dkim/s1.pem");
    if (dkim->expire && dkim->expire < 3600 * NSEC_PER_S)
        return fail_at(b, section, "expire", "less than 1h is over before a receiver's queue is; 0 is never");
    if (strlen(dkim->selector) + strlen("._domainkey.") + strlen(dkim->domain) > LIMIT_DOMAIN)
        return fail_at(b, section, "selector", "selector and domain are too long for a name in DNS");
    dkim->line = config_build_line(section, "key");
    dkim->file = strdup(section->filename);
    return dkim->file || config_build_no_memory(b);
}

/* How many sign for the From domain that this block is for. */
static unsigned signers(const struct config *config, const struct config_dkim *dkim)
{
    unsigned count = 0;
    for (unsigned i = 0; i < config->dkim_count; i++) {
        const struct config_dkim *other = &config->dkims[i];
        count += other->enabled && (other->always || strcmp(other->domain, dkim->domain) == 0);
    }
    return count;
}

static bool check_blocks(struct config_build *b)
{
    const struct config *c = b->config;
    for (unsigned i = 0; i < c->dkim_count; i++) {
        const struct config_dkim *dkim = &c->dkims[i];
        if (dkim->enabled && signers(c, dkim) > DKIM_SIGNATURES_MAX)
            return config_build_fail(b, dkim->file, dkim->line,
                                     "dkim %s: with it a message would be signed more than %d times, those that are "
                                     "always counted",
                                     dkim->name, (int)DKIM_SIGNATURES_MAX);
        for (unsigned j = 0; j < i; j++) {
            const struct config_dkim *other = &c->dkims[j];
            if (dkim->enabled && other->enabled && strcmp(dkim->domain, other->domain) == 0 &&
                strcmp(dkim->selector, other->selector) == 0)
                return config_build_fail(b, dkim->file, dkim->line,
                                         "dkim %s: dkim %s has the same domain and selector, which stand for one key",
                                         dkim->name, other->name);
        }
    }
    return true;
}

bool config_build_dkims(struct config_build *b)
{
    struct config *c = b->config;
    unsigned count = cfg_size(b->root, "dkim");
    c->dkims = calloc(count + 1, sizeof *c->dkims);
    if (!c->dkims)
        return config_build_no_memory(b);
    for (unsigned i = 0; i < count; i++)
        if (!add_block(b, cfg_getnsec(b->root, "dkim", i), &c->dkims[c->dkim_count++]))
            return false;
    return check_blocks(b);
}

void config_dkims_free(struct config *config)
{
    for (unsigned i = 0; i < config->dkim_count; i++) {
        config_rows_free(CONFIG_DKIM, &config->dkims[i]);
        free(config->dkims[i].file);
    }
    free(config->dkims);
}
