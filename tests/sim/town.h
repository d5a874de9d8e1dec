/* town.h - an engine, its Redis and the world's mailbox providers on one virtual clock: production objects all the way
 * from shard.c to the RESP that Redis reads, with nothing between them and a crash but Redis' memory.
 *
 * A town is made, populated (ISPs, campaigns), run, and judged. Judging asks every oracle of design.md; each says in
 * words what it found. */
#ifndef TESTS_SIM_TOWN_H
#define TESTS_SIM_TOWN_H

#include "fake_redis.h"
#include "judge.h"
#include "sim_engine.h"
#include "sim_mx.h"
#include "weather.h"

enum { TOWN_ENGINES = 4, TOWN_SOURCES = 4, TOWN_CAMPAIGNS = 32, TOWN_PORT = 25 };

struct town_campaign {
    char id[32];
    uint64_t pushed;
};

struct town {
    struct sim_world *world;
    struct sim_mail *mail;
    struct sim_host *redis_host, *engine_host; /* of the first engine */
    struct fake_redis *redis;
    struct io *redis_io;
    struct sim_engine *engine;   /* the first */
    const struct config *config; /* its */
    struct town_engine {
        struct sim_host *host;
        struct sim_engine *engine;
        unsigned of; /* the engine whose sources it has: itself, or the one that it stands beside */
    } engines[TOWN_ENGINES];
    unsigned engine_count;
    uint64_t crashes;
    uint64_t wall_slack_ms; /* how far its wall clock was moved, to and fro, so far */
    uint64_t open_sessions; /* at crashes, when one was stopped, cut off or asked to end, added up */
    struct town_campaign campaigns[TOWN_CAMPAIGNS];
    unsigned campaign_count;
    uint64_t seed;
    struct {
        uint64_t count, of_a, of_b; /* letters; that say "edition-A" and "edition-B" */
        char fault[4096];           /* of the first that is not as it should be */
    } letters;                      /* of a town that signs */
};

/* `settings`: lines of configuration besides what every town has (pool "p" of TOWN_SOURCES sources s0..s3, unless they
 * have a pool p themselves). */
struct town *town_new(uint64_t seed, unsigned shards, const char *settings);
/* The same, and all that it sends is signed twice, with RSA and with Ed25519. */
struct town *town_new_signing(uint64_t seed, unsigned shards, const char *settings);
/* With several engines, each with TOWN_SOURCES sources of its own in its pool "p": "town" has s0..s3, "town1" s4..s7.
 * Settings that name an `engine` name all of them so. */
struct town *town_new_shared(uint64_t seed, unsigned engines, unsigned shards, const char *settings);
/* One more, not started yet: another id on the first one's host, with the first one's sources. Such is a new binary. */
void town_add_beside(struct town *town, unsigned shards, const char *settings);
void town_free(struct town *town);

/* The (first) engine starts, dies between two turns, or is asked to end (town_up is false once it has). */
void town_start(struct town *town);
void town_crash(struct town *town);
void town_finish(struct town *town); /* all that run */
/* The same of one of several. */
void town_start_one(struct town *town, unsigned engine);
void town_crash_one(struct town *town, unsigned engine);
void town_finish_one(struct town *town, unsigned engine);
bool town_runs(const struct town *town, unsigned engine);
/* It is stopped, and goes on so much later; it is cut off from Redis for so long. */
void town_freeze(struct town *town, unsigned engine, nsec duration);
void town_cut_off(struct town *town, unsigned engine, nsec duration);
/* A counter over all engines. */
uint64_t town_metric(const struct town *town, enum metric metric);

/* SIGHUP with other settings: shard 0 takes them now, each further one `stagger` after the one before. */
void town_reload(struct town *town, const char *settings, nsec stagger);
void town_reload_one(struct town *town, unsigned engine, const char *settings, nsec stagger);

/* Redis dies; starts again with all it knew. */
void town_redis_stop(struct town *town);
void town_redis_start(struct town *town);

/* A campaign with what it needs; `fields` are further "name value" words for HSET, or "". */
void town_campaign(struct town *town, const char *id, const char *fields);
/* Its hash alone, without telling any engine of it. */
void town_write(struct town *town, const char *id, const char *fields);
/* Pushes entries made by `format` with their number: "r%llu@big.example". */
void town_push(struct town *town, const char *id, const char *format, uint64_t from, uint64_t count);
void town_push_entry(struct town *town, const char *id, const char *entry);
void town_set(struct town *town, const char *id, const char *field, const char *value);
/* The campaign's phase as Redis has it; "" for none. Borrowed until the next call. */
const char *town_phase(struct town *town, const char *id);

/* Runs until every campaign is done or cancelled (or waits for people only), or `limit` has passed: false. */
must_use bool town_drain(struct town *town, nsec limit);
void town_run(struct town *town, nsec duration);

/* ---- oracles; each fails the test with a sentence ---- */

/* What became of a campaign, by its event stream. */
struct town_account {
    uint64_t events[EVENT_TYPE_COUNT];
    uint64_t finals, in_doubt_open; /* seqs with a final event; seqs that are held without one */
    uint64_t copies, doubled;       /* accepted copies; seqs with more than one */
};
/* One final event per seq (or held); copies <= 1 + in_doubt; delivered has a copy, bounced has none unless in doubt;
 * attempts and retry times in order; totals equal the stream; nothing is left in Redis that should not be. */
struct town_account town_judge(struct town *town, const char *id);
/* At any moment, also while engines run or are dead: every recipient that was taken is in one place exactly: in one
 * lease and not ended there, parked, due for a retry, held, or it has its final event. */
void town_judge_places(struct town *town, const char *id);
/* After town_finish: no descriptor, timer, attempt, lease or message is left in any shard. To be called before it. */
void town_judge_empty(struct town *town);
/* Every lane kept its rate, burst and connections, in every interval, every session its `in_flight`; nothing came in
 * plain text where the ISP demands TLS; the exchangers saw no breach of the protocol. */
void town_judge_limits(struct town *town);
/* A story's end: all is done within `limit`, this campaign is as it should be, every limit was kept, the engine ends, and
 * nothing is left of it. */
struct town_account town_end(struct town *town, const char *id, nsec limit);
/* In a town that signs: each letter that was accepted verifies, was signed not long before and not in the future, has
 * each header once, and is of one edition. */
void town_judge_letters(struct town *town);

/* ---- the suppression list (town_list.c) ---- */

/* Puts an address (in lower case) on the list; the value of one as it was given, "" : it is not there. */
void town_suppress(struct town *town, const char *key, const char *value);
void town_suppressed(struct town *town, const char *address, char *value, size_t cap);
/* Nothing was accepted for the address, in whatever letters, by a message that began more than a minute after `since`
 * (sim_now). */
void town_judge_suppressed(struct town *town, const char *address, nsec since);
/* Whoever bounced hard as bad-mailbox is on the list, and nobody whom a block kept out. Returns how many did. */
unsigned town_judge_listed(struct town *town, const char *id);

/* ---- reach: what the suite has seen at least once ---- */
struct town_reach {
    uint64_t events[EVENT_TYPE_COUNT];
    uint64_t faults[SIM_FAULT_COUNT];
    uint64_t traits[WEATHER_TRAIT_COUNT];
    uint64_t abilities[WEATHER_ABILITY_COUNT];
    uint64_t fenced, gone, adopted, parked, withdrawn, crashes;
    uint64_t states_seen; /* of sessions' clients, by bit */
    uint64_t tls_full, tls_resumed, tls_failed, accepted_tls, accepted_chunked, probes, logins, logins_refused;
};
void town_reach_add(struct town_reach *reach, struct town *town);

#endif
