/* What signs a message before it is pressed: who signs, what is hashed, where the fields go. Apart from press.c, which
 * renders and keeps what is pressed. */
#include "flow/press_draft.h"

/* The domain of the message's own id is the sender's (message.h). */
static unsigned look_up(const struct press *press, struct slice message_id,
                        const struct sign_identity *signers[DKIM_SIGNATURES_MAX])
{
    const char *at = memrchr(message_id.p, '@', message_id.n);
    sluice_assert(at);
    struct slice domain = {at + 1, (size_t)(message_id.p + message_id.n - at - 2)};
    return sign_keys_for(press->keys, domain, signers);
}

/* Whether the sender is the same for all, and so who signs, is looked at once for an edition. */
unsigned press_draft_signers(const struct press *press, struct edition *edition, const struct pressed *pressed,
                             const struct sign_identity *signers[DKIM_SIGNATURES_MAX])
{
    if (!press->keys || !sign_keys_count(press->keys))
        return 0;
    if (!message_plan_sender(edition->plan).n)
        return look_up(press, pressed->message_id, signers);
    if (edition->keys_version != press->keys_version)
        edition->signer_count = look_up(press, pressed->message_id, edition->signers);
    edition->keys_version = press->keys_version;
    memcpy(signers, edition->signers, sizeof edition->signers);
    return edition->signer_count;
}

/* Where an edition has not been pressed from yet it is not known: then one of its messages is pressed alone. */
bool press_signs(struct press *press, const struct attempt *attempt)
{
    const struct edition *edition = attempt->campaign->edition;
    if (!press->keys || !sign_keys_count(press->keys))
        return false;
    return !message_plan_sender(edition->plan).n ||
           (edition->keys_version == press->keys_version && edition->signer_count > 0);
}

/* Two at a time, for that is faster than one by one (sign/sha_pair.h). */
void press_draft_hash(const struct press *press, struct press_draft *drafts, unsigned count)
{
    struct press_draft *waits = NULL;
    for (unsigned i = 0; i < count; i++) {
        struct press_draft *draft = &drafts[i];
        if (!draft->count)
            continue;
        draft->body = draft->attempt->campaign->edition->body;
        if (waits)
            dkim_body_update_two(&waits->body, waits->pressed->parts[2], &draft->body, draft->pressed->parts[2],
                                 press->pair);
        waits = waits ? NULL : draft;
    }
    if (waits)
        dkim_body_update(&waits->body, waits->pressed->parts[2]);
}

size_t press_draft_fields(struct press *press, struct press_draft *draft, char *to)
{
    struct pressed *pressed = draft->pressed;
    struct dkim_header header;
    uint8_t hash[DKIM_HASH];
    dkim_body_final(&draft->body, hash);
    if (!dkim_header_read(&header, pressed->parts[0]))
        return SIZE_MAX;
    uint64_t now_s = (uint64_t)(pressed->wall / NSEC_PER_S);
    size_t n = 0;
    for (unsigned i = 0; i < draft->count; i++) {
        const struct sign_identity *signer = draft->signers[i];
        struct press_field *field = &press->fields[press->job_count + i];
        struct sign_job *job = &press->jobs[press->job_count + i];
        struct dkim_signing signing = {.domain = signer->domain,
                                       .selector = signer->selector,
                                       .algorithm = sign_key_algorithm(signer->key),
                                       .body_hash = hash,
                                       .signed_s = now_s,
                                       .expires_s =
                                           signer->expire ? now_s + (uint64_t)(signer->expire / NSEC_PER_S) : 0,
                                       .signature_bytes = sign_key_signature_bytes(signer->key)};
        *job = (struct sign_job){.key = signer->key, .signature = field->signature};
        if (!dkim_field_write(&header, &signing, to + n, DKIM_FIELD_MAX, &field->field, job->digest))
            return SIZE_MAX;
        field->name = signer->name;
        n += field->field.n;
    }
    return n;
}

void press_draft_place(struct press *press, struct pressed *pressed, unsigned count, const char *from, size_t n)
{
    char *to = (char *)pressed->parts[0].p - n;
    memcpy(to, from, n);
    for (unsigned i = 0; i < count; i++) {
        struct press_field *field = &press->fields[press->job_count + i];
        field->field.p = to + (field->field.p - from);
        field->pressed = pressed;
    }
    press->job_count += count;
    pressed->parts[0] = (struct slice){to, pressed->parts[0].n + n};
    pressed->size += n;
}

const char *press_draft_sign(struct press *press)
{
    const char *name = NULL;
    if (!press->job_count)
        return NULL;
    press->signatures += press->job_count;
    if (sign_batch(press->signer, press->jobs, press->job_count) == 0) {
        for (unsigned i = 0; i < press->job_count; i++)
            dkim_field_finish(&press->fields[i].field, press->jobs[i].signature,
                              sign_key_signature_bytes(press->jobs[i].key));
        return NULL;
    }
    for (unsigned i = 0; i < press->job_count; i++) {
        struct press_field *field = &press->fields[i];
        field->pressed->failed |= press->jobs[i].failed;
        if (press->jobs[i].failed)
            name = field->name;
        else
            dkim_field_finish(&field->field, press->jobs[i].signature, sign_key_signature_bytes(press->jobs[i].key));
        bool last = i + 1 == press->job_count || press->fields[i + 1].pressed != field->pressed;
        if (last && field->pressed->failed)
            press_forget(press, field->pressed->attempt);
    }
    return name;
}
