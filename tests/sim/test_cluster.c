/* A cluster whose slots move, whose servers die and are behind the times: what is asked of one key reaches it in its
 * order and, unless a connection broke, once; and the store's account is right all the same. */
#include "store/link.h"
#include "store_story.h"

enum { NODES = 4, MASTERS = 3, LISTS = 5, ASKED = 2500, REPLICA = 3, REPLICATED = 0 };

struct scene;

struct asked {
    struct scene *scene;
    unsigned list, number;
    bool pushes;
};

struct scene {
    struct story *story;
    struct fake_cluster *cluster;
    struct io *ios[NODES];
    struct sim_host *hosts[NODES];
    struct link *link;
    struct asked asked[ASKED];
    unsigned asked_count, answered, pushed[LISTS], heard[LISTS];
    unsigned errors;
    nsec next_at;
    bool cuts, fails_over; /* happen, too */
    bool promoted;
    uint64_t moves;
};

static uint64_t draw(struct scene *scene, uint64_t below) { return story_draw(scene->story, below); }

/* ---- the scene ---- */

static void serve(struct scene *scene, unsigned node)
{
    scene->ios[node] = story_serve(scene->hosts[node], fake_cluster_node(scene->cluster, node),
                                   fake_cluster_address(scene->cluster, node));
}

static void dies(struct scene *scene, unsigned node)
{
    sim_crash(scene->ios[node]);
    scene->ios[node] = NULL;
    fake_redis_crashed(fake_cluster_node(scene->cluster, node));
}

static struct scene *scene_new(uint64_t seed, bool again)
{
    struct scene *scene = calloc(1, sizeof *scene);
    scene->story = story_new(seed);
    scene->story->context = scene;
    scene->cluster = fake_cluster_new(NODES, MASTERS, again);
    for (unsigned i = 0; i < NODES; i++) {
        char name[16];
        snprintf(name, sizeof name, "node%u", i);
        scene->hosts[i] = sim_host_new(scene->story->world, name);
        sim_host_address(scene->hosts[i], fake_cluster_address(scene->cluster, i));
        serve(scene, i);
    }
    return scene;
}

static void scene_free(struct scene *scene)
{
    struct link *link = scene->link;
    if (link) {
        sim_world_free(scene->story->world);
        link_close(link);
        free(scene->story);
    } else {
        story_free(scene->story);
    }
    fake_cluster_free(scene->cluster);
    free(scene);
}

static unsigned slot_of_list(unsigned list)
{
    char tag[8];
    snprintf(tag, sizeof tag, "l%u", list);
    return slot_of(slice_of(tag));
}

/* ---- a link, and lists that grow ---- */

static void on_answer(void *context, void *owner, const struct resp_node *nodes, bool repeated)
{
    struct scene *scene = context;
    const struct asked *asked = owner;
    (void)repeated;
    assert_non_null(nodes);
    scene->errors += nodes->type == RESP_ERROR;
    if (asked->pushes && asked->number != scene->heard[asked->list]++)
        fail_msg("seed %llu: list %u: the answer to %u comes too soon", (unsigned long long)scene->story->seed,
                 asked->list, asked->number);
    scene->answered++;
}

static void open_link(struct scene *scene)
{
    char error[256];
    struct link_config config = {.redis = {.answer = on_answer, .context = scene}};
    assert_true(url_parse(&config.redis.url, "cluster://10.0.1.9:6379,10.0.1.2:6379", error, sizeof error));
    scene->link = link_open(scene->story->io, &config, error, sizeof error);
    assert_non_null(scene->link);
}

static struct slice key_of(char *text, size_t cap, unsigned list, const char *name)
{
    return (struct slice){text, (size_t)snprintf(text, cap, "{l%u}:%s", list, name)};
}

static void ask(struct scene *scene, unsigned list, bool pushes)
{
    struct asked *asked = &scene->asked[scene->asked_count++];
    struct resp_command command = {0};
    char key[32];
    *asked = (struct asked){.scene = scene, .list = list, .pushes = pushes};
    resp_begin(&command);
    resp_text(&command, pushes ? SLICE("RPUSH") : SLICE("EXISTS"));
    resp_text(&command, key_of(key, sizeof key, list, "list"));
    if (pushes) {
        asked->number = scene->pushed[list]++;
        resp_unsigned(&command, asked->number);
    } else {
        resp_text(&command, key_of(key, sizeof key, list, "a"));
        resp_text(&command, key_of(key, sizeof key, list, "b"));
    }
    link_ask(scene->link, slot_of_list(list), &command, asked, 0);
    resp_command_free(&command);
}

static void turn_for(struct scene *scene, nsec duration)
{
    nsec until = io_now(scene->story->io) + duration;
    while (io_now(scene->story->io) < until) {
        link_flush(scene->link);
        io_turn(scene->story->io, until);
    }
}

static void pass(struct scene *scene, nsec duration)
{
    if (scene->link)
        turn_for(scene, duration);
    else
        story_turn_for(scene->story, duration);
}

/* Its numbers stand in their order; after a break some may stand there again, also in theirs. */
static void judge_list(struct scene *scene, unsigned list, bool once)
{
    unsigned node = fake_cluster_owner(scene->cluster, slot_of_list(list)), next = 0;
    char *reply = fake_redis_do(fake_cluster_node(scene->cluster, node), "LRANGE {l%u}:list 0 -1", list);
    for (const char *at = strchr(reply, '\n'); at && at[1]; at = strchr(strchr(at + 1, '\n') + 1, '\n')) {
        unsigned number = (unsigned)atoi(strchr(at + 1, '\n') + 1);
        if (number > next || (once && number != next))
            fail_msg("seed %llu: list %u: %u stands where %u should", (unsigned long long)scene->story->seed, list,
                     number, next);
        next = number + 1 > next ? number + 1 : next;
    }
    free(reply);
    if (next != scene->pushed[list])
        fail_msg("seed %llu: list %u: %u of %u are there", (unsigned long long)scene->story->seed, list, next,
                 scene->pushed[list]);
}

static void finish(struct scene *scene, bool once)
{
    nsec limit = io_now(scene->story->io) + 600 * NSEC_PER_S;
    while (scene->answered < scene->asked_count) {
        if (io_now(scene->story->io) > limit)
            fail_msg("seed %llu: %u of %u are answered: %s", (unsigned long long)scene->story->seed, scene->answered,
                     scene->asked_count, link_trouble(scene->link));
        turn_for(scene, 100 * NSEC_PER_MS);
    }
    assert_int_equal(scene->errors, 0);
    for (unsigned list = 0; list < LISTS; list++)
        judge_list(scene, list, once);
    turn_for(scene, 10 * NSEC_PER_S);
    assert_string_equal(link_trouble(scene->link), "");
    assert_true(link_connected(scene->link));
    assert_int_equal(link_unanswered(scene->link), 0);
}

/* ---- what happens to a cluster ---- */

static unsigned other_master(struct scene *scene, unsigned slot)
{
    unsigned owner = fake_cluster_owner(scene->cluster, slot), to;
    do
        to = (unsigned)draw(scene, MASTERS);
    while (to == owner);
    return to == REPLICATED && scene->promoted ? (owner == REPLICA ? 1 : REPLICA) : to;
}

/* The replica gets what the master has, and a moment later its place; the master is gone meanwhile. */
static void fail_over(struct scene *scene)
{
    scene->promoted = true;
    dies(scene, REPLICATED);
    pass(scene, (nsec)draw(scene, 2 * NSEC_PER_S));
    fake_cluster_promote(scene->cluster, REPLICATED, REPLICA);
}

static void happens(struct scene *scene, unsigned slot)
{
    struct fake_cluster *cluster = scene->cluster;
    if (io_now(scene->story->io) < scene->next_at)
        return;
    scene->next_at = io_now(scene->story->io) + (nsec)draw(scene, 20 * NSEC_PER_MS);
    if (!fake_cluster_moves(cluster)) {
        if (draw(scene, 3) == 0)
            fake_cluster_move(cluster, slot, other_master(scene, slot));
    } else if (fake_cluster_carry(cluster, (unsigned)draw(scene, 3)) == 0 && draw(scene, 2)) {
        fake_cluster_arrive(cluster);
        scene->moves++;
    }
    if (draw(scene, 6) == 0)
        fake_cluster_gossip(cluster);
    unsigned node = (unsigned)draw(scene, MASTERS);
    if (scene->cuts && draw(scene, 10) == 0 && scene->ios[node])
        fake_redis_cut(fake_cluster_node(cluster, node));
    if (draw(scene, 40) == 0) {
        fake_cluster_down(cluster, true);
        pass(scene, (nsec)draw(scene, 200 * NSEC_PER_MS));
        fake_cluster_down(cluster, false);
    }
    if (!scene->fails_over || scene->promoted)
        return;
    if (fake_cluster_moves(cluster) || draw(scene, 10) == 0)
        fake_cluster_follow(cluster, REPLICATED, REPLICA);
    if (!fake_cluster_moves(cluster) && scene->moves > 5 && fake_cluster_owner(cluster, slot) == REPLICATED)
        fail_over(scene);
}

static void settle(struct scene *scene)
{
    if (fake_cluster_moves(scene->cluster)) {
        fake_cluster_carry(scene->cluster, UINT32_MAX);
        fake_cluster_arrive(scene->cluster);
    }
    fake_cluster_gossip(scene->cluster);
}

/* ---- links ---- */

static void test_order(void **state)
{
    struct fake_cluster_counts reached = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct scene *scene = scene_new(seed, seed & 1);
        scene->cuts = seed > 4;
        for (unsigned list = 0; list < LISTS; list++) {
            unsigned owner = fake_cluster_owner(scene->cluster, slot_of_list(list));
            (void)fake_redis_number(fake_cluster_node(scene->cluster, owner), "RPUSH {l%u}:a x", list);
            (void)fake_redis_number(fake_cluster_node(scene->cluster, owner), "RPUSH {l%u}:b x", list);
        }
        open_link(scene);
        turn_for(scene, 5 * NSEC_PER_S); /* the first host is nobody */
        while (scene->asked_count < ASKED) {
            for (uint64_t n = draw(scene, 12); n && scene->asked_count < ASKED; n--)
                ask(scene, (unsigned)draw(scene, LISTS), draw(scene, 8) != 0);
            turn_for(scene, (nsec)draw(scene, 20 * NSEC_PER_MS));
            happens(scene, slot_of_list((unsigned)draw(scene, LISTS)));
        }
        settle(scene);
        finish(scene, !scene->cuts);
        const struct fake_cluster_counts *counts = fake_cluster_counts(scene->cluster);
        reached.moved += counts->moved;
        reached.ask += counts->ask;
        reached.asking += counts->asking;
        reached.again += counts->again;
        reached.down += counts->down;
        scene_free(scene);
    }
    assert_true(reached.moved > 50 && reached.ask > 50 && reached.asking > 50 && reached.again > 20 &&
                reached.down > 20);
}

/* Two servers send it to each other, for as long as they do not agree. */
static void test_a_circle(void **state)
{
    struct scene *scene = scene_new(20, true);
    unsigned slot = slot_of_list(0), owner = fake_cluster_owner(scene->cluster, slot), other = (owner + 1) % MASTERS;
    (void)state;
    open_link(scene);
    ask(scene, 0, true);
    turn_for(scene, 5 * NSEC_PER_S);
    assert_int_equal(scene->answered, 1);
    fake_cluster_mislead(scene->cluster, owner, slot, other);
    for (unsigned i = 0; i < 10; i++)
        ask(scene, 0, true);
    for (unsigned i = 0; i < 10; i++)
        ask(scene, 1, true);
    uint64_t before = fake_cluster_counts(scene->cluster)->moved;
    turn_for(scene, 20 * NSEC_PER_S);
    uint64_t moved = fake_cluster_counts(scene->cluster)->moved - before;
    if (moved > 20 * 10 * 10)
        fail_msg("%llu times round in 20 s", (unsigned long long)moved);
    assert_int_equal(scene->heard[1], 10); /* nobody else waits for it */
    assert_int_equal(scene->heard[0], 1);
    settle(scene);
    finish(scene, true);
    scene_free(scene);
}

/* ---- the store ---- */

static void happens_to_it(struct story *story) { happens(story->context, slot_of(CAMPAIGN)); }

/* The campaign's slot moves to and fro under its leases, and the server that has it dies, with its last writes. */
static void test_a_campaign_that_moves(void **state)
{
    uint64_t moves = 0, again = 0, promoted = 0;
    (void)state;
    for (uint64_t seed = 31; seed < 37; seed++) {
        struct scene *scene = scene_new(seed, seed & 1);
        struct story *story = scene->story;
        struct fake_redis_faults faults = {.delay = (nsec)draw(scene, 20) * NSEC_PER_MS,
                                           .cut_before_per_million = 5000,
                                           .cut_after_per_million = 5000};
        scene->cuts = seed % 3 == 0;
        scene->fails_over = seed % 3 != 1;
        for (unsigned i = 0; i < NODES && scene->cuts; i++)
            fake_redis_set_faults(fake_cluster_node(scene->cluster, i), &faults);
        story_push(story, fake_cluster_node(scene->cluster, fake_cluster_owner(scene->cluster, slot_of(CAMPAIGN))));
        fake_cluster_follow(scene->cluster, REPLICATED, REPLICA);
        story_open_store(story, "cluster://10.0.1.1,10.0.1.2,10.0.1.3", 3 * NSEC_PER_S);
        story_run(story, happens_to_it);
        settle(scene);
        story->fake = fake_cluster_node(scene->cluster, fake_cluster_owner(scene->cluster, slot_of(CAMPAIGN)));
        story_judge(story);
        story->fake = NULL;
        moves += scene->moves;
        again += fake_cluster_counts(scene->cluster)->again;
        promoted += scene->promoted;
        scene_free(scene);
    }
    assert_true(moves > 20 && again > 20 && promoted > 0);
}

const struct CMUnitTest story_cluster_tests[STORY_TESTS_MAX] = {
    cmocka_unit_test(test_order),
    cmocka_unit_test(test_a_circle),
    cmocka_unit_test(test_a_campaign_that_moves),
};
