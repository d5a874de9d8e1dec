/* sink.c - sluice-sink: mail exchangers with the manners of real ISPs, for tests, demonstrations and benchmarks. */
#include "bench/sink_shard.h"
#include "bench/sink_store.h"

#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum {
    SINK_THREADS_MAX = 64,
    SINK_CONNECTIONS = 16384, /* of one thread, where descriptors allow */
    SINK_DESCRIPTORS_SPARE = 256,
};

static const char usage[] =
    "usage: sluice-sink [-c FILE] [--listen ADDRESS:PORT]... [options]\n"
    "Accepts mail over SMTP, keeps none of it unless told to, and behaves like the ISPs that FILE describes.\n"
    "\n"
    "  -c, --config FILE      ISPs with their addresses and manners (bench/README.md shows every key)\n"
    "  -l, --listen ADDRESS   listen here too as an obliging ISP named \"sink\": 127.0.0.1:2525, [::1]:2525\n"
    "      --no-pipelining    this one does not advertise PIPELINING\n"
    "      --starttls         but it does offer STARTTLS, with a certificate of the test's CA\n"
    "      --tls-ca FILE      write the certificate of that CA, which is made at each start, as PEM\n"
    "      --tls-chains DIR   write what each ISP sends there, as NAME.pem, the leaf first\n"
    "      --store DIR        keep each accepted message as CAMPAIGN.SEQ.THREAD-CONNECTION-NUMBER.eml\n"
    "      --ledger FILE      append a line for each accepted recipient, tab-separated, with a heading\n"
    "      --starts FILE      append a line for each MAIL command: time_us, isp, source, connection\n"
    "      --threads N        limits and rates hold for each of them (default 1)\n"
    "      --connections N    open at once in a thread (default 16384, or what `ulimit -n` allows)\n"
    "      --seed N           of everything that is drawn by lot (default 1)\n"
    "      --json             report as one line of JSON\n"
    "  -h, --help\n"
    "\n"
    "SIGTERM and SIGINT end it with a report; SIGUSR1 writes what is due to the files and reports (thread 0 alone).\n";

/* What the threads share; each writes under the mutex, or before the barrier. */
struct sink {
    struct sink_options options;
    struct io_group *group;
    pthread_mutex_t mutex;
    pthread_barrier_t ready;
    struct sink_sum sum;
    struct timespec began;
    bool failed;
};

struct sink_thread {
    struct sink *sink;
    unsigned index;
    pthread_t thread;
};

/* ---- report ---- */

static double seconds_since(const struct timespec *began)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - began->tv_sec) + (double)(now.tv_nsec - began->tv_nsec) / 1e9;
}

static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void print_report(const struct sink *sink, const struct sink_sum *sum)
{
    sink_report_print(sum, sink->options.config->personality_count, seconds_since(&sink->began), cpu_seconds(),
                      sink->options.json);
}

static void report_on_signal(void *context, const struct sink_shard *shard)
{
    const struct sink *sink = context;
    struct sink_sum sum = {.totals = calloc(sink->options.config->personality_count, sizeof *sum.totals)};
    sluice_assert(sum.totals);
    sink_shard_add(shard, &sum);
    print_report(sink, &sum);
    free(sum.totals);
}

/* ---- threads ---- */

static void *serve(void *context)
{
    struct sink_thread *thread = context;
    struct sink *sink = thread->sink;
    char error[512] = "";
    struct sink_shard *shard = sink_shard_open(&sink->options, sink->group, thread->index, error, sizeof error);
    if (!shard) {
        pthread_mutex_lock(&sink->mutex);
        sink->failed = true;
        pthread_mutex_unlock(&sink->mutex);
        fprintf(stderr, "sluice-sink: %s\n", error);
    }
    pthread_barrier_wait(&sink->ready);
    if (thread->index == 0 && !sink->failed) {
        printf("sluice-sink: ready on %u addresses as %u ISPs\n", sink->options.config->listener_count,
               sink->options.config->personality_count);
        fflush(stdout);
    }
    if (!shard)
        return NULL;
    if (!sink->failed)
        sink_shard_run(shard, report_on_signal, sink);
    pthread_mutex_lock(&sink->mutex);
    sink_shard_add(shard, &sink->sum);
    pthread_mutex_unlock(&sink->mutex);
    sink_shard_close(shard);
    return NULL;
}

static int run(struct sink *sink)
{
    struct sink_thread threads[SINK_THREADS_MAX];
    unsigned count = sink->options.threads;
    clock_gettime(CLOCK_MONOTONIC, &sink->began);
    sink->group = io_group_open(count);
    sink->sum.totals = calloc(sink->options.config->personality_count, sizeof *sink->sum.totals);
    sluice_assert(sink->group && sink->sum.totals);
    pthread_mutex_init(&sink->mutex, NULL);
    pthread_barrier_init(&sink->ready, NULL, count);
    for (unsigned i = 0; i < count; i++) {
        threads[i] = (struct sink_thread){.sink = sink, .index = i};
        if (i && pthread_create(&threads[i].thread, NULL, serve, &threads[i]) != 0) {
            fprintf(stderr, "sluice-sink: no thread can be had\n");
            exit(1); /* those that were started wait for it */
        }
    }
    serve(&threads[0]);
    for (unsigned i = 1; i < count; i++)
        pthread_join(threads[i].thread, NULL);
    if (!sink->failed)
        print_report(sink, &sink->sum);
    io_group_close(sink->group);
    free(sink->sum.totals);
    pthread_barrier_destroy(&sink->ready);
    pthread_mutex_destroy(&sink->mutex);
    return sink->failed;
}

/* ---- command line ---- */

static _Noreturn void fail(const char *what, const char *value)
{
    fprintf(stderr, "sluice-sink: %s: %s\n", what, value);
    exit(2);
}

static unsigned long number(const char *name, const char *text, unsigned long most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end || value < 1 || value > most || text[0] == '-') {
        fprintf(stderr, "sluice-sink: %s %s: a number from 1 to %lu is wanted\n", name, text, most);
        exit(2);
    }
    return value;
}

static int open_file(const char *path, const char *heading)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) {
        perror(path);
        exit(2);
    }
    if (lseek(fd, 0, SEEK_END) == 0 && write(fd, heading, strlen(heading)) < 0) {
        perror(path);
        exit(2);
    }
    return fd;
}

static unsigned connections_allowed(unsigned threads)
{
    struct rlimit limit = {1024, 1024};
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t room = limit.rlim_max / threads; /* io_open raises the soft limit to this */
    if (room < 2 * SINK_DESCRIPTORS_SPARE)
        return (unsigned)(room / 2);
    room -= SINK_DESCRIPTORS_SPARE;
    return room < SINK_CONNECTIONS ? (unsigned)room : SINK_CONNECTIONS;
}

/* What the command line says beside the options that the threads need. */
struct arguments {
    char **listen; /* owns the array */
    unsigned listen_count;
    const char *file, *tls_ca, *tls_chains;
    bool no_pipelining, starttls;
};

/* Appends an ISP named "sink" with the given addresses. */
static void add_plain_isp(struct mx_config *config, const struct arguments *arguments)
{
    config->personalities =
        realloc(config->personalities, (config->personality_count + 1) * sizeof *config->personalities);
    config->listeners =
        realloc(config->listeners, (config->listener_count + arguments->listen_count) * sizeof *config->listeners);
    sluice_assert(config->personalities && config->listeners);
    struct mx_personality *personality = &config->personalities[config->personality_count];
    mx_personality_init(personality, "sink");
    personality->pipelining = !arguments->no_pipelining;
    personality->starttls = arguments->starttls;
    for (unsigned i = 0; i < arguments->listen_count; i++) {
        struct mx_listener *listener = &config->listeners[config->listener_count++];
        listener->personality = config->personality_count;
        if (strlen(arguments->listen[i]) >= sizeof listener->address)
            fail("no address to listen on", arguments->listen[i]);
        slice_copy(listener->address, sizeof listener->address, slice_of(arguments->listen[i]));
    }
    config->personality_count++;
}

static struct mx_config *read_config(const char *file)
{
    char error[512];
    struct mx_config *config = file ? mx_config_load(file, error, sizeof error) : calloc(1, sizeof *config);
    if (!config && file)
        fail("configuration", error);
    sluice_assert(config);
    return config;
}

static int watch_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    sluice_assert(fd >= 0);
    return fd;
}

/* The keys and certificates of all that have TLS; NULL: nobody has. */
static struct mx_tls *prepare_tls(const struct mx_config *config, const struct arguments *arguments)
{
    struct mx_tls *tls = NULL;
    char error[512], path[4096];
    for (unsigned i = 0; i < config->personality_count; i++) {
        const struct mx_personality *personality = &config->personalities[i];
        if (!personality->starttls && !personality->tls_implicit)
            continue;
        if (!tls)
            tls = mx_tls_new();
        if (!mx_tls_prepare(tls, personality, error, sizeof error))
            fail(personality->name, error);
        if (!arguments->tls_chains)
            continue;
        char *chain = mx_tls_chain(tls, personality);
        snprintf(path, sizeof path, "%s/%s.pem", arguments->tls_chains, personality->name);
        sink_store_file(path, slice_of(chain));
        free(chain);
    }
    if (arguments->tls_ca) {
        if (!tls)
            tls = mx_tls_new();
        sink_store_file(arguments->tls_ca, slice_of(mx_tls_ca(tls)));
    }
    return tls;
}

/* Over 70 lines: one table of options and one switch over them. */

static void parse(struct arguments *arguments, struct sink_options *sink, int argc, char **argv)
{
    enum {
        NO_PIPELINING = 256,
        WITH_STARTTLS,
        TLS_CA,
        TLS_CHAINS,
        STORE,
        LEDGER,
        STARTS,
        THREADS,
        CONNECTIONS,
        SEED,
        JSON
    };
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"listen", required_argument, NULL, 'l'},
                                            {"no-pipelining", no_argument, NULL, NO_PIPELINING},
                                            {"starttls", no_argument, NULL, WITH_STARTTLS},
                                            {"tls-ca", required_argument, NULL, TLS_CA},
                                            {"tls-chains", required_argument, NULL, TLS_CHAINS},
                                            {"store", required_argument, NULL, STORE},
                                            {"ledger", required_argument, NULL, LEDGER},
                                            {"starts", required_argument, NULL, STARTS},
                                            {"threads", required_argument, NULL, THREADS},
                                            {"connections", required_argument, NULL, CONNECTIONS},
                                            {"seed", required_argument, NULL, SEED},
                                            {"json", no_argument, NULL, JSON},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    char heading[256];
    mx_ledger_heading(heading, sizeof heading);
    for (int option; (option = getopt_long(argc, argv, "c:l:h", options, NULL)) != -1;) {
        if (option == 'c') {
            arguments->file = optarg;
        } else if (option == 'l') {
            arguments->listen[arguments->listen_count++] = optarg;
        } else if (option == NO_PIPELINING) {
            arguments->no_pipelining = true;
        } else if (option == WITH_STARTTLS) {
            arguments->starttls = true;
        } else if (option == TLS_CA) {
            arguments->tls_ca = optarg;
        } else if (option == TLS_CHAINS) {
            arguments->tls_chains = optarg;
        } else if (option == STORE) {
            sink->store = optarg;
        } else if (option == LEDGER) {
            sink->ledger_fd = open_file(optarg, heading);
        } else if (option == STARTS) {
            sink->starts_fd = open_file(optarg, "time_us\tisp\tsource\tconnection\n");
        } else if (option == THREADS) {
            sink->threads = (unsigned)number("--threads", optarg, SINK_THREADS_MAX);
        } else if (option == CONNECTIONS) {
            sink->connections = (unsigned)number("--connections", optarg, 1000000);
        } else if (option == SEED) {
            sink->seed = number("--seed", optarg, UINT32_MAX);
        } else if (option == JSON) {
            sink->json = true;
        } else {
            fputs(option == 'h' ? usage : "try sluice-sink --help\n", option == 'h' ? stdout : stderr);
            exit(option == 'h' ? 0 : 2);
        }
    }
    if (optind < argc)
        fail("not understood", argv[optind]);
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.listen = calloc((size_t)argc, sizeof *arguments.listen)};
    struct sink sink = {.options = {.threads = 1, .seed = 1, .ledger_fd = -1, .starts_fd = -1}};
    sluice_assert(arguments.listen);
    parse(&arguments, &sink.options, argc, argv);
    struct mx_config *config = read_config(arguments.file);
    if (arguments.listen_count)
        add_plain_isp(config, &arguments);
    if (!config->listener_count)
        fail("nowhere to listen", "say -c FILE or --listen 127.0.0.1:2525");
    if (!sink.options.connections)
        sink.options.connections = connections_allowed(sink.options.threads);
    sink.options.config = config;
    sink.options.tls = prepare_tls(config, &arguments);
    sink.options.signal_fd = watch_signals();
    int result = run(&sink);
    mx_tls_free(sink.options.tls);
    mx_config_free(config);
    free(arguments.listen);
    return result;
}
