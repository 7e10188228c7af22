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

enum { LINKS_MAX = 40 }; /* path_resolution(7) */

bool path_list_add(struct path_list *paths, struct written written)
{
    struct written *list = realloc(paths->list, (paths->count + 1) * sizeof *list);
    if (!list)
        return false;
    paths->list = list;
    list[paths->count++] = written;
    return true;
}

static bool exists(const char *path, struct stat *stat)
{
    return lstat(path, stat) == 0 && !placeholder_is(path, stat); /* perhaps another sandbox's */
}

/* The path as FOLDER/NAME, with the folder's links followed and not its own.  NULL if there is no such folder, or only a
 * placeholder. */
static char *with_real_folder(const char *path)
{
    struct stat stat;
    char *copy = strdup(path), *joined = NULL;
    if (!copy)
        return NULL;
    for (size_t length = strlen(copy); length > 1 && copy[length - 1] == '/';)
        copy[--length] = '\0';
    char *slash = strrchr(copy, '/'), *folder = NULL;
    const char *name = slash ? slash + 1 : copy;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(copy, "/") == 0) {
        joined = realpath(copy, NULL);
    } else if (*name) {
        if (slash)
            *slash = '\0';
        folder = realpath(!slash ? "." : *copy ? copy : "/", NULL);
        if (folder && exists(folder, &stat) && asprintf(&joined, "%s/%s", folder[1] ? folder : "", name) < 0)
            joined = NULL;
    }
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
        if (found && exists(found, &stat)) {
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

/* What keeps a name from being made where a link leads to nothing. */
static char *first_missing_of(const char *link)
{
    char *target = target_of(link), *missing = target ? first_missing(target) : NULL;
    free(target);
    return missing;
}

/* The folder that we may not look into and that is in the way of looking at `path`; NULL if there is none.  A program
 * inside may have shut it, and could open it again. */
static char *shut_folder(const char *path, int links)
{
    struct stat status;
    if (stat(path, &status) == 0 || errno != EACCES)
        return NULL;
    char *way = strdup(path), *found = NULL, *link = NULL, *target = NULL;
    for (char *slash; way && lstat(way, &status) < 0;) {
        slash = strrchr(way, '/');
        if (slash)
            slash[slash == way] = '\0';
        else
            strcpy(way, ".");
    }
    if (way && !(found = realpath(way, NULL)) && links && (link = with_real_folder(way)) && (target = target_of(link)))
        found = shut_folder(target, links - 1);
    free(way);
    free(link);
    free(target);
    return found;
}

/* A link's target and the link itself, so that it cannot be changed; or only the one of them that is meant. */
static bool resolve_link(struct plan *plan, const struct written *written, const char *link, char **absent)
{
    bool grants = written->access == ACCESS_WRITE;
    char *real = written->literal ? NULL : realpath(link, NULL);
    if (real && !add_rule(plan, real, written->access))
        return false;
    if (!real && !written->literal && !grants)
        *absent = first_missing_of(link);
    return (grants && !written->literal) || add_rule(plan, link, written->access);
}

/* Whether `path` is what was written, or a folder on the way to it. */
static bool is_literally(const char *path, const char *written)
{
    size_t length = strlen(path);
    return strncmp(path, written, length) == 0 && (!written[length] || written[length] == '/');
}

/* What exists becomes a rule; *absent is what does not, and nobody may make. */
static const char *resolve(struct plan *plan, const struct written *written, char **absent)
{
    struct stat stat;
    char *shut = written->access == ACCESS_DENY ? shut_folder(written->path, LINKS_MAX) : NULL;
    if (shut && !add_rule(plan, shut, ACCESS_DENY))
        return NO_MEMORY;
    char *path = with_real_folder(written->path);
    bool there = path && exists(path, &stat);
    if (!there && !path)
        path = first_missing(written->path);
    if (written->literal && path && (there ? strcmp(path, written->path) != 0 : !is_literally(path, written->path)))
        return "a path that is to be taken literally is not absolute, or has a link on its way";
    if (!there)
        *absent = written->access == ACCESS_WRITE ? NULL : path;
    else if (S_ISLNK(stat.st_mode) ? !resolve_link(plan, written, path, absent) : !add_rule(plan, path, written->access))
        return NO_MEMORY;
    return NULL;
}

const char *path_list_resolve(const struct path_list *paths, struct plan *plan)
{
    char **absent = calloc(paths->count + 1, sizeof *absent);
    if (!absent)
        return NO_MEMORY;
    for (size_t i = 0; i < paths->count; i++) {
        const char *wrong = resolve(plan, &paths->list[i], &absent[i]);
        if (wrong)
            return wrong;
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
