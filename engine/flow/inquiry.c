/* inquiry.c - keeps together what is asked of a domain, so that its mail never goes by half of the answers. */
#include "flow/inquiry.h"

enum { REFRESHING_MOST = 64 };

static const struct slice record_label = {"_mta-sts.", 9}, host_label = {"mta-sts.", 8};

static void give_back(struct inquiry *inquiry)
{
    if (inquiry->told && !inquiry->refreshing)
        pool_give(&inquiry->all->pool, inquiry);
}

static void one_is_known(struct inquiry *inquiry)
{
    struct inquiries *all = inquiry->all;
    if (--inquiry->open > 0)
        return;
    all->done(all->context, inquiry);
    inquiry->told = true;
    give_back(inquiry);
}

/* ---- MX ---- */

static void mx_answered(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct inquiry *inquiry = container_of(query, struct inquiry, mx_query);
    inquiry->status = answer->status;
    inquiry->ttl_s = answer->ttl_s;
    inquiry->secure = answer->secure;
    inquiry->mx_count = answer->mx_count;
    for (unsigned i = 0; i < answer->mx_count; i++) {
        memcpy(inquiry->hosts[i], answer->mx[i].host, sizeof inquiry->hosts[i]);
        inquiry->mx[i] = (struct mx_record){answer->mx[i].preference, slice_of(inquiry->hosts[i])};
    }
    one_is_known(inquiry);
}

/* ---- the policy ---- */

static enum sts_advice look(struct inquiry *inquiry)
{
    struct inquiries *all = inquiry->all;
    return sts_look(all->sts, slice_of(inquiry->domain), slice_of(inquiry->id), io_wall(all->io), &inquiry->policy);
}

static void policy_fetched(struct sts_fetch *fetch)
{
    struct inquiry *inquiry = container_of(fetch, struct inquiry, fetch);
    if (inquiry->refreshing) {
        inquiry->refreshing = false;
        inquiry->all->refreshing--;
        give_back(inquiry);
        return;
    }
    (void)look(inquiry); /* whatever it says: it was just fetched, or could not be */
    one_is_known(inquiry);
}

static void host_answered(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct inquiry *inquiry = container_of(query, struct inquiry, policy_query);
    metrics_add(inquiry->all->metrics, METRIC_STS_FETCHES, 1);
    inquiry->fetch.done = policy_fetched;
    sts_fetch(inquiry->all->desk, &inquiry->fetch, slice_of(inquiry->domain), slice_of(inquiry->id), answer->addresses,
              answer->address_count);
}

/* "mta-sts.shop.example". False: no such name fits DNS. */
static bool name_below(char name[LIMIT_DOMAIN + 1], struct slice label, const struct inquiry *inquiry)
{
    struct slice domain = slice_of(inquiry->domain);
    if (label.n + domain.n > LIMIT_DOMAIN)
        return false;
    memcpy(name, label.p, label.n);
    slice_copy(name + label.n, LIMIT_DOMAIN + 1 - label.n, domain);
    return true;
}

static void fetch(struct inquiry *inquiry)
{
    char name[LIMIT_DOMAIN + 1];
    bool fits = name_below(name, host_label, inquiry); /* the longer name of the record did */
    sluice_assert(fits);
    inquiry->policy_query.done = host_answered;
    resolver_address_query(inquiry->all->resolver, &inquiry->policy_query, slice_of(name), true, true);
}

static void record_answered(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct inquiry *inquiry = container_of(query, struct inquiry, policy_query);
    struct inquiries *all = inquiry->all;
    inquiry->id[0] = 0;
    if (answer->status == RESOLVER_OK && !answer->records_left_out &&
        !sts_records_read(answer->records, answer->record_count, inquiry->id))
        inquiry->id[0] = 0;
    enum sts_advice advice = look(inquiry);
    if (advice == STS_FETCH) {
        fetch(inquiry);
        return;
    }
    if (advice == STS_REFRESH && all->refreshing < REFRESHING_MOST) {
        inquiry->refreshing = true;
        all->refreshing++;
        fetch(inquiry);
    }
    one_is_known(inquiry);
}

/* ---- beginning ---- */

bool inquiry_begin(struct inquiries *inquiries, struct slice domain, void *owner)
{
    char name[LIMIT_DOMAIN + 1];
    struct inquiry *inquiry = pool_take(&inquiries->pool);
    if (!inquiry)
        return false;
    memset(inquiry, 0, offsetof(struct inquiry, policy));
    memset(&inquiry->mx_query, 0, sizeof inquiry->mx_query);
    memset(&inquiry->policy_query, 0, sizeof inquiry->policy_query);
    memset(&inquiry->fetch, 0, sizeof inquiry->fetch);
    inquiry->all = inquiries;
    inquiry->owner = owner;
    inquiry->told = inquiry->refreshing = false;
    inquiry->policy.mode = STS_NONE;
    slice_copy(inquiry->domain, sizeof inquiry->domain, domain);
    bool asks_policy = inquiries->sts && name_below(name, record_label, inquiry);
    inquiry->open = asks_policy ? 2 : 1;
    inquiry->mx_query.done = mx_answered;
    resolver_mx_query(inquiries->resolver, &inquiry->mx_query, domain);
    if (asks_policy) {
        inquiry->policy_query.done = record_answered;
        resolver_txt_query(inquiries->resolver, &inquiry->policy_query, slice_of(name));
    }
    return true;
}

bool inquiries_open(struct inquiries *inquiries, struct arena *arena, unsigned most)
{
    return pool_open(&inquiries->pool, arena, sizeof(struct inquiry), most + REFRESHING_MOST);
}
