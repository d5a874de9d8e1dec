/* What the client says is the same in many of its states; here each command is said once. */
#include "proto/smtp/client_say.h"

#include "proto/smtp/write.h"

static char *room(struct client_out *out) { return out->p + out->n; }
static size_t left(const struct client_out *out) { return out->cap - out->n; }

static void wrote(struct client_out *out, size_t n)
{
    sluice_assert(n > 0);
    out->n += n;
}

void client_say_ehlo(const struct client *client, struct client_out *out)
{
    wrote(out, write_ehlo(room(out), left(out), client->options.ehlo));
}

void client_say_helo(const struct client *client, struct client_out *out)
{
    wrote(out, write_helo(room(out), left(out), client->options.ehlo));
}

void client_say_starttls(struct client_out *out) { wrote(out, write_starttls(room(out), left(out))); }

/* Nothing stands behind AUTH before its answer (RFC 4954 §4), so a flight has one secret at most. */
void client_say_secret(struct client_out *out, struct slice secret)
{
    sluice_assert(out->secret.n == 0 && write_base64_safe(secret));
    out->secret = secret;
}

void client_say_auth(const struct client *client, struct client_out *out)
{
    static const struct slice names[] = {[CLIENT_MECHANISM_PLAIN] = {"PLAIN", 5},
                                         [CLIENT_MECHANISM_LOGIN] = {"LOGIN", 5},
                                         [CLIENT_MECHANISM_XOAUTH2] = {"XOAUTH2", 7}};
    const struct client_credentials *credentials = &client->options.credentials;
    bool initial = credentials->mechanism != CLIENT_MECHANISM_LOGIN;
    wrote(out, write_auth(room(out), left(out), names[credentials->mechanism], initial));
    if (initial)
        client_say_secret(out, credentials->first);
}

void client_say_nothing(struct client_out *out)
{
    sluice_assert(left(out) >= 2);
    memcpy(room(out), "\r\n", 2);
    wrote(out, 2);
}

void client_say_trial(struct client_out *out)
{
    static const struct slice command = {"NOOP\r\n", 6};
    wrote(out, write_bdat(room(out), left(out), command.n, false));
    sluice_assert(left(out) >= command.n);
    memcpy(room(out), command.p, command.n);
    wrote(out, command.n);
}

void client_say_mail(const struct client *client, const struct client_envelope *envelope, struct client_out *out)
{
    struct write_mail mail = {
        .from = envelope->from,
        .size = client->caps.size ? envelope->size : 0,
        .eight_bit = envelope->eight_bit && client->caps.eight_bit_mime,
        .utf8 = envelope->utf8,
    };
    wrote(out, write_mail(room(out), left(out), &mail));
}

void client_say_rcpt(const struct client_envelope *envelope, struct client_out *out)
{
    wrote(out, write_rcpt(room(out), left(out), envelope->to, envelope->utf8));
}

void client_say_data(struct client_out *out) { wrote(out, write_data(room(out), left(out))); }

void client_say_chunk(const struct client_envelope *envelope, struct client_out *out)
{
    wrote(out, write_bdat(room(out), left(out), envelope->size, true));
}

void client_say_lone_dot(struct client_out *out)
{
    sluice_assert(left(out) >= WRITE_END_MAX);
    wrote(out, write_end(room(out), left(out), WRITE_LINE_START));
}

void client_say_rset(struct client_out *out) { wrote(out, write_rset(room(out), left(out))); }
void client_say_quit(struct client_out *out) { wrote(out, write_quit(room(out), left(out))); }
