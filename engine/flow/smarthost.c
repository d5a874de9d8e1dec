/* What a relay says of us goes to its lanes, and to the whole engine when it does not know us: never to recipients. */
#include "flow/shard.h"
#include "proto/policy/relay.h"

static void wake_lanes(struct shard *shard, unsigned relay)
{
    for (struct backlog *backlog = shard->lanes.backlogs; backlog; backlog = backlog->next)
        if (backlog->lane_count && backlog->lanes[0]->relay == (int)relay)
            carry_mark(shard, backlog);
}

/* What is known in the engine becomes known to the lanes of this shard. */
static bool look(struct shard *shard, unsigned relay)
{
    bool stopped = relays_stopped(shard->relays, relay);
    if (shard->lanes.stopped[relay] && !stopped)
        wake_lanes(shard, relay);
    shard->lanes.stopped[relay] = stopped;
    return stopped;
}

static void refused(struct shard *shard, const struct session *session, const struct outcome *outcome)
{
    unsigned relay = (unsigned)session->site->relay;
    relays_refused(shard->relays, relay, session->signed_in, io_now(shard->io),
                   outcome->reply[0] ? outcome->reply : happening_name(outcome->happening));
    (void)look(shard, relay);
}

/* The quota is the account's, whichever of our addresses asks; a rate may be the address's. */
static void slow_down(struct shard *shard, struct lane *lane, enum relay_word word)
{
    nsec now = io_now(shard->io);
    if (word == RELAY_WORD_SLOW) {
        carry_wake_at(shard, lane, lane_slow_down(lane, LANE_SLOW, now));
        return;
    }
    for (struct backlog *backlog = shard->lanes.backlogs; backlog; backlog = backlog->next)
        for (unsigned i = 0; i < backlog->lane_count; i++)
            if (backlog->lanes[i]->relay == lane->relay)
                carry_wake_at(shard, backlog->lanes[i], lane_slow_down(backlog->lanes[i], LANE_QUOTA, now));
}

/* True: what was said is not about the message. */
static bool take_word(struct shard *shard, struct session *session, const struct outcome *outcome)
{
    enum relay_word word = relay_word_of(outcome);
    switch (word) {
    case RELAY_WORD_STOP:
        refused(shard, session, outcome);
        break;
    case RELAY_WORD_SLOW:
    case RELAY_WORD_QUOTA:
        slow_down(shard, session->owner, word);
        break;
    case RELAY_WORD_FEWER:
        session->one_too_many = true;
        break;
    default:
        return false;
    }
    session->scolded = true;
    return true;
}

bool carry_relay_objects(struct shard *shard, struct session *session, const struct outcome *outcome)
{
    if (session->site->relay < 0)
        return false;
    if (take_word(shard, session, outcome))
        return true;
    if (outcome->happening == HAPPENING_REPLY) { /* so it lets us send */
        relays_accepted(shard->relays, (unsigned)session->site->relay, session->signed_in);
        (void)look(shard, (unsigned)session->site->relay);
    }
    return false;
}

const struct client_credentials *carry_relay_credentials(struct shard *shard, struct session *session)
{
    int relay = session->site->relay;
    if (relay < 0 || shard->config->relays[relay].auth == CONFIG_AUTH_NONE)
        return NULL;
    session->auth = relay_sign_in(&shard->relay_table, shard->relays, (unsigned)relay);
    session->signed_in = session->auth->version;
    return &session->auth->credentials;
}

void carry_relay_signed_in(struct session *session)
{
    if (session->auth)
        relay_signed_in(session->auth);
    session->auth = NULL;
}

void carry_relay_ready(struct shard *shard, struct session *session)
{
    int relay = session->site->relay;
    carry_relay_signed_in(session);
    /* Without AUTH nothing is said of us before the first MAIL. */
    if (relay < 0 || shard->config->relays[relay].auth == CONFIG_AUTH_NONE)
        return;
    relays_accepted(shard->relays, (unsigned)relay, session->signed_in);
    (void)look(shard, (unsigned)relay);
}

bool carry_relay_closed(struct shard *shard, struct session *session, const struct outcome *why)
{
    int relay = session->site->relay;
    carry_relay_signed_in(session);
    if (relay < 0)
        return false;
    if (!session->ready)
        (void)take_word(shard, session, why);
    if (session->probes)
        relays_probed(shard->relays, (unsigned)relay, io_now(shard->io));
    return session->scolded && !session->one_too_many;
}

bool carry_relay_may(struct shard *shard, const struct site *site)
{
    return site->relay < 0 || !look(shard, (unsigned)site->relay);
}

bool carry_relay_probes(struct shard *shard, const struct session *session)
{
    return session->probes && !session->messages && lane_may_probe(&shard->lanes, session->owner, io_now(shard->io));
}

/* ---- probes ---- */

static bool any_site(void *context, struct lane *lane, struct site *site, unsigned waiting)
{
    (void)context, (void)lane, (void)site;
    return waiting > 0;
}

/* A lane of the relay for which somebody waits, and which lacks nothing but the relay's consent. */
static struct lane *lane_to_probe(struct shard *shard, unsigned relay)
{
    for (struct backlog *backlog = shard->lanes.backlogs; backlog; backlog = backlog->next)
        for (unsigned i = 0; i < backlog->lane_count; i++) {
            struct lane *lane = backlog->lanes[i];
            if (lane->relay == (int)relay && lane_waited_for(lane) && lane->open < lane->allowed &&
                lane_may_probe(&shard->lanes, lane, io_now(shard->io)))
                return lane;
        }
    return NULL;
}

void carry_probe_relays(struct shard *shard)
{
    for (unsigned i = 0; i < shard->config->relay_count; i++) {
        struct lane *lane = look(shard, i) && carry_may_start(shard) ? lane_to_probe(shard, i) : NULL;
        struct site *site = lane ? lane_site(lane, any_site, NULL) : NULL;
        if (!site || relays_probe(shard->relays, i, io_now(shard->io)) != RELAY_PROBE)
            continue;
        if (!carry_open_session(shard, lane, site, true))
            relays_probed(shard->relays, i, io_now(shard->io));
    }
}
