/* content.c - a platform's own message is taken apart far enough to fill in its texts and send the rest as it is. */
#include "proto/message/content.h"

/* Takes a line with its end off the text. */
static struct slice next_line(struct slice *text)
{
    const char *line_end = text->n ? memchr(text->p, '\n', text->n) : NULL;
    struct slice line = {text->p, line_end ? (size_t)(line_end + 1 - text->p) : text->n};
    *text = (struct slice){text->p + line.n, text->n - line.n};
    return line;
}

static struct slice without_line_end(struct slice line)
{
    if (line.n && line.p[line.n - 1] == '\n')
        line.n--;
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

void content_split(struct slice entity, struct slice *header, struct slice *body)
{
    struct slice rest = entity;
    while (rest.n) {
        struct slice line = next_line(&rest);
        if (without_line_end(line).n == 0) {
            *header = (struct slice){entity.p, (size_t)(line.p - entity.p)};
            *body = rest;
            return;
        }
    }
    *header = entity;
    *body = (struct slice){entity.p + entity.n, 0};
}

bool content_next_field(struct slice *header, struct content_field *field)
{
    struct slice rest = *header;
    struct slice line = next_line(&rest);
    const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
    if (!colon || ascii_is_space(line.p[0]))
        return false;
    while (rest.n && (rest.p[0] == ' ' || rest.p[0] == '\t'))
        line.n += next_line(&rest).n;
    field->name = slice_trim((struct slice){line.p, (size_t)(colon - line.p)});
    field->value = slice_trim((struct slice){colon + 1, (size_t)(line.p + line.n - colon - 1)});
    *header = rest;
    return true;
}

size_t content_unfold(struct slice value, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] != '\r' && value.p[i] != '\n')
            to[n++] = value.p[i];
    return n;
}

bool content_next_parameter(struct slice *rest, struct slice *name, struct slice *value, struct slice *whole)
{
    size_t i = 0, equals, start;
    while (i < rest->n && (rest->p[i] == ';' || ascii_is_space(rest->p[i])))
        i++;
    start = equals = i;
    bool quoted = false;
    for (; i < rest->n && (quoted || rest->p[i] != ';'); i++) {
        if (quoted && rest->p[i] == '\\')
            i++;
        else if (rest->p[i] == '"')
            quoted = !quoted;
        else if (rest->p[i] == '=' && equals == start)
            equals = i;
    }
    i = i < rest->n ? i : rest->n; /* a backslash may be last */
    *whole = slice_trim((struct slice){rest->p + start, i - start});
    *rest = (struct slice){rest->p + i, rest->n - i};
    if (whole->n == 0)
        return false;
    *name = slice_trim((struct slice){whole->p, equals - start});
    *value = slice_trim(
        (struct slice){whole->p + (equals - start) + (equals > start), whole->n - (equals - start) - (equals > start)});
    if (value->n >= 2 && value->p[0] == '"' && value->p[value->n - 1] == '"')
        *value = (struct slice){value->p + 1, value->n - 2};
    return true;
}

/* What stands before the first ';'; `rest` is what follows. */
static struct slice first_token(struct slice value, struct slice *rest)
{
    const char *semicolon = value.n ? memchr(value.p, ';', value.n) : NULL;
    size_t n = semicolon ? (size_t)(semicolon - value.p) : value.n;
    *rest = (struct slice){value.p + n, value.n - n};
    return slice_trim((struct slice){value.p, n});
}

static enum content_encoding read_encoding(struct slice value)
{
    static const struct {
        struct slice name;
        enum content_encoding encoding;
    } names[] = {{SLICE("7bit"), CONTENT_IDENTITY},
                 {SLICE("8bit"), CONTENT_IDENTITY},
                 {SLICE("binary"), CONTENT_IDENTITY},
                 {SLICE("quoted-printable"), CONTENT_QP},
                 {SLICE("base64"), CONTENT_BASE64}};
    for (size_t i = 0; i < countof(names); i++)
        if (slice_equal_nocase(value, names[i].name))
            return names[i].encoding;
    return CONTENT_BROKEN;
}

struct content content_read(struct slice header)
{
    struct content content = {.type = SLICE("text/plain"), .encoding = CONTENT_IDENTITY};
    struct content_field field;
    while (content_next_field(&header, &field)) {
        struct slice rest, name, value, whole;
        if (slice_equal_nocase(field.name, SLICE("Content-Transfer-Encoding"))) {
            content.encoding = read_encoding(first_token(field.value, &rest));
        } else if (slice_equal_nocase(field.name, SLICE("Content-Disposition"))) {
            content.attachment = slice_equal_nocase(first_token(field.value, &rest), SLICE("attachment"));
        } else if (slice_equal_nocase(field.name, SLICE("Content-Type"))) {
            content.value = field.value;
            content.type = first_token(field.value, &rest);
            while (content_next_parameter(&rest, &name, &value, &whole)) {
                if (slice_equal_nocase(name, SLICE("charset")))
                    content.charset = value;
                if (slice_equal_nocase(name, SLICE("boundary")))
                    content.boundary = value;
            }
        }
    }
    return content;
}

bool content_is(const struct content *content, struct slice major)
{
    return content->type.n > major.n && content->type.p[major.n] == '/' &&
           slice_equal_nocase((struct slice){content->type.p, major.n}, major);
}

enum delimiter { DELIMITER_NONE = 1, DELIMITER_PART, DELIMITER_CLOSE };

/* RFC 2046 §5.1.1: white space may stand behind a boundary, nothing else. */
static enum delimiter read_delimiter(struct slice line, struct slice boundary)
{
    if (line.n < boundary.n + 2 || memcmp(line.p, "--", 2) != 0 || memcmp(line.p + 2, boundary.p, boundary.n) != 0)
        return DELIMITER_NONE;
    struct slice behind = slice_trim((struct slice){line.p + 2 + boundary.n, line.n - 2 - boundary.n});
    if (behind.n == 0)
        return DELIMITER_PART;
    return slice_equal(behind, SLICE("--")) ? DELIMITER_CLOSE : DELIMITER_NONE;
}

bool content_next_part(struct slice *body, struct slice boundary, bool *started, struct slice *part)
{
    while (!*started) {
        if (body->n == 0)
            return false;
        enum delimiter delimiter = read_delimiter(next_line(body), boundary);
        *started = delimiter == DELIMITER_PART;
        if (delimiter == DELIMITER_CLOSE)
            return false;
    }
    if (body->n == 0)
        return false;
    const char *start = body->p;
    while (body->n) {
        struct slice line = next_line(body);
        enum delimiter delimiter = read_delimiter(line, boundary);
        if (delimiter == DELIMITER_NONE)
            continue;
        if (delimiter == DELIMITER_CLOSE)
            body->n = 0; /* what follows is nobody's */
        *part = without_line_end((struct slice){start, (size_t)(line.p - start)});
        return true;
    }
    *part = (struct slice){start, (size_t)(body->p - start)}; /* never closed: it ends with the message */
    return true;
}
