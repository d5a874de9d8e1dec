/* Warm-ups: curves that no ISP could follow are refused, and every source finds the one that it names, in the file or
 * among those that come with Sluice. */
#include "control/config.h"

#include "control/config_build.h"
#include "control/zone_file.h"
#include "warmup_shipped.h"

#include <stdio.h>
#include <stdlib.h>

enum { CATCH_UP = 4 };

static bool fail_at(struct config_build *b, cfg_t *section, const char *key, const char *why)
{
    bool titled = section->title && section->title[0];
    return config_build_fail(b, section->filename, config_build_line(section, key), "%s%s%s: %s", section->name,
                             titled ? " " : "", titled ? section->title : "", why);
}

/* ---- one curve ---- */

static void forget_curve(struct warmup_plan *plan)
{
    plan->kind = WARMUP_KIND_BROKEN;
    plan->cap_count = 0;
    plan->start = plan->step = plan->max = plan->factor = 0;
    plan->every = 1;
}

static enum warmup_kind kind_of(const struct warmup_plan *plan)
{
    if (plan->kind)
        return plan->kind;
    if (plan->cap_count)
        return WARMUP_TABLE;
    if (plan->factor)
        return WARMUP_GEOMETRIC;
    return plan->step ? WARMUP_LINEAR : WARMUP_KIND_BROKEN;
}

/* Which kind of curve a section makes of one of that kind by what it gives. A table may continue by factor or step. */
static enum warmup_kind kind_given(cfg_t *section, enum warmup_kind before)
{
    if (cfg_size(section, "caps") > 0)
        return WARMUP_TABLE;
    if (before == WARMUP_TABLE && cfg_size(section, "start") == 0)
        return before;
    if (cfg_size(section, "factor") > 0)
        return WARMUP_GEOMETRIC;
    return cfg_size(section, "step") > 0 ? WARMUP_LINEAR : before;
}

/* Takes what the section gives on top of what is there. Another kind is another curve: nothing of the old one stays. */
static bool take_given(struct config_build *b, cfg_t *section, struct warmup_plan *plan)
{
    enum warmup_kind before = kind_of(plan);
    if (cfg_size(section, "kind") > 0 || kind_given(section, before) != before)
        forget_curve(plan);
    return config_build_given(b, section, CONFIG_WARMUP, plan);
}

static bool finish(struct config_build *b, cfg_t *section, struct warmup_plan *plan)
{
    const struct warmup_health *health = &plan->health;
    const char *why;
    plan->kind = kind_of(plan);
    if (!plan->kind)
        return fail_at(b, section, "kind",
                       "it has no curve: caps = {50, 100, ...}, or start, max and a factor or a step");
    if (!plan->catch_up)
        plan->catch_up = plan->per == WARMUP_PER_HOUR ? 1 : CATCH_UP;
    if (health->back_deferred < health->hold_deferred)
        return fail_at(b, section, "back_deferral", "back_deferral is below hold_deferral");
    if (health->back_blocked < health->hold_blocked)
        return fail_at(b, section, "back_block", "back_block is below hold_block");
    if (health->back_bounced < health->hold_bounced)
        return fail_at(b, section, "back_bounce", "back_bounce is below hold_bounce");
    return warmup_plan_ready(plan, &why) || fail_at(b, section, plan->kind == WARMUP_TABLE ? "caps" : "start", why);
}

/* ---- a block ---- */

static bool add_part(struct config_build *b, cfg_t *section, const struct warmup_plan *base,
                     struct config_warmup_part *part)
{
    if (!config_build_name(b, section, LIMIT_ISP_NAME))
        return false;
    if (strcmp(section->title, "all") == 0)
        return fail_at(b, section, "kind", "a cap over all ISPs is written all { ... }");
    slice_copy(part->name, sizeof part->name, slice_of(section->title));
    part->plan = *base;
    return take_given(b, section, &part->plan) && finish(b, section, &part->plan);
}

static bool add_all(struct config_build *b, cfg_t *section, const struct warmup_plan *base, struct warmup_plan *all)
{
    if (cfg_size(section, "all") > 1)
        return fail_at(b, cfg_getnsec(section, "all", 1), "kind", "all is given twice; it may be given once");
    *all = *base;
    forget_curve(all);
    if (cfg_size(section, "all") == 0) {
        all->kind = WARMUP_NONE;
        return true;
    }
    cfg_t *given = cfg_getnsec(section, "all", 0);
    return take_given(b, given, all) && finish(b, given, all);
}

static bool limits_anything(const struct config_warmup *warmup)
{
    bool any = warmup->plan.kind != WARMUP_NONE || warmup->all.kind != WARMUP_NONE;
    for (unsigned i = 0; i < warmup->part_count; i++)
        any |= warmup->parts[i].plan.kind != WARMUP_NONE;
    return any;
}

static bool add_block(struct config_build *b, cfg_t *section)
{
    struct config *c = b->config;
    unsigned count = cfg_size(section, "isp");
    struct config_warmup *grown = realloc(c->warmups, (c->warmup_count + 1) * sizeof *grown);
    if (!grown)
        return config_build_no_memory(b);
    c->warmups = grown;
    struct config_warmup *warmup = &c->warmups[c->warmup_count++];
    *warmup = (struct config_warmup){.parts = calloc(count + 1, sizeof *warmup->parts)};
    if (!warmup->parts)
        return config_build_no_memory(b);
    if (!config_build_name(b, section, LIMIT_WARMUP_NAME) || !config_build_defaults(b, CONFIG_WARMUP, &warmup->plan) ||
        !take_given(b, section, &warmup->plan))
        return false;
    slice_copy(warmup->name, sizeof warmup->name, slice_of(section->title));
    const struct warmup_plan base = warmup->plan; /* what is left out follows from each part's own curve */
    for (unsigned i = 0; i < count; i++)
        if (!add_part(b, cfg_getnsec(section, "isp", i), &base, &warmup->parts[warmup->part_count++]))
            return false;
    if (!add_all(b, section, &base, &warmup->all) || !finish(b, section, &warmup->plan))
        return false;
    return limits_anything(warmup) || fail_at(b, section, "kind", "it limits nothing");
}

static bool add_blocks(struct config_build *b, cfg_t *root)
{
    for (unsigned i = 0; i < cfg_size(root, "warmup"); i++)
        if (!add_block(b, cfg_getnsec(root, "warmup", i)))
            return false;
    return true;
}

/* ---- who follows which ---- */

static int find(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->warmup_count; i++)
        if (strcmp(config->warmups[i].name, name) == 0)
            return (int)i;
    return -1;
}

/* "standard" of "deploy/warmup/standard.conf". */
static struct slice shipped_name(const struct embedded_file *file)
{
    struct slice name = slice_of(strrchr(file->name, '/') + 1);
    return (struct slice){name.p, name.n - strlen(".conf")};
}

static bool unknown(struct config_build *b, cfg_t *section, const char *name)
{
    char known[1024] = "";
    size_t n = 0;
    for (unsigned i = 0; i < b->config->warmup_count && n < sizeof known; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", b->config->warmups[i].name);
    for (size_t i = 0; i < countof(embedded_files) && n < sizeof known; i++) {
        char file[LIMIT_WARMUP_NAME + 1];
        slice_copy(file, sizeof file, shipped_name(&embedded_files[i]));
        if (find(b->config, file) < 0)
            n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", file);
    }
    return config_build_fail(b, section->filename, config_build_line(section, "warmup"),
                             "source %s: there is no warmup %s; there are %s", section->title, name, known);
}

/* The block of that name of those that come with Sluice. */
static bool add_shipped(struct config_build *b, cfg_t *section, const char *name)
{
    for (size_t i = 0; i < countof(embedded_files); i++) {
        const struct embedded_file *file = &embedded_files[i];
        if (!slice_equal(shipped_name(file), slice_of(name)))
            continue;
        cfg_t *root = config_read(file->name, slice_of(file->text), b->error, b->error_cap);
        bool added = root && add_blocks(b, root);
        if (root)
            cfg_free(root);
        return added;
    }
    return unknown(b, section, name);
}

static bool look_at_source(struct config_build *b, cfg_t *section)
{
    const struct config_value *name = cfg_getnptr(section, "warmup", 0);
    if (name)
        return find(b->config, name->text) >= 0 || add_shipped(b, section, name->text);
    if (cfg_size(section, "since") > 0)
        return fail_at(b, section, "since", "since is of no use without a warmup: warmup = standard");
    const struct config_value *overflow = cfg_getnptr(section, "overflow", 0);
    if (overflow && overflow->number == CONFIG_OVERFLOW_WAIT)
        return fail_at(b, section, "overflow", "overflow = wait is of no use without a warmup");
    return true;
}

static bool follow(struct config_build *b)
{
    struct config *c = b->config;
    bool any = false;
    for (unsigned i = 0; i < cfg_size(b->root, "pool"); i++) {
        cfg_t *pool = cfg_getnsec(b->root, "pool", i);
        for (unsigned j = 0; j < cfg_size(pool, "source"); j++)
            if (!look_at_source(b, cfg_getnsec(pool, "source", j)))
                return false;
    }
    for (unsigned i = 0; i < c->source_count; i++) {
        c->sources[i].warmup = c->sources[i].warmup_name[0] ? find(c, c->sources[i].warmup_name) : -1;
        any |= c->sources[i].warmup >= 0;
    }
    for (unsigned i = 0; any && i < c->isp_count + c->relay_count; i++) {
        const char *name = i < c->isp_count ? c->isps[i].name : c->relays[i - c->isp_count].name;
        if (strcmp(name, "other") == 0 || strcmp(name, "all") == 0)
            return config_build_fail(b, c->file, (unsigned)b->root->line,
                                     "%s is no name of an isp or relay beside a warmup, where it stands for %s", name,
                                     name[0] == 'o' ? "all ISPs without a block" : "all together");
    }
    return true;
}

static bool read_zone(struct config_build *b)
{
    struct config *c = b->config;
    char why[512];
    c->days.starts = c->day_starts;
    c->days.length = c->day_length;
    if (c->day_length && c->day_length < NSEC_PER_S)
        return config_build_fail(b, c->file, config_build_line(b->root, "day_length"),
                                 "day_length is at least 1s, or 0 for the days of the zone");
    return zone_file_read(c->zone_name, &c->days.zone, &c->zone_bytes, why, sizeof why) ||
           config_build_fail(b, c->file, config_build_line(b->root, "zone"), "zone: %s", why);
}

bool config_build_warmups(struct config_build *b) { return read_zone(b) && add_blocks(b, b->root) && follow(b); }

void config_warmups_free(struct config *config)
{
    for (unsigned i = 0; i < config->warmup_count; i++)
        free(config->warmups[i].parts);
    free(config->warmups);
    free(config->zone_bytes);
}

/* ---- what holds ---- */

struct slice config_warmup_counter(const struct config *config, struct slice isp)
{
    for (unsigned i = 0; i < config->isp_count; i++)
        if (!config->isps[i].removed && slice_equal(slice_of(config->isps[i].name), isp))
            return slice_of(config->isps[i].name);
    return SLICE("other");
}

const struct warmup_plan *config_warmup_all(const struct config *config, unsigned source)
{
    int warmup = config->sources[source].warmup;
    return warmup >= 0 && config->warmups[warmup].all.kind != WARMUP_NONE ? &config->warmups[warmup].all : NULL;
}

const struct warmup_plan *config_warmup_of(const struct config *config, unsigned source, struct slice counter)
{
    if (slice_equal(counter, SLICE("all")))
        return config_warmup_all(config, source);
    if (config->sources[source].warmup < 0)
        return NULL;
    const struct config_warmup *warmup = &config->warmups[config->sources[source].warmup];
    const struct warmup_plan *plan = &warmup->plan;
    for (unsigned i = 0; i < warmup->part_count; i++)
        if (slice_equal(slice_of(warmup->parts[i].name), counter))
            plan = &warmup->parts[i].plan;
    return plan->kind != WARMUP_NONE ? plan : NULL;
}

const struct warmup_plan *config_warmup_plan(const struct config *config, unsigned source, struct slice isp)
{
    for (unsigned i = 0; i < config->relay_count; i++)
        if (slice_equal(slice_of(config->relays[i].name), isp))
            return NULL;
    return config_warmup_of(config, source, config_warmup_counter(config, isp));
}

int64_t config_warmup_since(const struct config *config, unsigned source)
{
    int64_t since = config->sources[source].since;
    if (since == INT64_MIN || config->days.length == 0)
        return since;
    return zone_day(&config->days, since * 24 * 3600 * NSEC_PER_S).number;
}
