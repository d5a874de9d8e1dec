/* Tests of the store need a Redis that they may kill, fill up and lock. */
#include "real_redis.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct real_redis {
    char directory[64], socket[96], url[112];
    bool durable;
    pid_t pid;
    redisContext *context;
};

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "real redis: %s\n", what);
    abort();
}

static void start(struct real_redis *redis)
{
    redis->pid = fork();
    check(redis->pid >= 0, "fork");
    if (redis->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int log = open("/dev/null", O_RDWR);
        dup2(log, 0);
        dup2(log, 1);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", redis->socket, "--dir", redis->directory,
               "--save", "", "--appendonly", redis->durable ? "yes" : "no", "--appendfsync", "always",
               "--enable-debug-command", "yes", (char *)NULL);
        _exit(127);
    }
    for (unsigned i = 0; i < 2000; i++) {
        redis->context = redisConnectUnix(redis->socket);
        if (redis->context && !redis->context->err) {
            redisReply *reply = redisCommand(redis->context, "PING");
            bool ready = reply && reply->type == REDIS_REPLY_STATUS;
            freeReplyObject(reply);
            if (ready)
                return;
        }
        redisFree(redis->context);
        redis->context = NULL;
        check(waitpid(redis->pid, NULL, WNOHANG) == 0, "redis-server does not start (package redis-server)");
        nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
    }
    check(false, "redis-server does not answer");
}

struct real_redis *real_redis_start(bool durable)
{
    struct real_redis *redis = calloc(1, sizeof *redis);
    check(redis != NULL, "no memory");
    redis->durable = durable;
    snprintf(redis->directory, sizeof redis->directory, "/tmp/sluice-redis-XXXXXX");
    check(mkdtemp(redis->directory) != NULL, "mkdtemp");
    snprintf(redis->socket, sizeof redis->socket, "%s/socket", redis->directory);
    snprintf(redis->url, sizeof redis->url, "unix:%s", redis->socket);
    start(redis);
    return redis;
}

const char *real_redis_url(const struct real_redis *redis) { return redis->url; }

void real_redis_kill(struct real_redis *redis)
{
    redisFree(redis->context);
    redis->context = NULL;
    kill(redis->pid, SIGKILL);
    check(waitpid(redis->pid, NULL, 0) == redis->pid, "waitpid");
}

void real_redis_again(struct real_redis *redis) { start(redis); }

void real_redis_stop(struct real_redis *redis)
{
    char command[128];
    real_redis_kill(redis);
    snprintf(command, sizeof command, "rm -rf %s", redis->directory);
    check(system(command) == 0, "the directory stays");
    free(redis);
}

redisReply *real_redis_argv(struct real_redis *redis, int argc, const char **argv, const size_t *sizes)
{
    redisReply *reply = redisCommandArgv(redis->context, argc, argv, sizes);
    check(reply != NULL, redis->context->errstr);
    return reply;
}

static redisReply *do_list(struct real_redis *redis, const char *format, va_list args)
{
    redisReply *reply = redisvCommand(redis->context, format, args);
    check(reply != NULL, redis->context->errstr);
    return reply;
}

redisReply *real_redis_do(struct real_redis *redis, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = do_list(redis, format, args);
    va_end(args);
    return reply;
}

long long real_redis_number(struct real_redis *redis, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = do_list(redis, format, args);
    va_end(args);
    if (reply->type == REDIS_REPLY_ERROR)
        fprintf(stderr, "real redis: %s: %s\n", format, reply->str);
    check(reply->type == REDIS_REPLY_INTEGER, "the reply is no number");
    long long number = reply->integer;
    freeReplyObject(reply);
    return number;
}
