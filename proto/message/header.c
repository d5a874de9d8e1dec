/* header.c - header fields are where strangers' text meets grammar: everything goes through one writer that folds,
 * encodes and lets no line end through. */
#include "proto/message/header.h"

#include "proto/message/encode.h"
#include "proto/smtp/utf8.h"

struct writer {
    struct out *out;
    size_t column, limit;
};

static const struct slice word_start = SLICE("=?utf-8?Q?"), word_end = SLICE("?=");

enum {
    ENCODED_WORD = 75,                   /* RFC 2047 §2 */
    ENCODED_CONTENT = ENCODED_WORD - 12, /* without word_start and word_end */
    ENCODED_LEAST = 12,                  /* one character of four octets in the Q encoding */
    GAP_MAX = 40,                        /* spaces between two words; more are encoded */
};

static bool is_gap(char c) { return (unsigned char)c <= ' ' || c == 0x7F; }

static struct slice trim(struct slice text)
{
    while (text.n && is_gap(text.p[0]))
        text.p++, text.n--;
    while (text.n && is_gap(text.p[text.n - 1]))
        text.n--;
    return text;
}

static struct writer begin(struct out *out, struct slice name)
{
    out_slice(out, name);
    out_char(out, ':');
    return (struct writer){out, name.n + 1, HEADER_LINE};
}

static void finish(struct writer *w) { out_write(w->out, "\r\n", 2); }

/* White space before `n` octets that cannot be folded; the line ends before it if they would not fit. */
static void gap(struct writer *w, size_t spaces, size_t n)
{
    if (w->column + spaces + n > w->limit) {
        out_write(w->out, "\r\n", 2);
        w->column = 0;
    }
    for (size_t i = 0; i < spaces; i++)
        out_char(w->out, ' ');
    w->column += spaces;
}

static void put(struct writer *w, struct slice text)
{
    out_slice(w->out, text);
    w->column += text.n;
}

/* The next word of `text` and the white space before it; false at the end. */
static bool next_word(struct slice text, size_t *at, size_t *spaces, struct slice *word)
{
    size_t start = *at;
    while (start < text.n && is_gap(text.p[start]))
        start++;
    size_t stop = start;
    while (stop < text.n && !is_gap(text.p[stop]))
        stop++;
    *spaces = start - *at;
    *word = (struct slice){text.p + start, stop - start};
    *at = stop;
    return word->n > 0;
}

static bool is_ascii(struct slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] >= 0x80)
            return false;
    return true;
}

static bool must_encode(struct slice word)
{
    return word.n > HEADER_WORD_MAX || !is_ascii(word) || memmem(word.p, word.n, "=?", 2);
}

/* Words with the white space that is between them; the first is preceded by at least one space. */
static void write_plain(struct writer *w, struct slice text)
{
    size_t at = 0, spaces;
    struct slice word;
    while (next_word(text, &at, &spaces, &word)) {
        gap(w, spaces ? spaces : 1, word.n);
        put(w, word);
    }
}

/* ---- encoded words ---- */

/* Octets that stand for themselves in the Q encoding, also within a phrase (RFC 2047 §5 (3)). */
static bool q_literal(char c) { return ascii_is_alnum(c) || (c && strchr("!*+-/", c)); }

static size_t q_width(char c) { return is_gap(c) || q_literal(c) ? 1 : 3; }

static void write_q(struct writer *w, struct slice octets)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < octets.n; i++) {
        unsigned char c = (unsigned char)octets.p[i];
        char escaped[3] = {'=', hex[c >> 4], hex[c & 15]};
        if (is_gap(octets.p[i]))
            put(w, SLICE("_"));
        else if (q_literal(octets.p[i]))
            put(w, (struct slice){octets.p + i, 1});
        else
            put(w, (struct slice){escaped, 3});
    }
}

static void write_b(struct writer *w, struct slice octets)
{
    for (size_t i = 0; i < octets.n; i += 3) {
        unsigned char group[3] = {0};
        char digits[4];
        size_t n = octets.n - i < 3 ? octets.n - i : 3;
        for (size_t j = 0; j < n; j++)
            group[j] = is_gap(octets.p[i + j]) ? ' ' : (unsigned char)octets.p[i + j];
        put(w, (struct slice){digits, encode_base64_group(group, n, digits)});
    }
}

/* How many octets of whole characters fit into `room` columns of content. At least one character. */
static size_t fitting(struct slice text, bool b, size_t room)
{
    size_t octets = 0, width = 0;
    while (octets < text.n) {
        size_t n = utf8_length(text.p + octets, text.n - octets);
        n += n == 0; /* an octet that is no UTF-8 goes as it is */
        for (size_t i = 0; i < n; i++)
            width += q_width(text.p[octets + i]);
        if (octets && (b ? (octets + n + 2) / 3 * 4 : width) > room)
            break;
        octets += n;
    }
    return octets;
}

/* All of `text` as encoded words, `spaces` before the first; between them white space that readers drop. */
static void write_encoded(struct writer *w, size_t spaces, struct slice text)
{
    size_t q = 0;
    for (size_t i = 0; i < text.n; i++)
        q += q_width(text.p[i]);
    bool b = q > (text.n + 2) / 3 * 4;
    while (text.n) {
        gap(w, spaces, word_start.n + ENCODED_LEAST + word_end.n);
        size_t room = w->limit - w->column - word_start.n - word_end.n;
        size_t n = fitting(text, b, room < ENCODED_CONTENT ? room : ENCODED_CONTENT);
        struct slice octets = {text.p, n};
        if (b) {
            put(w, SLICE("=?utf-8?B?"));
            write_b(w, octets);
        } else {
            put(w, word_start);
            write_q(w, octets);
        }
        put(w, word_end);
        text.p += n;
        text.n -= n;
        spaces = 1;
    }
}

/* The part of `text` from the first word that must be encoded to the last. What stands between two encoded words must
 * be encoded too, for readers drop white space between them. */
static struct slice needy(struct slice text)
{
    size_t at = 0, spaces, from = text.n, to = 0, before = 0;
    struct slice word;
    while (next_word(text, &at, &spaces, &word)) {
        size_t start = (size_t)(word.p - text.p);
        if (must_encode(word) || spaces > GAP_MAX) {
            size_t first = spaces > GAP_MAX ? before : start;
            from = first < from ? first : from;
            to = at;
        }
        before = start;
    }
    return (struct slice){text.p + from, from < to ? to - from : 0};
}

void header_text(struct out *out, struct slice name, struct slice value)
{
    struct writer w = begin(out, name);
    struct slice text = trim(value), encoded = needy(text);
    if (encoded.n == 0) {
        write_plain(&w, text);
    } else {
        w.limit = HEADER_ENCODED_LINE;
        struct slice head = trim((struct slice){text.p, (size_t)(encoded.p - text.p)});
        const char *tail = encoded.p + encoded.n;
        write_plain(&w, head);
        size_t spaces = (size_t)(encoded.p - (head.p + head.n));
        write_encoded(&w, spaces ? spaces : 1, encoded);
        write_plain(&w, (struct slice){tail, (size_t)(text.p + text.n - tail)});
    }
    finish(&w);
}

void header_words(struct out *out, struct slice name, struct slice value)
{
    struct writer w = begin(out, name);
    write_plain(&w, trim(value));
    finish(&w);
}

/* ---- mailboxes ---- */

static bool is_atext(char c)
{
    return ascii_is_alnum(c) || (c && strchr("!#$%&'*+-/=?^_`{|}~", c)); /* RFC 5322 §3.2.3 */
}

static void write_quoted(struct writer *w, struct slice display)
{
    size_t at = 0, spaces;
    struct slice word;
    while (next_word(display, &at, &spaces, &word)) {
        size_t escapes = 0;
        for (size_t i = 0; i < word.n; i++)
            escapes += word.p[i] == '"' || word.p[i] == '\\';
        gap(w, spaces ? spaces : 1, word.n + escapes + 2);
        if (word.p == display.p)
            put(w, SLICE("\""));
        for (size_t i = 0; i < word.n; i++) {
            if (word.p[i] == '"' || word.p[i] == '\\')
                put(w, SLICE("\\"));
            put(w, (struct slice){word.p + i, 1});
        }
    }
    put(w, SLICE("\""));
}

static void write_phrase(struct writer *w, struct slice display)
{
    bool atoms = true, encode = needy(display).n > 0;
    for (size_t i = 0; i < display.n; i++)
        atoms = atoms && (is_atext(display.p[i]) || (display.p[i] == ' ' && display.p[i + 1] != ' '));
    if (encode) /* all of it: a phrase may not mix encoded words and quoted strings without losing a space */
        write_encoded(w, 1, display);
    else if (atoms)
        write_plain(w, display);
    else
        write_quoted(w, display);
}

void header_mailboxes(struct out *out, struct slice name, const struct mailbox *mailboxes, unsigned count)
{
    struct writer w = begin(out, name);
    for (unsigned i = 0; i < count; i++)
        if (needy(trim(mailboxes[i].display)).n)
            w.limit = HEADER_ENCODED_LINE;
    for (unsigned i = 0; i < count; i++) {
        struct slice display = trim(mailboxes[i].display), address = mailboxes[i].address;
        bool last = i + 1 == count;
        if (display.n)
            write_phrase(&w, display);
        gap(&w, 1, address.n + (display.n ? 2 : 0) + !last);
        if (display.n)
            put(&w, SLICE("<"));
        put(&w, address);
        if (display.n)
            put(&w, SLICE(">"));
        if (!last)
            put(&w, SLICE(","));
    }
    finish(&w);
}

/* ---- names ---- */

bool header_is_name(struct slice name)
{
    if (name.n == 0 || name.n > 76)
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || name.p[i] >= 0x7F || name.p[i] == ':')
            return false;
    return true;
}

bool header_is_structured(struct slice name)
{
    static const struct slice names[] = {
        SLICE("Message-ID"),
        SLICE("In-Reply-To"),
        SLICE("References"),
        SLICE("Date"),
        SLICE("MIME-Version"),
        SLICE("Content-Type"),
        SLICE("Return-Path"),
        SLICE("Content-ID"),
        SLICE("Content-Transfer-Encoding"),
        SLICE("List-Unsubscribe"),
        SLICE("List-Unsubscribe-Post"),
        SLICE("List-Help"),
        SLICE("List-Subscribe"),
        SLICE("List-Post"),
        SLICE("List-Owner"),
        SLICE("List-Archive"),
        SLICE("Feedback-ID"),
        SLICE("Precedence"),
        SLICE("Auto-Submitted"),
        SLICE("Importance"),
        SLICE("X-Priority"),
        SLICE("Content-Disposition"),
        SLICE("Content-Location"),
        SLICE("Content-Language"),
    };
    for (size_t i = 0; i < countof(names); i++)
        if (slice_equal_nocase(name, names[i]))
            return true;
    return false;
}

/* ---- reading what people wrote ---- */

/* Length of the merge field that begins at text.p[at], with its braces; 0 if none does. */
static size_t tag_length(struct slice text, size_t at)
{
    if (text.n - at < 2 || text.p[at] != '{' || text.p[at + 1] != '{')
        return 0;
    const char *close = memmem(text.p + at, text.n - at, "}}", 2);
    size_t n = close ? (size_t)(close + 2 - (text.p + at)) : 0;
    return n + (n && at + n < text.n && text.p[at + n] == '}');
}

bool header_next_mailbox(struct slice *list, struct mailbox *mailbox, const char **reason)
{
    struct slice text = *list;
    size_t i = 0, open = text.n, close = text.n;
    bool quoted = false, address = false; /* something that may be one was seen */
    for (; i < text.n; i++) {
        size_t tag = tag_length(text, i);
        address = address || tag || text.p[i] == '@';
        if (tag)
            i += tag - 1;
        else if (quoted && text.p[i] == '\\' && i + 1 < text.n)
            i++;
        else if (text.p[i] == '"')
            quoted = !quoted;
        else if (quoted)
            continue;
        else if (text.p[i] == '<' && open == text.n)
            open = i;
        else if (text.p[i] == '>' && open < text.n && close == text.n)
            close = i;
        else if (text.p[i] == ',' &&
                 (close < text.n || (open == text.n && (address || !trim((struct slice){text.p, i}).n))))
            break; /* people write `Shop, Inc. <a@b>` without the quotes that RFC 5322 wants */
    }
    *list = (struct slice){text.p + i + (i < text.n), text.n - i - (i < text.n)};
    text.n = i;
    if (quoted)
        return *reason = "a quote is not closed", false;
    if (open < i && close >= i)
        return *reason = "'<' is not closed", false;
    if (open >= i) {
        *mailbox = (struct mailbox){SLICE(""), trim(text)};
    } else {
        if (trim((struct slice){text.p + close + 1, i - close - 1}).n)
            return *reason = "text behind the address", false;
        *mailbox = (struct mailbox){trim((struct slice){text.p, open}),
                                    trim((struct slice){text.p + open + 1, close - open - 1})};
    }
    return mailbox->address.n || (*reason = "an address is missing", false);
}

size_t header_unquote(struct slice display, char *to)
{
    bool quoted = false;
    size_t n = 0;
    for (size_t i = 0; i < display.n; i++) {
        size_t tag = tag_length(display, i);
        if (tag) {
            memcpy(to + n, display.p + i, tag);
            n += tag;
            i += tag - 1;
            continue;
        }
        if (display.p[i] == '"') {
            quoted = !quoted;
            continue;
        }
        if (quoted && display.p[i] == '\\' && i + 1 < display.n)
            i++;
        to[n++] = display.p[i];
    }
    return n;
}

/* One encoded word as it stands (RFC 2047 §2). */
struct encoded_word {
    struct slice charset, text;
    char encoding; /* 'q' or 'b' */
    size_t length; /* of the whole */
};

static bool read_encoded_word(struct slice text, struct encoded_word *word)
{
    if (!slice_starts_with(text, SLICE("=?")))
        return false;
    const char *charset = text.p + 2, *stop = text.p + text.n;
    const char *encoding = memchr(charset, '?', (size_t)(stop - charset));
    if (!encoding || stop - encoding < 5 || encoding[2] != '?')
        return false;
    const char *close = memmem(encoding + 3, (size_t)(stop - encoding - 3), "?=", 2);
    word->charset = (struct slice){charset, (size_t)(encoding - charset)};
    word->encoding = ascii_lower(encoding[1]);
    if (!close || (word->encoding != 'q' && word->encoding != 'b'))
        return false;
    word->text = (struct slice){encoding + 3, (size_t)(close - encoding - 3)};
    word->length = (size_t)(close + 2 - text.p);
    for (size_t i = 0; i < word->length; i++)
        if (is_gap(text.p[i]))
            return false;
    return true;
}

/* ISO-8859-1 in place to UTF-8: its octets are the first 256 characters of Unicode. */
static size_t widen_latin1(char *text, size_t n)
{
    size_t high = 0;
    for (size_t i = 0; i < n; i++)
        high += (unsigned char)text[i] >= 0x80;
    for (size_t i = n, to = n + high; i > 0; i--) {
        unsigned char c = (unsigned char)text[i - 1];
        if (c >= 0x80)
            text[--to] = (char)(0x80 | (c & 0x3F));
        text[--to] = (char)(c >= 0x80 ? 0xC0 | c >> 6 : c);
    }
    return n + high;
}

/* The Q encoding is quoted-printable in which '_' is a space (RFC 2047 §4.2). */
static size_t decode_q(struct slice text, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        size_t literal = i;
        while (i < text.n && text.p[i] != '_')
            i++;
        n += decode_qp((struct slice){text.p + literal, i - literal}, to + n);
        if (i < text.n)
            to[n++] = ' ';
    }
    return n;
}

static size_t decode_word(const struct encoded_word *word, char *to)
{
    const char *star = memchr(word->charset.p, '*', word->charset.n); /* RFC 2231 §5: a language behind it */
    struct slice charset = {word->charset.p, star ? (size_t)(star - word->charset.p) : word->charset.n};
    bool latin1 = slice_equal_nocase(charset, SLICE("iso-8859-1"));
    if (!latin1 && !slice_equal_nocase(charset, SLICE("utf-8")) && !slice_equal_nocase(charset, SLICE("us-ascii")))
        return SIZE_MAX;
    size_t n = word->encoding == 'b' ? decode_base64(word->text, to) : decode_q(word->text, to);
    return n == SIZE_MAX || !latin1 ? n : widen_latin1(to, n);
}

size_t header_decode(struct slice text, char *to)
{
    size_t n = 0, kept = SIZE_MAX; /* where `to` stood behind the last encoded word; SIZE_MAX: text came since */
    for (size_t i = 0; i < text.n;) {
        struct encoded_word word;
        if (!read_encoded_word((struct slice){text.p + i, text.n - i}, &word)) {
            if (!is_gap(text.p[i]))
                kept = SIZE_MAX;
            to[n++] = text.p[i++];
            continue;
        }
        if (kept != SIZE_MAX) /* RFC 2047 §6.2: white space between two encoded words is not shown */
            n = kept;
        size_t decoded = decode_word(&word, to + n);
        if (decoded == SIZE_MAX)
            return SIZE_MAX;
        kept = n += decoded;
        i += word.length;
    }
    return n;
}
