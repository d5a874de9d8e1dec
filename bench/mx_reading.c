/* mx_reading.c - reads from a file how an ISP does TLS, AUTH and CHUNKING, apart from its other manners because there
 * are as many keys for it as for all of those. */
#include "bench/mx_reading.h"

#include <stdio.h>
#include <string.h>

struct word {
    const char *name;
    unsigned value;
};

enum { NO_TLS, STARTTLS, HIDDEN, IMPLICIT };
static const struct word ways[] = {
    {"none", NO_TLS}, {"starttls", STARTTLS}, {"hidden", HIDDEN}, {"implicit", IMPLICIT}, {0}};
static const struct word demands[] = {
    {"none", MX_DEMAND_NONE}, {"counted", MX_DEMAND_COUNTED}, {"refused", MX_DEMAND_REFUSED}, {0}};
static const struct word issues[] = {{"ca", MX_ISSUE_CA},
                                     {"chain", MX_ISSUE_CHAIN},
                                     {"broken", MX_ISSUE_BROKEN},
                                     {"self", MX_ISSUE_SELF},
                                     {"stranger", MX_ISSUE_STRANGER},
                                     {"expired", MX_ISSUE_EXPIRED},
                                     {"wrong_name", MX_ISSUE_WRONG_NAME},
                                     {0}};
static const struct word key_kinds[] = {{"rsa", MX_KEY_RSA}, {"ecdsa", MX_KEY_ECDSA}, {0}};
static const struct word versions[] = {{"", 0},         {"1.0", 0x0301}, {"1.1", 0x0302},
                                       {"1.2", 0x0303}, {"1.3", 0x0304}, {0}};
static const struct word abilities[] = {{"pipelining", MX_CAN_PIPELINING},
                                        {"size", MX_CAN_SIZE},
                                        {"eight_bit", MX_CAN_EIGHT_BIT},
                                        {"enhanced", MX_CAN_ENHANCED},
                                        {"chunking", MX_CAN_CHUNKING},
                                        {"auth", MX_CAN_AUTH},
                                        {0}};
static const struct word mechanisms[] = {
    {"plain", MX_AUTH_PLAIN}, {"login", MX_AUTH_LOGIN}, {"xoauth2", MX_AUTH_XOAUTH2}, {0}};

void mx_reading_complain(const struct mx_reading *reading, cfg_t *section, const char *key, const char *value,
                         const char *allowed)
{
    snprintf(reading->error, reading->error_cap, "%s: %s %s: %s = \"%s\" is none of: %s", reading->file,
             cfg_name(section), cfg_title(section) ? cfg_title(section) : "", key, value, allowed);
}

static bool find_word(const struct mx_reading *reading, cfg_t *section, const char *key, const char *text,
                      const struct word *words, unsigned *value)
{
    char allowed[160];
    size_t used = 0;
    for (const struct word *word = words; word->name; word++) {
        if (strcmp(word->name, text) == 0) {
            *value = word->value;
            return true;
        }
        if (word->name[0])
            used += (size_t)snprintf(allowed + used, sizeof allowed - used, "%s%s", used ? ", " : "", word->name);
    }
    return mx_reading_wrong(reading, section, key, text, allowed);
}

static bool read_word(const struct mx_reading *reading, cfg_t *section, const char *key, const struct word *words,
                      unsigned *value)
{
    return find_word(reading, section, key, cfg_getstr(section, key), words, value);
}

/* A list, as the sum of its words. */
static bool read_words(const struct mx_reading *reading, cfg_t *section, const char *key, const struct word *words,
                       unsigned *sum)
{
    *sum = 0;
    for (unsigned i = 0; i < cfg_size(section, key); i++) {
        unsigned value;
        if (!find_word(reading, section, key, cfg_getnstr(section, key, i), words, &value))
            return false;
        *sum |= value;
    }
    return true;
}

static bool read_text(const struct mx_reading *reading, cfg_t *section, const char *key, char *to, size_t cap)
{
    const char *text = cfg_getstr(section, key);
    if (strlen(text) >= cap)
        return mx_reading_wrong(reading, section, key, text, "what is short enough");
    slice_copy(to, cap, slice_of(text));
    return true;
}

static bool read_names(const struct mx_reading *reading, cfg_t *section, char *names)
{
    size_t used = 0;
    for (unsigned i = 0; i < cfg_size(section, "names"); i++) {
        const char *name = cfg_getnstr(section, "names", i);
        if (!name[0] || strpbrk(name, " ,:") || used + strlen(name) + 2 > MX_NAMES_MAX)
            return mx_reading_wrong(reading, section, "names", name, "host names of at most 511 bytes together");
        used += (size_t)snprintf(names + used, MX_NAMES_MAX - used, "%s%s", used ? " " : "", name);
    }
    return true;
}

static bool read_tls(const struct mx_reading *reading, cfg_t *section, struct mx_personality *personality)
{
    struct mx_tls_settings *tls = &personality->tls;
    unsigned way, demand, issue, kind, least, most;
    tls->no_resumption = !cfg_getbool(section, "resumption");
    tls->no_tickets = !cfg_getbool(section, "tickets");
    if (!read_word(reading, section, "tls", ways, &way) ||
        !read_word(reading, section, "tls_demand", demands, &demand) ||
        !read_word(reading, section, "certificate", issues, &issue) ||
        !read_word(reading, section, "key", key_kinds, &kind) ||
        !read_word(reading, section, "tls_min", versions, &least) ||
        !read_word(reading, section, "tls_max", versions, &most) ||
        !read_words(reading, section, "plain_only", abilities, &personality->plain_only) ||
        !read_words(reading, section, "tls_only", abilities, &personality->tls_only) ||
        !read_names(reading, section, tls->names) ||
        !read_text(reading, section, "certificate_file", tls->certificate_file, MX_FILE_MAX) ||
        !read_text(reading, section, "key_file", tls->key_file, MX_FILE_MAX))
        return false;
    if (least && most && least > most)
        return mx_reading_wrong(reading, section, "tls_min", cfg_getstr(section, "tls_min"), "at most tls_max");
    personality->starttls = way == STARTTLS || way == HIDDEN;
    personality->starttls_hidden = way == HIDDEN;
    personality->tls_implicit = way == IMPLICIT;
    personality->demand = (enum mx_demand)demand;
    tls->issue = (enum mx_issue)issue;
    tls->key_kind = (enum mx_key_kind)kind;
    tls->version_min = (uint16_t)least;
    tls->version_max = (uint16_t)most;
    return true;
}

static bool read_auth(const struct mx_reading *reading, cfg_t *section, struct mx_personality *personality)
{
    personality->auth_required = cfg_getbool(section, "auth_required");
    personality->auth_plain_text = cfg_getbool(section, "auth_plain_text");
    if (!read_words(reading, section, "mechanisms", mechanisms, &personality->auth))
        return false;
    for (unsigned i = 0; i < cfg_size(section, "account"); i++) {
        cfg_t *entry = cfg_getnsec(section, "account", i);
        if (i == MX_ACCOUNTS_MAX)
            return mx_reading_wrong(reading, section, "account", cfg_title(entry), "4 accounts of an ISP");
        struct mx_account *account = &personality->accounts[personality->account_count++];
        if (strlen(cfg_title(entry)) >= sizeof account->user)
            return mx_reading_wrong(reading, section, "account", cfg_title(entry), "a name of at most 63 bytes");
        slice_copy(account->user, sizeof account->user, slice_of(cfg_title(entry)));
        if (!read_text(reading, entry, "secret", account->secret, sizeof account->secret))
            return false;
    }
    return true;
}

bool mx_reading_secure(const struct mx_reading *reading, cfg_t *section, struct mx_personality *personality)
{
    personality->chunking = cfg_getbool(section, "chunking");
    personality->chunks_spill = cfg_getbool(section, "chunks_spill");
    return read_tls(reading, section, personality) && read_auth(reading, section, personality);
}

void mx_reading_options(cfg_opt_t to[static MX_READING_OPTIONS], cfg_opt_t *account)
{
    cfg_opt_t options[] = {CFG_STR("tls", "none", CFGF_NONE),
                           CFG_STR("tls_demand", "none", CFGF_NONE),
                           CFG_STR_LIST("plain_only", 0, CFGF_NODEFAULT),
                           CFG_STR_LIST("tls_only", 0, CFGF_NODEFAULT),
                           CFG_STR("certificate", "ca", CFGF_NONE),
                           CFG_STR("key", "rsa", CFGF_NONE),
                           CFG_STR_LIST("names", 0, CFGF_NODEFAULT),
                           CFG_STR("certificate_file", "", CFGF_NONE),
                           CFG_STR("key_file", "", CFGF_NONE),
                           CFG_STR("tls_min", "", CFGF_NONE),
                           CFG_STR("tls_max", "", CFGF_NONE),
                           CFG_BOOL("resumption", cfg_true, CFGF_NONE),
                           CFG_BOOL("tickets", cfg_true, CFGF_NONE),
                           CFG_STR_LIST("mechanisms", 0, CFGF_NODEFAULT),
                           CFG_BOOL("auth_required", cfg_false, CFGF_NONE),
                           CFG_BOOL("auth_plain_text", cfg_false, CFGF_NONE),
                           CFG_SEC("account", account, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
                           CFG_BOOL("chunking", cfg_false, CFGF_NONE),
                           CFG_BOOL("chunks_spill", cfg_false, CFGF_NONE),
                           CFG_END()};
    _Static_assert(countof(options) == MX_READING_OPTIONS, "the number of options");
    memcpy(to, options, sizeof options);
}
