/* Which limit holds for which lane: every key from the most specific place that gives it, worked out once. */
#include "control/config.h"

#include "control/config_build.h"

#include <stdatomic.h>
#include <stdlib.h>

/* ---- limits of sources ---- */

static bool add_source_isp(struct config_build *b, cfg_t *section, struct config_source_isp *isp)
{
    if (!config_build_name(b, section, LIMIT_ISP_NAME))
        return false;
    slice_copy(isp->name, sizeof isp->name, slice_of(section->title));
    isp->line = (unsigned)section->line;
    isp->file = strdup(section->filename);
    if (!isp->file)
        return config_build_no_memory(b);
    return config_build_given(b, section, CONFIG_LIMITS, &isp->limits);
}

bool config_build_source_limits(struct config_build *b, cfg_t *section, struct config_source *source)
{
    unsigned count = cfg_size(section, "isp");
    if (!config_build_given(b, section, CONFIG_LIMITS, &source->limits))
        return false;
    source->isps = calloc(count + 1, sizeof *source->isps);
    if (!source->isps)
        return config_build_no_memory(b);
    for (unsigned i = 0; i < count; i++)
        if (!add_source_isp(b, cfg_getnsec(section, "isp", i), &source->isps[source->isp_count++]))
            return false;
    return true;
}

void config_source_limits_free(struct config_source *source)
{
    config_rows_free(CONFIG_LIMITS, &source->limits);
    for (unsigned i = 0; i < source->isp_count; i++) {
        config_rows_free(CONFIG_LIMITS, &source->isps[i].limits);
        free(source->isps[i].file);
    }
    free(source->isps);
}

static bool limits_equal(const struct config_limits *a, const struct config_limits *b, char *text, size_t half)
{
    size_t count;
    const struct config_row *rows = config_rows(&count);
    if (a->given != b->given)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!config_limits_gives(a, &rows[i]))
            continue;
        config_format(&rows[i], a, text, half);
        config_format(&rows[i], b, text + half, half);
        if (strcmp(text, text + half) != 0)
            return false;
    }
    return true;
}

bool config_source_limits_equal(const struct config_source *a, const struct config_source *b)
{
    enum { TEXT = 512 * 1024 };
    char *text = malloc(2 * (size_t)TEXT);
    bool equal = text && a->isp_count == b->isp_count && limits_equal(&a->limits, &b->limits, text, TEXT);
    for (unsigned i = 0; equal && i < a->isp_count; i++) {
        unsigned j = 0;
        while (j < b->isp_count && strcmp(a->isps[i].name, b->isps[j].name) != 0)
            j++;
        equal = j < b->isp_count && limits_equal(&a->isps[i].limits, &b->isps[j].limits, text, TEXT);
    }
    free(text);
    return equal;
}

/* ---- what holds for a lane ---- */

bool config_limits_gives(const struct config_limits *limits, const struct config_row *row)
{
    return row->scope == CONFIG_LIMITS && (limits->given & config_limits_bit(row));
}

uint64_t config_limits_bit(const struct config_row *row)
{
    size_t count, before = 0;
    const struct config_row *rows = config_rows(&count);
    for (const struct config_row *at = rows; at < row; at++)
        before += at->scope == CONFIG_LIMITS;
    sluice_assert(before < 64 && row->scope == CONFIG_LIMITS);
    return (uint64_t)1 << before;
}

/* The keys that `from` gives, but for `tls` where somebody signs in: no source weakens what a password goes through. */
static void lay_over(struct config_limits *limits, const struct config_limits *from, bool signs_in)
{
    size_t count;
    const struct config_row *rows = config_rows(&count);
    for (size_t i = 0; i < count; i++)
        if (config_limits_gives(from, &rows[i]) && !(signs_in && strcmp(rows[i].name, "tls") == 0))
            memcpy((char *)limits + rows[i].offset, (const char *)from + rows[i].offset, config_row_size(&rows[i]));
    limits->given |= from->given;
}

static const struct config_source_isp *block_of(const struct config_source *source, const char *isp)
{
    for (unsigned i = 0; i < source->isp_count; i++)
        if (strcmp(source->isps[i].name, isp) == 0)
            return &source->isps[i];
    return NULL;
}

static const struct config_limits *limits_at(const struct config *c, unsigned index)
{
    if (index < c->isp_count)
        return &c->isps[index].limits;
    return index - c->isp_count < c->relay_count ? &c->relays[index - c->isp_count].limits : &c->defaults;
}

static const char *name_at(const struct config *c, unsigned index)
{
    if (index < c->isp_count)
        return c->isps[index].name;
    return index - c->isp_count < c->relay_count ? c->relays[index - c->isp_count].name : "";
}

static bool has_own(const struct config *c, const struct config_source *source, unsigned index)
{
    return source->limits.given || block_of(source, name_at(c, index));
}

static bool check_source_isps(struct config_build *b, const struct config_source *source)
{
    const struct config *c = b->config;
    for (unsigned i = 0; i < source->isp_count; i++) {
        const struct config_source_isp *isp = &source->isps[i];
        unsigned index = config_isp_index(c, slice_of(isp->name));
        if (index == c->isp_count + c->relay_count)
            return config_build_fail(b, isp->file, isp->line,
                                     "source %s: isp %s is no isp and no relay of this configuration", source->name,
                                     isp->name);
        if (index >= c->isp_count && config_limits_gives(&isp->limits, config_row_find(CONFIG_LIMITS, "tls")))
            return config_build_fail(b, isp->file, isp->line,
                                     "source %s: %s is a relay, whose own block alone says what tls is", source->name,
                                     isp->name);
    }
    return true;
}

bool config_build_lanes(struct config_build *b)
{
    struct config *c = b->config;
    unsigned kinds = c->isp_count + c->relay_count + 1, own = 0;
    for (unsigned i = 0; i < c->source_count; i++) {
        if (!check_source_isps(b, &c->sources[i]))
            return false;
        for (unsigned j = 0; j < kinds; j++)
            own += has_own(c, &c->sources[i], j);
    }
    free(c->lanes);
    free(c->lane_limits);
    c->lanes = calloc((size_t)c->source_count * kinds + 1, sizeof *c->lanes);
    c->lane_limits = calloc((size_t)own + 1, sizeof *c->lane_limits);
    c->lane_limit_count = 0;
    if (!c->lanes || !c->lane_limits)
        return config_build_no_memory(b);
    for (unsigned i = 0; i < c->source_count; i++)
        for (unsigned j = 0; j < kinds; j++) {
            const struct config_source *source = &c->sources[i];
            const struct config_source_isp *block = block_of(source, name_at(c, j));
            bool relay = j >= c->isp_count && j + 1 < kinds;
            c->lanes[(size_t)i * kinds + j] = limits_at(c, j);
            if (!has_own(c, source, j))
                continue;
            struct config_limits *limits = &c->lane_limits[c->lane_limit_count++];
            *limits = *limits_at(c, j);
            lay_over(limits, &source->limits, relay);
            if (block)
                lay_over(limits, &block->limits, relay);
            c->lanes[(size_t)i * kinds + j] = limits;
        }
    return true;
}

/* ---- by name ---- */

unsigned config_isp_index(const struct config *config, struct slice isp)
{
    for (unsigned i = 0; i < config->isp_count; i++)
        if (!config->isps[i].removed && slice_equal(slice_of(config->isps[i].name), isp))
            return i;
    for (unsigned i = 0; i < config->relay_count; i++)
        if (!config->relays[i].removed && slice_equal(slice_of(config->relays[i].name), isp))
            return config->isp_count + i;
    return config->isp_count + config->relay_count;
}

const struct config_limits *config_limits_for(const struct config *config, struct slice isp)
{
    return limits_at(config, config_isp_index(config, isp));
}

const struct config_limits *config_lane_limits(const struct config *config, unsigned source, struct slice isp)
{
    unsigned kinds = config->isp_count + config->relay_count + 1;
    sluice_assert(source < config->source_count);
    return config->lanes[(size_t)source * kinds + config_isp_index(config, isp)];
}

const struct config_total *config_total_of(const struct config *config, struct slice isp)
{
    unsigned index = config_isp_index(config, isp);
    const struct config_total *total = NULL;
    if (index < config->isp_count)
        total = &config->isps[index].total;
    else if (index - config->isp_count < config->relay_count)
        total = &config->relays[index - config->isp_count].total;
    return total && (total->connections || total->rate || total->connection_rate) ? total : NULL;
}

int config_relay_of(const struct config *config, struct slice isp)
{
    unsigned index = config_isp_index(config, isp);
    return index >= config->isp_count && index < config->isp_count + config->relay_count
               ? (int)(index - config->isp_count)
               : -1;
}

const struct config *config_hold(const struct config *config)
{
    struct config *held = (struct config *)(uintptr_t)config;
    atomic_fetch_add_explicit(&held->holders, 1, memory_order_relaxed);
    return config;
}

void config_release(const struct config *config) { config_free((struct config *)(uintptr_t)config); }
