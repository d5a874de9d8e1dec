/* What a server can and will is learned by sessions and used by those that follow; both are here, side by side. */
#include "flow/shard.h"

static const nsec remember_for = 7 * 24 * 3600 * NSEC_PER_S;

/* ---- before ---- */

static bool may_chunk(const struct config_limits *limits, const struct host *host)
{
    struct slice name = slice_of(host->name);
    for (unsigned i = 0; i < limits->chunking_count; i++) {
        struct slice suffix = slice_of(limits->chunking[i]);
        if (suffix.p[0] == '.' ? slice_ends_with_nocase(name, suffix) : slice_equal_nocase(name, suffix))
            return true;
    }
    return false;
}

void carry_terms(struct shard *shard, const struct lane *lane, struct session *session, struct session_config *config)
{
    const struct site *site = session->site;
    const struct host *host = session->target.host;
    const struct config_limits *limits = lane->limits;
    nsec now = io_now(shard->io);
    bool implicit = site->relay >= 0 && shard->config->relays[site->relay].implicit_tls;
    config->limits = limits;
    config->pipelining = limits->pipelining && site->no_pipelining_until <= now;
    config->across = limits->across && site->no_across_until <= now;
    config->per_connection = adapt_per_connection(shard, lane, limits->per_connection);
    config->in_flight = may_chunk(limits, host) && site->no_chunking_until <= now ? limits->in_flight : 0;
    config->chunking_proved = site->chunking_until > now;
    config->security = security_of(&shard->security, shard->tls, limits, site, host, host->port, implicit, now);
    config->credentials = carry_relay_credentials(shard, session);
}

/* ---- afterwards ---- */

static bool learn_chunking(struct session *session, nsec until)
{
    if (client_proved_chunking(&session->client))
        session->site->chunking_until = until;
    if (!client_objects_to_chunking(&session->client))
        return false;
    session->site->no_chunking_until = until;
    session->site->chunking_until = 0;
    return true;
}

bool carry_learn(struct shard *shard, struct session *session)
{
    nsec until = io_now(shard->io) + remember_for;
    bool chunks = learn_chunking(session, until);
    if (client_objects_to_pipelining(&session->client))
        session->site->no_pipelining_until = until;
    else if (client_objects_to_across(&session->client))
        session->site->no_across_until = until;
    else
        return chunks;
    return true;
}

enum carry_insecure carry_learn_tls(struct shard *shard, struct session *session, const struct outcome *why)
{
    nsec now = io_now(shard->io);
    bool closing = why->happening == HAPPENING_REPLY && why->code == 421; /* RFC 5321 §3.8: whatever it was asked */
    if (why->stage != STAGE_STARTTLS || closing)
        return CARRY_SECURE;
    if (why->happening == HAPPENING_LOCAL)
        return CARRY_INSECURE_LOCAL;
    if (security_failed(&shard->security, &session->security, now, now + shard->config->tls_broken_for))
        return CARRY_INSECURE_BROKEN;
    sites_unfit(&shard->route.sites, session->site, session->target.host);
    session->site->last_failure = *why;
    return CARRY_INSECURE_UNFIT;
}
