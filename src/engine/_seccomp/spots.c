#define _GNU_SOURCE
#include "engine/_seccomp/spots.h"

#include <stdlib.h>
#include <string.h>

static bool add(struct spots *spots, const char *path, size_t length, enum spot_kind kind)
{
    for (size_t i = 0; i < spots->count; i++)
        if (strncmp(spots->list[i].path, path, length) == 0 && spots->list[i].path[length] == '\0')
            return true;
    struct spot *list = realloc(spots->list, (spots->count + 1) * sizeof *list);
    if (!list)
        return false;
    spots->list = list;
    char *copy = strndup(path, length);
    if (!copy)
        return false;
    list[spots->count++] = (struct spot){copy, kind, -1};
    return true;
}

/* The spot nearest around a path, by index; only the first `count` are looked at. */
static int nearest(const struct spots *spots, size_t count, const char *path)
{
    int best = -1;
    for (size_t i = 0; i < count; i++)
        if (strcmp(spots->list[i].path, path) != 0 && path_is_in(path, spots->list[i].path) &&
            (best < 0 || strlen(spots->list[i].path) > strlen(spots->list[best].path)))
            best = (int)i;
    return best;
}

static bool pin_the_way(struct spots *spots, const char *path)
{
    int around = nearest(spots, spots->count, path);
    enum spot_kind kind = around < 0 ? spots->root : spots->list[around].kind;
    if (kind != SPOT_WRITE)
        return true;
    const char *end = path + (around < 0 ? 0 : strlen(spots->list[around].path));
    while ((end = strchr(end + 1, '/')))
        if (!add(spots, path, (size_t)(end - path), SPOT_WRITE))
            return false;
    return true;
}

/* /dev and /proc are private ones whatever the rules say, and nothing makes /sys writable. */
static enum spot_kind kind_of(const struct rule *rule)
{
    if (rule->access == ACCESS_DENY)
        return SPOT_HOLLOW;
    return rule->access == ACCESS_WRITE && !path_is_in(rule->path, "/sys") ? SPOT_WRITE : SPOT_READ;
}

static bool is_private(const struct rule *rule)
{
    return path_is_in(rule->path, "/dev") || (path_is_in(rule->path, "/proc") && rule->access != ACCESS_DENY) ||
           strcmp(rule->path, "/proc") == 0;
}

static bool add_rules(struct spots *spots, const struct plan *plan)
{
    for (size_t i = 0; i < plan->rule_count; i++) {
        const struct rule *rule = &plan->rules[i];
        if (strcmp(rule->path, "/") == 0) {
            spots->root = kind_of(rule);
            continue;
        }
        const struct rule *outer = plan_decides(plan, rule->path, true);
        if (is_private(rule) || kind_of(rule) == (outer ? kind_of(outer) : SPOT_HOLLOW))
            continue;
        if (!pin_the_way(spots, rule->path) || !add(spots, rule->path, strlen(rule->path), kind_of(rule)))
            return false;
    }
    return true;
}

bool spots_of(const struct plan *plan, struct spots *spots)
{
    *spots = (struct spots){.root = SPOT_HOLLOW};
    bool added = add_rules(spots, plan);
    for (size_t i = 0; i < spots->count; i++)
        spots->list[i].around = nearest(spots, spots->count, spots->list[i].path);
    if (added)
        return true;
    spots_free(spots);
    return false;
}

void spots_free(struct spots *spots)
{
    for (size_t i = 0; i < spots->count; i++)
        free(spots->list[i].path);
    free(spots->list);
    *spots = (struct spots){0};
}
