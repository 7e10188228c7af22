#define _GNU_SOURCE
#include "engine/_seccomp/paths.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/_seccomp/missing.h"

static const char NO_MEMORY[] = "out of memory";

bool path_list_add(struct path_list *paths, struct written written)
{
    struct written *list = realloc(paths->list, (paths->count + 1) * sizeof *list);
    if (!list)
        return false;
    paths->list = list;
    list[paths->count++] = written;
    return true;
}

/* FOLDER/NAME for any path that is not the root, with the folder's links followed.  NULL with errno. */
static char *with_real_folder(const char *path)
{
    char *copy = strdup(path), *joined = NULL;
    if (!copy)
        return NULL;
    for (size_t length = strlen(copy); length > 1 && copy[length - 1] == '/';)
        copy[--length] = '\0';
    char *slash = strrchr(copy, '/');
    const char *name = slash ? slash + 1 : copy;
    if (slash)
        *slash = '\0';
    char *folder = realpath(!slash ? "." : *copy ? copy : "/", NULL);
    if (folder && asprintf(&joined, "%s/%s", folder[1] ? folder : "", name) < 0)
        joined = NULL;
    free(folder);
    free(copy);
    return joined;
}

/* The name that would have to be made first for a path to exist, or NULL. */
static char *first_missing(const char *path)
{
    char *way = strdup(path), *found = NULL;
    while (way && !found) {
        struct stat stat;
        char *slash = strrchr(way, '/');
        found = with_real_folder(way);
        if (found && lstat(found, &stat) == 0) {
            free(found);
            found = NULL;
            break;
        }
        if (!slash || slash == way)
            break;
        *slash = '\0';
    }
    free(way);
    return found;
}

static bool add_rule(struct plan *plan, const char *path, enum access access)
{
    struct rule *rules = realloc(plan->rules, (plan->rule_count + 1) * sizeof *rules);
    if (!rules)
        return false;
    plan->rules = rules;
    rules[plan->rule_count++] = (struct rule){path, access};
    return true;
}

static bool add_missing(struct plan *plan, const char *path)
{
    for (size_t i = 0; i < plan->missing_count; i++)
        if (strcmp(plan->missing[i], path) == 0)
            return true;
    const char **list = realloc(plan->missing, (plan->missing_count + 1) * sizeof *list);
    if (!list)
        return false;
    plan->missing = list;
    list[plan->missing_count++] = path;
    return true;
}

/* Where a dangling link leads to, as far as one link goes.  NULL with errno. */
static char *target_of(const char *link)
{
    char target[PATH_MAX], *joined = NULL;
    ssize_t length = readlink(link, target, sizeof target - 1);
    if (length < 0)
        return NULL;
    target[length] = '\0';
    if (*target == '/')
        return strdup(target);
    if (asprintf(&joined, "%.*s/%s", (int)(strrchr(link, '/') - link), link, target) < 0)
        return NULL;
    return joined;
}

static bool has_links_on_the_way(const char *path)
{
    char *real = with_real_folder(path);
    bool has = real && strcmp(real, path) != 0;
    free(real);
    return has;
}

static bool resolve_literal(struct plan *plan, const struct written *written, char **absent)
{
    struct stat stat;
    if (lstat(written->path, &stat) == 0)
        return add_rule(plan, written->path, written->access);
    if (written->access != ACCESS_WRITE)
        *absent = first_missing(written->path);
    return true;
}

/* What exists becomes a rule; *absent is what does not, and nobody may make. */
static bool resolve(struct plan *plan, const struct written *written, char **absent)
{
    *absent = NULL;
    if (placeholder_is_at(written->path)) /* another sandbox's */
        return written->access == ACCESS_WRITE || (*absent = with_real_folder(written->path));
    if (written->literal)
        return resolve_literal(plan, written, absent);
    char *real = realpath(written->path, NULL);
    if (real && !add_rule(plan, real, written->access))
        return false;
    if (written->access == ACCESS_WRITE)
        return real || errno != ENOMEM;
    char *literal = with_real_folder(written->path);
    struct stat stat;
    if (!literal || lstat(literal, &stat) < 0) {
        *absent = real ? NULL : first_missing(written->path);
        return true;
    }
    if (!S_ISLNK(stat.st_mode))
        return true;
    if (!real) {
        char *target = target_of(literal);
        *absent = target ? first_missing(target) : NULL;
    }
    return add_rule(plan, literal, written->access);
}

const char *path_list_resolve(const struct path_list *paths, struct plan *plan)
{
    char **absent = calloc(paths->count + 1, sizeof *absent);
    if (!absent)
        return NO_MEMORY;
    for (size_t i = 0; i < paths->count; i++) {
        if (paths->list[i].literal && has_links_on_the_way(paths->list[i].path))
            return "a path that is to be taken literally has a link on its way";
        if (!resolve(plan, &paths->list[i], &absent[i]))
            return NO_MEMORY;
    }
    plan_sort(plan);
    for (size_t i = 0; i < paths->count; i++) {
        const struct rule *around = absent[i] ? plan_decides(plan, absent[i], true) : NULL;
        if (around && around->access == ACCESS_WRITE && !add_missing(plan, absent[i]))
            return NO_MEMORY;
    }
    free(absent);
    return NULL;
}
