/* real_redis.h - a redis-server of the test's own, on a Unix socket in a directory of its own. */
#ifndef REAL_REDIS_H
#define REAL_REDIS_H

#include <hiredis/hiredis.h>
#include <stdbool.h>

struct real_redis;

/* Starts Debian's redis-server; `durable`: it keeps what it answered over a kill -9 (append-only file, fsync always).
 * Ends the test when that is not possible. */
struct real_redis *real_redis_start(bool durable);
const char *real_redis_url(const struct real_redis *redis); /* "unix:/..." */
void real_redis_kill(struct real_redis *redis);             /* -9 */
void real_redis_again(struct real_redis *redis); /* after a kill: starts it once more and waits until it answers */
void real_redis_stop(struct real_redis *redis);  /* kills, removes the directory, frees */
/* One command over a connection of its own, which waits. Never NULL; to be freed. */
redisReply *real_redis_do(struct real_redis *redis, const char *format, ...);
redisReply *real_redis_argv(struct real_redis *redis, int argc, const char **argv, const size_t *sizes);
long long real_redis_number(struct real_redis *redis, const char *format, ...); /* an integer reply */

#endif
