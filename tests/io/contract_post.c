/* Values between shards: in order, once, never more than the ring holds, and a sleeper wakes. */
#include "contract.h"

#include <stdatomic.h>

enum { SHARDS = 4 };

struct inbox {
    struct stage *stage; /* NULL: another thread's; nobody checks when it runs */
    struct io *io;
    unsigned count;
    uint32_t last_kind;
    bool echo;
};

static void fill(struct io_post *post, uint32_t kind)
{
    post->kind = kind;
    post->size = kind % (IO_POST_BYTES + 1);
    for (uint32_t i = 0; i < post->size; i++)
        post->bytes[i] = pattern_at(kind + i);
}

static bool is_filled(const struct io_post *post)
{
    for (uint32_t i = 0; i < post->size; i++)
        if (post->bytes[i] != pattern_at(post->kind + i))
            return false;
    return post->size == post->kind % (IO_POST_BYTES + 1);
}

static void on_own_post(void *context, unsigned from, const struct io_post *post)
{
    struct inbox *inbox = context;
    stage_enter(inbox->stage);
    assert_int_equal(from, 0);
    assert_true(is_filled(post));
    assert_int_equal(post->kind, inbox->last_kind + 1);
    inbox->last_kind = post->kind;
    inbox->count++;
    if (inbox->echo) {
        struct io_post next;
        fill(&next, post->kind + 1);
        assert_true(io_post(inbox->io, 0, &next));
    }
    stage_leave(inbox->stage);
}

static void a_shard_posts_to_itself_in_order(void **state)
{
    struct stage *stage = *state;
    struct inbox inbox = {.stage = stage, .io = stage->io};
    struct io_post post;
    io_on_post(stage->io, on_own_post, &inbox);
    for (uint32_t kind = 1; kind <= 500; kind++) {
        fill(&post, kind);
        assert_true(io_post(stage->io, 0, &post));
    }
    assert_int_equal(inbox.count, 0);
    while (inbox.count < 500) /* does not wait, whatever the limit */
        stage_turn(stage, NSEC_NEVER);
    assert_int_equal(inbox.count, 500);
    assert_int_equal(stage_turn(stage, 0), 0);
}

static void a_full_ring_refuses_and_loses_nothing(void **state)
{
    struct stage *stage = *state;
    struct inbox inbox = {.stage = stage, .io = stage->io};
    struct io_post post;
    uint32_t kind = 0;
    io_on_post(stage->io, on_own_post, &inbox);
    for (int round = 1; round <= 5; round++) {
        for (unsigned i = 0; i < IO_POST_RING; i++) {
            fill(&post, ++kind);
            assert_true(io_post(stage->io, 0, &post));
        }
        fill(&post, kind + 1);
        assert_false(io_post(stage->io, 0, &post));
        assert_false(io_post(stage->io, 0, &post));
        while (inbox.count < kind)
            stage_turn(stage, NSEC_NEVER);
        assert_int_equal(inbox.count, kind);
    }
}

static void a_post_to_oneself_from_a_post_lets_the_turn_end(void **state)
{
    struct stage *stage = *state;
    struct inbox inbox = {.stage = stage, .io = stage->io, .echo = true};
    struct io_post post;
    io_on_post(stage->io, on_own_post, &inbox);
    fill(&post, 1);
    assert_true(io_post(stage->io, 0, &post));
    for (unsigned i = 1; i <= 5; i++) {
        assert_int_equal(stage_turn(stage, NSEC_NEVER), 1);
        assert_int_equal(inbox.count, i);
    }
    inbox.echo = false;
    stage_turn(stage, NSEC_NEVER);
}

/* A crowd: every shard sends `volume` numbered posts to every other and to itself, going on with a timer when a ring
 * is full; each checks what it gets. What it counts is read by the test, so it is atomic. */
struct member {
    struct io *io;
    struct io_timer again;
    unsigned shard;
    uint32_t volume;
    uint32_t next[SHARDS], seen[SHARDS];
    atomic_uint received, wrong, refused;
};

static void go_on(struct member *member)
{
    bool more = false;
    for (unsigned to = 0; to < SHARDS; to++) {
        struct io_post post;
        for (fill(&post, member->next[to] + 1); member->next[to] < member->volume; fill(&post, member->next[to] + 1)) {
            if (!io_post(member->io, to, &post)) {
                atomic_fetch_add(&member->refused, 1);
                more = true;
                break;
            }
            member->next[to]++;
        }
    }
    if (more)
        io_timer_set(member->io, &member->again, io_now(member->io) + 50 * NSEC_PER_US);
}

static void on_again(struct io_timer *timer) { go_on(container_of(timer, struct member, again)); }

static void on_member_post(void *context, unsigned from, const struct io_post *post)
{
    struct member *member = context;
    if (from >= SHARDS || post->kind != member->seen[from] + 1 || !is_filled(post))
        atomic_fetch_add(&member->wrong, 1);
    else
        member->seen[from]++;
    atomic_fetch_add(&member->received, 1);
}

static void join_crowd(struct io *io, void *context)
{
    struct member *member = context;
    member->io = io;
    member->again.fire = on_again;
    io_on_post(io, on_member_post, member);
    io_timer_set(io, &member->again, io_now(io));
}

static bool crowd_is_through(void *context)
{
    struct member *members = context;
    for (unsigned i = 0; i < SHARDS; i++)
        if (atomic_load(&members[i].received) < SHARDS * members[i].volume)
            return false;
    return true;
}

static void all_shards_post_to_all_in_order(void **state)
{
    struct stage *stage = *state;
    struct member *members = test_calloc(SHARDS, sizeof *members);
    unsigned refused = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        members[i].shard = i;
        members[i].volume = 5 * IO_POST_RING;
    }
    join_crowd(stage->io, &members[0]);
    for (unsigned i = 1; i < SHARDS; i++)
        backend_start(stage->backend, i, join_crowd, &members[i]);
    stage_until(stage, crowd_is_through, members);
    for (unsigned i = 1; i < SHARDS; i++)
        backend_stop(stage->backend, i);
    for (unsigned i = 0; i < SHARDS; i++) {
        assert_int_equal(atomic_load(&members[i].received), SHARDS * members[i].volume);
        assert_int_equal(atomic_load(&members[i].wrong), 0);
        refused += atomic_load(&members[i].refused);
    }
    assert_true(refused > 0); /* the bound was met */
    io_timer_clear(stage->io, &members[0].again);
    test_free(members);
}

/* Two shards that sleep without a limit and are woken by nothing but the other's post: one wake-up lost, and the ball
 * lies still. */
struct player {
    struct io *io;
    unsigned other;
    uint32_t last;
    atomic_uint hits;
};

static void on_ball(void *context, unsigned from, const struct io_post *post)
{
    struct player *player = context;
    struct io_post back = {.kind = post->kind + 1};
    (void)from;
    atomic_fetch_add(&player->hits, 1);
    if (post->kind < player->last && !io_post(player->io, player->other, &back))
        atomic_store(&player->hits, 1u << 31);
}

static void join_game(struct io *io, void *context)
{
    struct player *player = context;
    player->io = io;
    io_on_post(io, on_ball, player);
}

static bool game_is_over(void *context)
{
    struct player *players = context;
    return atomic_load(&players[0].hits) + atomic_load(&players[1].hits) >= players[0].last;
}

static void a_sleeper_is_woken_every_time(void **state)
{
    struct stage *stage = *state;
    struct player players[2] = {{.other = 2, .last = 10000}, {.other = 1, .last = 10000}};
    struct io_post ball = {.kind = 1};
    backend_start(stage->backend, 1, join_game, &players[0]);
    backend_start(stage->backend, 2, join_game, &players[1]);
    assert_true(io_post(stage->io, 1, &ball));
    stage_until(stage, game_is_over, players);
    backend_stop(stage->backend, 1);
    backend_stop(stage->backend, 2);
    assert_int_equal(atomic_load(&players[0].hits), 5000);
    assert_int_equal(atomic_load(&players[1].hits), 5000);
}

static void a_post_waits_for_a_shard_that_is_not_open_yet(void **state)
{
    struct stage *stage = *state;
    struct player player = {.other = 0, .last = 1};
    struct io_post ball = {.kind = 1};
    assert_true(io_post(stage->io, 3, &ball));
    stage_turn(stage, 0);
    backend_start(stage->backend, 3, join_game, &player);
    for (int i = 0; i < 10000 && !atomic_load(&player.hits); i++)
        stage_turn(stage, io_now(stage->io) + NSEC_PER_MS);
    backend_stop(stage->backend, 3);
    assert_int_equal(atomic_load(&player.hits), 1);
}

const struct CMUnitTest contract_post[CONTRACT_TESTS_MAX] = {
    cmocka_unit_test(a_shard_posts_to_itself_in_order),
    cmocka_unit_test(a_full_ring_refuses_and_loses_nothing),
    cmocka_unit_test(a_post_to_oneself_from_a_post_lets_the_turn_end),
    cmocka_unit_test(all_shards_post_to_all_in_order),
    cmocka_unit_test(a_sleeper_is_woken_every_time),
    cmocka_unit_test(a_post_waits_for_a_shard_that_is_not_open_yet),
};
