/* What refusals mean: a rule that contradicts itself, or that could never fit, is refused here, where its line is
 * known.
 */
#include "control/config.h"

#include "control/config_build.h"
#include "control/rules.h"

#include <stdlib.h>

/* Every check names the rule and the line of the key that is wrong. */
static bool printf_like(4, 5) fail_at(struct config_build *b, cfg_t *section, const char *key, const char *format, ...)
{
    va_list arguments;
    char why[512];
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    return config_build_fail(b, section->filename, config_build_line(section, key), "rule %s: %s", section->title, why);
}

static bool check_lists(struct config_build *b, cfg_t *section, const struct config_rule *rule)
{
    uint32_t stages;
    struct rule_codes codes;
    struct rule_status status;
    char why[256];
    for (unsigned i = 0; i < rule->stage_count; i++)
        if (!rules_stage(rule->stages[i], &stages))
            return fail_at(
                b, section, "stage",
                "%s is no stage; there are connect, greeting, ehlo, starttls, auth, mail, rcpt, data and body",
                rule->stages[i]);
    if (rule->code_count > RULE_CODES)
        return fail_at(b, section, "code", "there are %u codes; at most %d", rule->code_count, (int)RULE_CODES);
    for (unsigned i = 0; i < rule->code_count; i++)
        if (!rules_codes(rule->codes[i], &codes))
            return fail_at(b, section, "code", "%s is no code of a refusal; there are 400 to 599, 4yz and 5yz",
                           rule->codes[i]);
    if (rule->status_count > RULE_STATUSES)
        return fail_at(b, section, "status", "there are %u statuses; at most %d", rule->status_count,
                       (int)RULE_STATUSES);
    for (unsigned i = 0; i < rule->status_count; i++)
        if (!rules_status(rule->statuses[i], &status))
            return fail_at(b, section, "status", "%s is no enhanced status; it is written 5.7.1, x.7.1 or 5.7.x",
                           rule->statuses[i]);
    for (unsigned i = 0; i < rule->text_count; i++)
        if (!rules_pattern_is_good(rule->texts[i], why, sizeof why)) {
            const struct config_value *value = cfg_getnptr(section, "text", i);
            return config_build_fail(b, section->filename, value->line, "rule %s: text \"%.100s\": %s", rule->name,
                                     rule->texts[i], why);
        }
    if (!rule->stage_count && !rule->code_count && !rule->status_count && !rule->text_count)
        return fail_at(b, section, "text", "it names no stage, code, status or text, so it would fit every refusal");
    return true;
}

/* Hard, and what suppresses: for a 5yz after RCPT alone. What a rule does not say is seen to when it fits (verdict.h),
 * so only what it says and may not is refused. */
static bool check_hard(struct config_build *b, cfg_t *section, const struct config_rule *rule)
{
    uint32_t stages = 0;
    struct rule_codes codes;
    struct rule_status status;
    if (rule->action == RULE_SUPPRESS && rule->kind != BOUNCE_KIND_HARD)
        return fail_at(b, section, "action", "action = suppress needs kind = hard: only a dead address is suppressed");
    if (rule->kind != BOUNCE_KIND_HARD)
        return true;
    for (unsigned i = 0; i < rule->stage_count; i++)
        if (rules_stage(rule->stages[i], &stages) && stages & ((1u << STAGE_RCPT) - 1))
            return fail_at(b, section, "stage",
                           "kind = hard at stage %s: the recipient is named at rcpt, data and body, and before that "
                           "nothing is known of it",
                           rule->stages[i]);
    for (unsigned i = 0; i < rule->code_count; i++)
        if (rules_codes(rule->codes[i], &codes) && codes.least < 500)
            return fail_at(b, section, "code", "kind = hard for %s: a 4yz is temporary", rule->codes[i]);
    for (unsigned i = 0; i < rule->status_count; i++)
        if (rules_status(rule->statuses[i], &status) && status.class_ == 4 && rule->code_count == 0)
            return fail_at(b, section, "status", "kind = hard for %s: that is temporary", rule->statuses[i]);
    if (rule->defer)
        return fail_at(b, section, "defer", "kind = hard and defer = yes: what is dead is not tried again");
    return true;
}

static bool is_for_a_lane(enum rule_scope scope)
{
    return scope == RULE_SOURCE || scope == RULE_LANE || scope == RULE_ISP || scope == RULE_FROM_DOMAIN ||
           scope == RULE_CAMPAIGN;
}

static bool check_action(struct config_build *b, cfg_t *section, const struct config_rule *rule)
{
    const char *name = rule_action_name(rule->action);
    bool lasts = rule->action != RULE_NONE && rule->action != RULE_LEARN && rule->action != RULE_SUPPRESS;
    if (rule->action == RULE_SLOW && !rule->factor)
        return fail_at(b, section, "action", "action = slow needs factor = 1 to 99, the percent to slow down to");
    if (rule->action == RULE_CONNECTIONS && !rule->factor == !rule->connections)
        return fail_at(b, section, "action",
                       "action = connections needs either connections, how many at most, or factor, to how "
                       "many percent");
    if ((rule->action == RULE_PAUSE || rule->action == RULE_PROBE) && !rule->wait)
        return fail_at(b, section, "action", "action = %s needs wait, how long", name);
    if (rule->factor && rule->action != RULE_SLOW && rule->action != RULE_CONNECTIONS)
        return fail_at(b, section, "factor", "factor is for action = slow and connections, not for %s", name);
    if (rule->connections && rule->action != RULE_CONNECTIONS)
        return fail_at(b, section, "connections", "connections is for action = connections, not for %s", name);
    if (rule->wait && !lasts && !rule->defer)
        return fail_at(b, section, "wait", "wait says nothing for action = %s without defer = yes", name);
    if (rule->action == RULE_SUPPRESS && rule->scope != RULE_RECIPIENT)
        return fail_at(b, section, "scope", "action = suppress is for scope = recipient, not for %s",
                       rule_scope_name(rule->scope));
    bool for_lanes = lasts && rule->action != RULE_RETRY && rule->action != RULE_HOLD;
    if ((for_lanes || rule->action == RULE_LEARN) && !is_for_a_lane(rule->scope))
        return fail_at(b, section, "scope",
                       "action = %s is for scope = source, lane, isp, from-domain or campaign, not for %s", name,
                       rule_scope_name(rule->scope));
    return true;
}

static bool add_rule(struct config_build *b, cfg_t *section, struct config_rule *rule)
{
    if (!config_build_name(b, section, LIMIT_RULE_NAME))
        return false;
    slice_copy(rule->name, sizeof rule->name, slice_of(section->title));
    if (!config_build_defaults(b, CONFIG_RULE, rule) || !config_build_given(b, section, CONFIG_RULE, rule))
        return false;
    if (!rule->class_)
        return fail_at(b, section, "class", "it has no class, such as class = policy-related");
    if (!rule->kind)
        return fail_at(b, section, "kind", "it has no kind: kind = hard, soft or block");
    return check_lists(b, section, rule) && check_hard(b, section, rule) && check_action(b, section, rule);
}

static bool add_rules(struct config_build *b, cfg_t *where, struct config_rule **rules, unsigned *count)
{
    unsigned n = cfg_size(where, "rule");
    *rules = calloc(n + 1, sizeof **rules);
    if (!*rules)
        return config_build_no_memory(b);
    for (unsigned i = 0; i < n; i++)
        if (!add_rule(b, cfg_getnsec(where, "rule", i), &(*rules)[(*count)++]))
            return false;
    return true;
}

/* ---- names ---- */

static int section_order(const void *a, const void *b)
{
    const cfg_t *x = *(cfg_t *const *)a, *y = *(cfg_t *const *)b;
    int order = strcmp(x->title, y->title);
    if (!order)
        order = strcmp(x->filename, y->filename);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

/* An event names the rule alone, so a name stands for one, wherever it is. */
static bool check_names(struct config_build *b)
{
    unsigned isps = cfg_size(b->root, "isp"), total = cfg_size(b->root, "rule"), n = 0;
    bool good = true;
    for (unsigned i = 0; i < isps; i++)
        total += cfg_size(cfg_getnsec(b->root, "isp", i), "rule");
    cfg_t **all = calloc(total + 1, sizeof(cfg_t *));
    if (!all)
        return config_build_no_memory(b);
    for (unsigned i = 0; i <= isps; i++) {
        cfg_t *where = i < isps ? cfg_getnsec(b->root, "isp", i) : b->root;
        for (unsigned j = 0; j < cfg_size(where, "rule"); j++)
            all[n++] = cfg_getnsec(where, "rule", j);
    }
    qsort(all, n, sizeof *all, section_order);
    for (unsigned i = 1; good && i < n; i++)
        if (strcmp(all[i - 1]->title, all[i]->title) == 0)
            good = config_build_fail(b, all[i]->filename, (unsigned)all[i]->line,
                                     "rule %s is there already, up to %s:%d; a name stands for one rule", all[i]->title,
                                     all[i - 1]->filename, all[i - 1]->line);
    free(all);
    return good;
}

bool config_build_rules(struct config_build *b)
{
    struct config *c = b->config;
    for (unsigned i = 0; i < c->isp_count; i++)
        if (!add_rules(b, cfg_getnsec(b->root, "isp", i), &c->isps[i].rules, &c->isps[i].rule_count))
            return false;
    return add_rules(b, b->root, &c->phrases, &c->phrase_count) && check_names(b);
}

void config_rules_free(struct config_rule *rules, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        config_rows_free(CONFIG_RULE, &rules[i]);
    free(rules);
}
