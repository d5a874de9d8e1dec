/* fuzz_classify.c - whatever a server says, and however somebody copied it: it is read within its bounds, and it
 * suppresses nobody unless it is a 5yz about a recipient. */
#include "proto/policy/classify.h"

#include "control/rules.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Few and greedy: the shipped ones would be compiled anew for each input. */
static const char rules_text[] =
    "shipped_rules = no\n"
    "rule hard { text = 'user|box'  class = bad-mailbox  kind = hard  action = suppress }\n"
    "rule later { text = {'again', 'grey'}  class = policy-related  kind = soft  action = retry  wait = 5m  defer = "
    "yes }\n"
    "isp x { mx = {.x.example}  reply_line = last  rule own { status = x.7.x  class = other  kind = block } }\n";

static void check_wording(const struct wording *w)
{
    unsigned class_, subject, detail;
    sluice_assert(w->n <= LIMIT_EVENT_REPLY && w->last <= w->n && w->text[w->n] == 0);
    sluice_assert(!w->status[0] || wording_status(w->status, &class_, &subject, &detail));
    for (size_t i = 1; i < w->n; i++)
        sluice_assert(w->text[i] != ' ' || w->text[i - 1] != ' ');
    nsec named = wording_retry_after(wording_text(w, false));
    sluice_assert(named == 0 ||
                  (named >= WORDING_SECONDS_LEAST * NSEC_PER_S && named <= WORDING_SECONDS_MOST * NSEC_PER_S));
}

static void check_verdict(enum stage stage, uint16_t code, const struct verdict *v)
{
    sluice_assert(v->type > EVENT_BROKEN && v->type < EVENT_TYPE_COUNT);
    sluice_assert(v->bounce.class_ > BOUNCE_BROKEN && v->bounce.kind > BOUNCE_KIND_BROKEN && v->bounce.rule);
    sluice_assert(v->scope > RULE_SCOPE_BROKEN && v->action > RULE_ACTION_BROKEN);
    if (v->suppress || v->bounce.kind == BOUNCE_KIND_HARD)
        sluice_assert(code >= 500 && stage >= STAGE_RCPT && v->type == EVENT_BOUNCED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[256];
    struct rule_reader reader;
    struct classified c;
    if (size < 1)
        return 0;
    struct config *config = config_parse("fuzz", SLICE(rules_text), error, sizeof error);
    sluice_assert(config && rules_load(config, error, sizeof error) && rules_reader_open(&reader, config->rules));
    struct classify_question question = {.reply = {(const char *)data + 1, size - 1}};
    if (data[0] & 1)
        question.stage = (enum stage)(STAGE_GREETING + (data[0] >> 4) % (STAGE_COUNT - STAGE_GREETING));
    if (data[0] & 2)
        question.mx = SLICE("mx.x.example");
    if (data[0] & 4)
        question.isp = SLICE("x");
    classify_reply(&reader, &question, &c);
    check_wording(&c.wording);
    sluice_assert(c.stage >= STAGE_GREETING && c.stage < STAGE_COUNT);
    check_verdict(c.stage, c.wording.code, &c.verdict);
    /* The same as the engine has it, from the parser. */
    wording_read(&c.wording, c.wording.code, "", question.reply);
    check_wording(&c.wording);
    rules_reader_close(&reader);
    config_free(config);
    return 0;
}
