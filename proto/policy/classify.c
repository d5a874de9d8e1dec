/* Puts together what a copied reply does not say, and asks for the verdict. */
#include "proto/policy/classify.h"

/* ---- where it was said ---- */

static bool contains(struct slice text, struct slice words)
{
    for (; text.n >= words.n; text.p++, text.n--)
        if (slice_equal_nocase((struct slice){text.p, words.n}, words))
            return true;
    return false;
}

/* What mail programs write around a reply that they report. */
static enum stage stage_named(struct slice reply)
{
    static const struct {
        const char *words;
        enum stage stage;
    } rows[] = {
        {"in reply to end of data", STAGE_BODY},
        {"after end of data", STAGE_BODY},
        {"after pipelined end of", STAGE_BODY},
        {"in reply to bdat", STAGE_BODY},
        {"in reply to data", STAGE_DATA},
        {"in reply to rcpt to", STAGE_RCPT},
        {"after rcpt to", STAGE_RCPT},
        {"after pipelined rcpt", STAGE_RCPT},
        {"in reply to mail from", STAGE_MAIL},
        {"after mail from", STAGE_MAIL},
        {"after pipelined mail", STAGE_MAIL},
        {"in reply to ehlo", STAGE_EHLO},
        {"in reply to helo", STAGE_EHLO},
        {"after ehlo", STAGE_EHLO},
        {"after helo", STAGE_EHLO},
        {"after initial connection", STAGE_GREETING},
        {"refused to talk to me", STAGE_GREETING},
        {"while performing the helo", STAGE_EHLO},
    };
    for (size_t i = 0; i < countof(rows); i++)
        if (contains(reply, slice_of(rows[i].words)))
            return rows[i].stage;
    return STAGE_BROKEN;
}

/* A rule that is for some stages fits because it was one of them: the likeliest. */
static enum stage stage_of_rule(const struct rule *rule)
{
    static const enum stage likely[] = {STAGE_RCPT,     STAGE_BODY, STAGE_DATA,     STAGE_MAIL,
                                        STAGE_GREETING, STAGE_EHLO, STAGE_STARTTLS, STAGE_AUTH};
    for (size_t i = 0; rule && rule->stages && i < countof(likely); i++)
        if (rule->stages & 1u << likely[i])
            return likely[i];
    return STAGE_RCPT;
}

/* ---- who said it ---- */

static bool is_host_byte(char c) { return ascii_is_alnum(c) || c == '-' || c == '.'; }

/* The first host in the reply that a shipped ISP's suffix knows: "- gsmtp" says less than support.google.com. */
static const struct rule_isp *isp_named(const struct rules *rules, struct slice reply)
{
    for (size_t i = 0; i < reply.n;) {
        size_t n = 0;
        bool dots = false;
        for (; i + n < reply.n && is_host_byte(reply.p[i + n]); n++)
            dots |= reply.p[i + n] == '.';
        const struct rule_isp *isp =
            dots && n <= LIMIT_DOMAIN ? rule_isp_of(rules, (struct slice){reply.p + i, n}) : NULL;
        if (isp)
            return isp;
        i += n + 1;
    }
    return NULL;
}

/* What an ISP says of a dead mailbox in words that others use for anything ("unknown error") is no proof without its
 * name; that it means something else by what others say of dead mailboxes ("mailbox unavailable") is reason enough to
 * doubt, unless an enhanced status says it too. */
static const struct rule *find_anywhere(const struct rule_reader *reader, struct classified *c, enum stage stage)
{
    const struct rules *rules = reader->rules;
    const struct rule *rule = rule_find(reader, slice_of(c->isp), SLICE(""), stage, &c->wording);
    if (c->isp[0] || (rule && (rule->kind != BOUNCE_KIND_HARD || c->wording.status[0])))
        return rule;
    for (unsigned i = 0; i < rules->shipped_count; i++) {
        struct slice name = slice_of(rules->shipped[i].name);
        const struct rule *own = rule_find(reader, name, SLICE(""), stage, &c->wording);
        if (own && own != rule && own->text_count && own->kind != BOUNCE_KIND_HARD) {
            slice_copy(c->isp, sizeof c->isp, name);
            return own;
        }
    }
    return rule;
}

/* ---- the verdict ---- */

static uint16_t code_of(const struct wording *w)
{
    unsigned class_, subject, detail;
    if (w->code)
        return w->code;
    if (wording_status(w->status, &class_, &subject, &detail))
        return class_ == 2 ? 250 : class_ == 4 ? 450 : 550;
    return wording_hint(wording_text(w, false)) == WORDING_LATER ? 450 : 550;
}

/* As the parser would have reported it: lines joined by " / ", of which the wording has kept where the last begins. */
static void put_reply(struct outcome *outcome, const struct wording *w)
{
    size_t n = 0;
    if (w->last) {
        n = slice_copy(outcome->reply, sizeof outcome->reply, (struct slice){w->text, w->last - 1});
        n += slice_copy(outcome->reply + n, sizeof outcome->reply - n, SLICE(" / "));
    }
    slice_copy(outcome->reply + n, sizeof outcome->reply - n, (struct slice){w->text + w->last, w->n - w->last});
}

void classify_reply(const struct rule_reader *reader, const struct classify_question *question,
                    struct classified *classified)
{
    struct classified *c = classified;
    struct outcome outcome = {.happening = HAPPENING_REPLY};
    struct slice reply = question->reply;
    if (reply.n > LIMIT_REPLY)
        reply.n = LIMIT_REPLY;
    c->isp[0] = 0;
    c->named = 0;
    wording_scan(&c->wording, reply);
    c->is_reply = c->wording.code || c->wording.status[0] || c->wording.n;
    c->stage = question->stage ? question->stage : stage_named(reply);
    bool named = question->isp.n || question->mx.n, known = reader && reader->rules;
    if (question->isp.n) {
        slice_copy(c->isp, sizeof c->isp, question->isp);
    } else if (known) {
        const struct rule_isp *isp = named ? rule_isp_of(reader->rules, question->mx) : isp_named(reader->rules, reply);
        slice_copy(c->isp, sizeof c->isp, slice_of(isp ? isp->name : ""));
    }
    outcome.code = c->wording.code = c->is_reply ? code_of(&c->wording) : 0;
    slice_copy(outcome.status, sizeof outcome.status, slice_of(c->wording.status));
    slice_copy(outcome.mx, sizeof outcome.mx, question->mx);
    put_reply(&outcome, &c->wording);
    if (known && outcome.code >= 400 && (!c->stage || !named)) {
        const struct rule *rule = named ? rule_find(reader, slice_of(c->isp), question->mx, c->stage, &c->wording)
                                        : find_anywhere(reader, c, c->stage);
        if (!c->stage)
            c->stage = stage_of_rule(rule);
    }
    if (!c->stage)
        c->stage = outcome.code < 400 ? STAGE_BODY : STAGE_RCPT;
    outcome.stage = c->stage;
    outcome.body_left = c->stage == STAGE_BODY;
    c->verdict = verdict_of(reader, slice_of(c->isp), &outcome);
    c->named = wording_retry_after(wording_text(&c->wording, false));
}
