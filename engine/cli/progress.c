/* Shows a campaign on its way, from what Redis says; the engine is not asked and not slowed. */
#include "cli/progress.h"

#include "cli/counts.h"
#include "cli/text.h"
#include "proto/event.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LOOK_MS = 500, LINE_EVERY_S = 10, WINDOW = 10, BAR = 24 };

struct progress {
    struct ask *ask;
    const char *campaign;
    bool terminal;
    nsec said;
    /* The last looks, for the pace over WINDOW of them. */
    struct sample {
        nsec at;
        uint64_t ended;
    } samples[WINDOW];
    unsigned looks;
};

/* Ends per second, in thousandths, over the window. */
static uint64_t pace_of(struct progress *p, uint64_t ended)
{
    nsec now = io_now(p->ask->io);
    struct sample oldest = p->looks < WINDOW ? p->samples[0] : p->samples[p->looks % WINDOW];
    p->samples[p->looks % WINDOW] = (struct sample){now, ended};
    p->looks++;
    if (p->looks < 2 || now <= oldest.at || ended <= oldest.ended)
        return 0;
    return (ended - oldest.ended) * 1000000 / (uint64_t)((now - oldest.at) / NSEC_PER_MS + 1);
}

static void draw_bar(uint64_t ended, uint64_t pushed, char *text)
{
    uint64_t full = pushed ? ended * BAR / pushed : 0;
    for (uint64_t i = 0; i < BAR; i++)
        text[i] = i < full ? '#' : '.';
    text[BAR] = 0;
}

/* What people should know beside the counts: why nothing moves, or when it will be over. */
static void describe_rest(const struct counts *counts, uint64_t pace, char *text, size_t cap)
{
    const struct store_view *view = &counts->view;
    char when[32];
    if (view->reason[0]) {
        snprintf(text, cap, "%s: %.120s", counts_phase(counts), view->reason);
    } else if (counts->open && view->retry == counts->open) {
        text_time(view->retry_due_ms, when, sizeof when);
        snprintf(text, cap, "next retry %s", when);
    } else if (view->held && view->held == counts->open) {
        snprintf(text, cap, "%ju in doubt are held", (uintmax_t)view->held);
    } else if (pace) {
        text_duration((int64_t)(counts->open * 1000 / pace), when, sizeof when);
        snprintf(text, cap, "%s left", when);
    } else if (!view->phase[0]) {
        snprintf(text, cap, "no engine has seen it yet");
    } else {
        snprintf(text, cap, "%s", counts_phase(counts));
    }
    text_safe(text);
}

static void show(struct progress *p, const struct counts *counts, bool last)
{
    const struct store_view *view = &counts->view;
    char bar[BAR + 1], rest[256], line[768];
    struct winsize size;
    uint64_t pace = pace_of(p, counts->ended);
    uint64_t permille = view->pushed ? counts->ended * 1000 / view->pushed : 0;
    nsec now = io_now(p->ask->io);
    if (!p->terminal && !last && p->said && now - p->said < LINE_EVERY_S * NSEC_PER_S)
        return;
    p->said = now;
    draw_bar(counts->ended, view->pushed, bar);
    describe_rest(counts, pace, rest, sizeof rest);
    snprintf(line, sizeof line, "[%s] %3ju.%ju %% of %ju  %ju/s  %s  delivered %ju  retry %ju  bounced %ju", bar,
             (uintmax_t)permille / 10, (uintmax_t)permille % 10, (uintmax_t)view->pushed,
             (uintmax_t)(pace + 500) / 1000, rest, (uintmax_t)view->totals[EVENT_DELIVERED], (uintmax_t)view->retry,
             (uintmax_t)view->totals[EVENT_BOUNCED]);
    if (!p->terminal) {
        fprintf(stderr, "%s\n", line);
        return;
    }
    /* A line that wraps could not be drawn over. */
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 && size.ws_col < sizeof line)
        line[size.ws_col - 1] = 0;
    fprintf(stderr, "\r\033[K%s%s", line, last ? "\n" : "");
    fflush(stderr);
}

static void print_totals(const char *campaign, const struct counts *counts)
{
    printf("campaign %s: %s, %ju recipients", campaign, counts_phase(counts), (uintmax_t)counts->view.pushed);
    for (unsigned type = EVENT_DELIVERED; type < EVENT_TYPE_COUNT; type++) {
        struct slice name = event_type_name((enum event_type)type);
        if (counts->view.totals[type])
            printf(", " SLICE_FORMAT " %ju", SLICE_ARGS(name), (uintmax_t)counts->view.totals[type]);
    }
    putchar('\n');
}

int progress_watch(struct ask *ask, const char *campaign)
{
    struct progress p = {.ask = ask, .campaign = campaign, .terminal = isatty(STDERR_FILENO)};
    struct counts counts = {0};
    int code = CLI_OK;
    for (bool over = false; !over;) {
        if (!counts_look(ask, slice_of(campaign), &counts)) {
            code = CLI_FAILED;
            break;
        }
        over = counts_over(&counts) || counts_only_held(&counts);
        show(&p, &counts, over);
        if (!over && !ask_pause(ask, LOOK_MS * NSEC_PER_MS)) {
            fprintf(stderr,
                    "%sthe campaign goes on; `sluice campaign show %s` shows it, `sluice campaign cancel %s` ends it\n",
                    p.terminal ? "\n" : "", campaign, campaign);
            break;
        }
    }
    if (code == CLI_OK)
        print_totals(campaign, &counts);
    if (code == CLI_OK && counts_only_held(&counts)) {
        cli_error("campaign %s waits: %ju in doubt are held; each may have had its message, and nobody recorded it; "
                  "`sluice events %s` names them",
                  campaign, (uintmax_t)counts.view.held, campaign);
        code = CLI_FAILED;
    }
    counts_free(&counts);
    return code;
}
