/* A lane that is split over shards is one lane to the ISP: what one shard is told is the owner's to decide, and what
 * that decides holds for all. */
#include "flow/shard.h"

enum { REASON, WORD, SIGN, EFFECT, KINDS };
_Static_assert(SHARD_POST_ADAPT_LAST == SHARD_POST_ADAPT + EFFECT, "the numbers of shard.h");
enum { ANY_SOURCE = 0xffff };

/* Without padding, and with room for the longest name: what is posted has no bytes that nobody wrote. */
struct word_post {
    nsec wait, started;
    uint64_t rate;
    uint32_t messages, connections;
    uint16_t source;
    uint8_t what, factor;
    uint8_t alert, isp_n;
    char isp[LIMIT_ISP_NAME + 2];
};
struct sign_post {
    uint16_t source;
    uint8_t sign, isp_n;
    char isp[LIMIT_ISP_NAME];
};
struct effect_post {
    uint64_t version;
    nsec silent_until;
    uint32_t rate, per_connection, sessions;
    uint16_t source;
    uint8_t percent, one_message;
    uint8_t isp_n;
    char isp[LIMIT_ISP_NAME + 7];
};
_Static_assert(sizeof(struct word_post) <= IO_POST_BYTES && sizeof(struct effect_post) <= IO_POST_BYTES,
               "a post is small");

static uint8_t put_isp(char *to, struct slice isp)
{
    sluice_assert(isp.n <= LIMIT_ISP_NAME);
    memcpy(to, isp.p, isp.n);
    return (uint8_t)isp.n;
}

static uint32_t bounded(uint64_t n) { return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX; }

/* Words come rarely, rings are long, and the ISP repeats itself: one that finds the ring full is lost. */
void adapt_post_word(struct shard *shard, unsigned to, int source, struct slice isp, const struct adapt_word *word)
{
    struct word_post post;
    char reason[IO_POST_BYTES];
    memset(&post, 0, sizeof post);
    post.wait = word->ask.wait;
    post.started = word->started;
    post.rate = word->rate;
    post.messages = word->ask.messages;
    post.connections = word->ask.connections;
    post.source = source < 0 ? (uint16_t)ANY_SOURCE : (uint16_t)source;
    post.what = (uint8_t)word->ask.what;
    post.factor = (uint8_t)word->ask.factor;
    post.alert = word->alert;
    post.isp_n = put_isp(post.isp, isp);
    size_t n = slice_copy(reason, sizeof reason - 1, slice_of(word->rule));
    reason[n++] = 0;
    n += slice_copy(reason + n, sizeof reason - n, slice_of(word->reply));
    (void)shard_post(shard, to, SHARD_POST_ADAPT + REASON, reason, n);
    (void)shard_post(shard, to, SHARD_POST_ADAPT + WORD, &post, sizeof post);
}

void adapt_post_sign(struct shard *shard, const struct lane *lane, enum adapt_sign sign)
{
    struct sign_post post;
    memset(&post, 0, sizeof post);
    post.source = (uint16_t)lane->source;
    post.sign = (uint8_t)sign;
    post.isp_n = put_isp(post.isp, slice_of(lane->own.isp));
    (void)shard_post(shard, adapt_owner(shard, lane), SHARD_POST_ADAPT + SIGN, &post, sizeof post);
}

bool adapt_post_effect(const struct adapt_scope *scope)
{
    struct shard *shard = scope->shard;
    const struct adapt_effect *e = &scope->effect;
    struct effect_post post;
    bool posted = true;
    memset(&post, 0, sizeof post);
    post.version = scope->version;
    post.silent_until = e->silent_until;
    post.rate = bounded(e->rate);
    post.per_connection = e->per_connection;
    post.sessions = e->sessions;
    post.source = (uint16_t)scope->source;
    post.percent = (uint8_t)e->percent;
    post.one_message = e->one_message;
    post.isp_n = put_isp(post.isp, slice_of(scope->isp));
    for (unsigned i = 0; i < shard->shards; i++)
        if (i != shard->index)
            posted &= shard_post(shard, i, SHARD_POST_ADAPT + EFFECT, &post, sizeof post);
    return posted;
}

/* ---- the other end ---- */

static void take_word(struct shard *shard, const struct word_post *post)
{
    const char *reasons = shard->adaptation.reasons;
    struct adapt_word word = {.ask = {.what = post->what,
                                      .wait = post->wait,
                                      .factor = post->factor,
                                      .connections = post->connections,
                                      .messages = post->messages},
                              .started = post->started,
                              .rate = post->rate,
                              .rule = reasons,
                              .reply = reasons + strlen(reasons) + 1,
                              .alert = post->alert};
    struct slice isp = {post->isp, post->isp_n};
    if (post->source == ANY_SOURCE || !isp.n)
        adapt_ask_all(shard, post->source == ANY_SOURCE ? -1 : (int)post->source, isp, &word);
    else
        adapt_ask_absent(shard, post->source, isp, &word);
}

static void take_effect(struct shard *shard, const struct effect_post *post)
{
    struct slice isp = {post->isp, post->isp_n};
    struct adapt_scope *scope = adapt_get(shard, RULE_LANE, post->source, isp, SLICE(""));
    if (!scope || scope->mine || scope->version >= post->version)
        return;
    scope->version = post->version;
    scope->effect = (struct adapt_effect){.silent_until = post->silent_until,
                                          .one_message = post->one_message,
                                          .percent = post->percent,
                                          .sessions = post->sessions,
                                          .rate = post->rate,
                                          .per_connection = post->per_connection};
    adapt_apply_scope(scope);
}

void adapt_post(struct shard *shard, unsigned kind, const void *bytes, size_t n)
{
    struct word_post word;
    struct sign_post sign;
    struct effect_post effect;
    switch (kind - SHARD_POST_ADAPT) {
    case REASON:
        memset(shard->adaptation.reasons, 0, sizeof shard->adaptation.reasons);
        memcpy(shard->adaptation.reasons, bytes, n);
        break;
    case WORD:
        memcpy(&word, bytes, sizeof word);
        take_word(shard, &word);
        break;
    case SIGN:
        memcpy(&sign, bytes, sizeof sign);
        adapt_take_sign(shard, sign.source, (struct slice){sign.isp, sign.isp_n}, sign.sign);
        break;
    default:
        memcpy(&effect, bytes, sizeof effect);
        take_effect(shard, &effect);
    }
}
