/* A limit that is met at noon, in the middle of a campaign, could have been seen at start: here it is looked at. */
#include "control/machine.h"

#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>

enum { OF_PROCESS = 256, OF_SHARD = 64 }; /* descriptors for what is no session */

static unsigned usable_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int count = CPU_COUNT(&set);
    return count > 0 ? (unsigned)count : 1;
}

unsigned machine_shards(const struct config *config, unsigned asked)
{
    return asked ? asked : config->shards ? config->shards : usable_cores();
}

unsigned machine_sessions(const struct config *config, unsigned shards, char said[MACHINE_SAID])
{
    struct rlimit limit;
    said[0] = 0;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return config->sessions_max;
    struct rlimit raised = {limit.rlim_max, limit.rlim_max};
    if (limit.rlim_cur < limit.rlim_max && setrlimit(RLIMIT_NOFILE, &raised) == 0)
        limit = raised;
    rlim_t besides = OF_PROCESS + (rlim_t)OF_SHARD * shards, need = besides + (rlim_t)shards * config->sessions_max;
    if (limit.rlim_cur >= need)
        return config->sessions_max;
    unsigned sessions = limit.rlim_cur > besides ? (unsigned)((limit.rlim_cur - besides) / shards) : 0;
    snprintf(said, MACHINE_SAID,
             "%llu file descriptors are allowed, %llu are needed for %u shards of %u sessions: there is room for %u in "
             "each; raise the limit (LimitNOFILE= in the unit, ulimit -n) or lower sessions_max",
             (unsigned long long)limit.rlim_cur, (unsigned long long)need, shards, config->sessions_max, sessions);
    return sessions;
}

void machine_ports(const struct config *config, char said[MACHINE_SAID])
{
    FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    unsigned low = 0, high = 0, most = config->defaults.connections;
    said[0] = 0;
    if (!file)
        return;
    int fields = fscanf(file, "%u %u", &low, &high);
    fclose(file);
    for (unsigned i = 0; i < config->isp_count; i++)
        if (config->isps[i].limits.connections > most)
            most = config->isps[i].limits.connections;
    if (fields == 2 && high >= low && most > high - low + 1)
        snprintf(
            said, MACHINE_SAID,
            "a source has %u local ports towards a host (net.ipv4.ip_local_port_range), and `connections` allows it "
            "%u: widen it with sysctl net.ipv4.ip_local_port_range=\"1024 65535\"",
            high - low + 1, most);
}
