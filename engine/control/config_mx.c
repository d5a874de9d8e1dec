/* Whose mail exchanger is this, and whose domain: tables that all shards share, made once for a configuration. */
#include "control/config_build.h"

#include <stdlib.h>

/* `rows` is the table's only memory: its slots stand behind. */
static struct isp_suffix *rows_for(struct isp_table *table, uint32_t count)
{
    free((void *)(uintptr_t)table->rows);
    memset(table, 0, sizeof *table);
    return calloc(1, (count + 1) * sizeof(struct isp_suffix) + isp_slots(count) * sizeof(uint32_t));
}

static void fill(struct isp_table *table, struct isp_suffix *rows, uint32_t count)
{
    (void)isp_table_init(table, rows, count, (uint32_t *)(void *)(rows + count + 1)); /* of two the first counts */
}

static bool build_routes(struct config *config)
{
    for (unsigned i = 0; i < config->route_count; i++) {
        struct config_route *route = &config->routes[i];
        struct isp_suffix *rows = rows_for(&route->table, route->domain_count);
        if (!rows)
            return false;
        for (unsigned j = 0; j < route->domain_count; j++)
            rows[j] = (struct isp_suffix){slice_of(route->domains[j]), 0};
        fill(&route->table, rows, route->domain_count);
    }
    return true;
}

bool config_build_tables(struct config *config)
{
    uint32_t count = 0, at = 0;
    for (unsigned i = 0; i < config->isp_count; i++)
        count += config->isps[i].mx_count;
    struct isp_suffix *rows = rows_for(&config->mx_table, count);
    if (!rows)
        return false;
    for (unsigned i = 0; i < config->isp_count; i++)
        for (unsigned j = 0; j < config->isps[i].mx_count; j++)
            rows[at++] = (struct isp_suffix){slice_of(config->isps[i].mx[j]), i};
    fill(&config->mx_table, rows, count);
    return build_routes(config);
}

void config_tables_free(struct config *config)
{
    free((void *)(uintptr_t)config->mx_table.rows);
    for (unsigned i = 0; i < config->route_count; i++)
        free((void *)(uintptr_t)config->routes[i].table.rows);
}
