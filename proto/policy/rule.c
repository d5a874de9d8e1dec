/* Asks the rules in their order. The numbers are compared first, for most rules are ruled out by them. */
#include "proto/policy/rule.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

const char *const rule_scope_names[RULE_SCOPE_COUNT] = {
    [RULE_RECIPIENT] = "recipient",     [RULE_MESSAGE] = "message", [RULE_CAMPAIGN] = "campaign",
    [RULE_SOURCE] = "source",           [RULE_LANE] = "lane",       [RULE_ISP] = "isp",
    [RULE_FROM_DOMAIN] = "from-domain", [RULE_SCOPE_NONE] = "",
};

const char *const rule_action_names[RULE_ACTION_COUNT] = {
    [RULE_NONE] = "none",   [RULE_RETRY] = "retry",       [RULE_SLOW] = "slow", [RULE_CONNECTIONS] = "connections",
    [RULE_PAUSE] = "pause", [RULE_PROBE] = "probe",       [RULE_HOLD] = "hold", [RULE_OTHER_SOURCE] = "other-source",
    [RULE_LEARN] = "learn", [RULE_SUPPRESS] = "suppress",
};

const char *rule_scope_name(enum rule_scope scope)
{
    sluice_assert(scope > RULE_SCOPE_BROKEN && scope < RULE_SCOPE_COUNT);
    return rule_scope_names[scope];
}

const char *rule_action_name(enum rule_action action)
{
    sluice_assert(action > RULE_ACTION_BROKEN && action < RULE_ACTION_COUNT);
    return rule_action_names[action];
}

/* ---- one rule ---- */

struct question {
    const struct rule_reader *reader;
    enum stage stage;
    uint16_t code;
    bool has_status;
    unsigned status[3];
    struct slice text;
};

static bool code_fits(const struct rule *rule, uint16_t code)
{
    for (unsigned i = 0; i < rule->code_count; i++)
        if (code >= rule->codes[i].least && code <= rule->codes[i].most)
            return true;
    return rule->code_count == 0;
}

static bool number_fits(int16_t wanted, unsigned number) { return wanted == RULE_ANY || (unsigned)wanted == number; }

static bool status_fits(const struct rule *rule, const struct question *q)
{
    for (unsigned i = 0; q->has_status && i < rule->status_count; i++) {
        const struct rule_status *s = &rule->statuses[i];
        if (number_fits(s->class_, q->status[0]) && number_fits(s->subject, q->status[1]) &&
            number_fits(s->detail, q->status[2]))
            return true;
    }
    return rule->status_count == 0;
}

static bool text_fits(const struct rule *rule, const struct question *q)
{
    for (unsigned i = 0; i < rule->text_count; i++)
        if (pcre2_match(rule->texts[i], (PCRE2_SPTR)q->text.p, q->text.n, 0, 0, q->reader->match, q->reader->context) >=
            0)
            return true;
    return rule->text_count == 0;
}

static const struct rule *find_in(const struct rule_list *list, const struct question *q)
{
    for (unsigned i = 0; i < list->count; i++) {
        const struct rule *rule = &list->rules[i];
        if ((rule->stages == 0 || q->stage == STAGE_BROKEN || (rule->stages & 1u << q->stage)) &&
            code_fits(rule, q->code) && status_fits(rule, q) && text_fits(rule, q))
            return rule;
    }
    return NULL;
}

/* ---- all of them ---- */

const struct rule_isp *rule_isp_of(const struct rules *rules, struct slice mx)
{
    if (!rules->shipped_count || !mx.n)
        return NULL;
    uint32_t found = isp_of_host(&rules->hosts, mx);
    return found == ISP_NONE ? NULL : &rules->shipped[found];
}

static const struct rule_isp *by_name(const struct rule_isp *isps, unsigned count, struct slice name)
{
    for (unsigned i = 0; name.n && i < count; i++)
        if (slice_equal(slice_of(isps[i].name), name))
            return &isps[i];
    return NULL;
}

const struct rule *rule_find(const struct rule_reader *reader, struct slice isp, struct slice mx, enum stage stage,
                             const struct wording *wording)
{
    if (!reader || !reader->rules)
        return NULL;
    const struct rules *rules = reader->rules;
    const struct rule_isp *configured = by_name(rules->configured, rules->configured_count, isp);
    const struct rule_isp *shipped = rule_isp_of(rules, mx);
    if (!mx.n)
        shipped = by_name(rules->shipped, rules->shipped_count, isp);
    bool last_line = (configured && configured->last_line) || (shipped && shipped->last_line);
    struct question q = {
        .reader = reader, .stage = stage, .code = wording->code, .text = wording_text(wording, last_line)};
    q.has_status = wording_status(wording->status, &q.status[0], &q.status[1], &q.status[2]);
    const struct rule *found = configured ? find_in(&configured->list, &q) : NULL;
    if (!found && shipped)
        found = find_in(&shipped->list, &q);
    for (unsigned i = 0; !found && i < countof(rules->general); i++)
        found = find_in(&rules->general[i], &q);
    return found;
}
