/* mime.c - text and html become a body that every reader understands and no relay has to change. */
#include "proto/message/mime.h"

/* Two octets of it never stand beside each other in quoted-printable or base64 (RFC 2045 §6.7). */
#define BOUNDARY "=_sluice_alternative"

static const struct part *make_part(struct planning *p, struct slice field, struct slice source,
                                    enum template_escape escape)
{
    struct part *part = room_take(p->room, sizeof(*part));
    struct template_error error = {.reason = NULL};
    if (!part)
        return NULL;
    if (part_make(part, source, escape, p->room, &error))
        return part;
    if (!p->room->full)
        plan_fail_at(p, field, &error);
    return NULL;
}

static struct slice encoding_header(const struct part *part)
{
    return part->encoding == ENCODING_BASE64 ? SLICE("Content-Transfer-Encoding: base64\r\n")
                                             : SLICE("Content-Transfer-Encoding: quoted-printable\r\n");
}

static bool plan_one(struct planning *p, struct slice field, struct slice type, const struct part *part)
{
    return plan_line(p, type) && plan_line(p, encoding_header(part)) && plan_part(p, field, part);
}

static bool plan_inner(struct planning *p, struct slice field, struct slice start, struct slice type,
                       const struct part *part)
{
    return plan_static(p, start) && plan_static(p, type) && plan_static(p, encoding_header(part)) &&
           plan_static(p, SLICE("\r\n")) && plan_part(p, field, part);
}

bool mime_plan_bodies(struct planning *p, struct slice text, struct slice html)
{
    static const struct slice text_type = SLICE("Content-Type: text/plain; charset=utf-8\r\n");
    static const struct slice html_type = SLICE("Content-Type: text/html; charset=utf-8\r\n");
    const struct part *text_part = NULL, *html_part = NULL;
    if (!plan_line(p, SLICE("MIME-Version: 1.0\r\n")))
        return false;
    if (text.p && !(text_part = make_part(p, SLICE("text"), text, ESCAPE_NONE)))
        return false;
    if (html.p && !(html_part = make_part(p, SLICE("html"), html, ESCAPE_HTML)))
        return false;
    if (!html_part)
        return plan_one(p, SLICE("text"), text_type, text_part);
    if (!text_part)
        return plan_one(p, SLICE("html"), html_type, html_part);
    /* RFC 2046 §5.1.4: the plainest first. A line end before a boundary belongs to the boundary (§5.1.1). */
    return plan_line(p, SLICE("Content-Type: multipart/alternative; boundary=\"" BOUNDARY "\"\r\n")) &&
           plan_inner(p, SLICE("text"), SLICE("--" BOUNDARY "\r\n"), text_type, text_part) &&
           plan_inner(p, SLICE("html"), SLICE("\r\n--" BOUNDARY "\r\n"), html_type, html_part) &&
           plan_static(p, SLICE("\r\n--" BOUNDARY "--\r\n"));
}

size_t mime_room(struct slice body)
{
    return part_room(body) + sizeof(struct part) + 8 * (sizeof(struct piece) + sizeof(struct line) + 2 * ROOM_ALIGN);
}
