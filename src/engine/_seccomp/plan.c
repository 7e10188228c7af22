#include "engine/_seccomp/plan.h"

#include <stdlib.h>
#include <string.h>

const char *const plan_minimal[] = {"/bin",   "/sbin",   "/lib", "/lib32", "/lib64",
                                    "/libx32", "/usr", "/etc", NULL};

const char *const plan_devices[] = {"null", "zero", "full", "random", "urandom", "tty", NULL};

static const struct {
    const char *name, *remedy;
} protections[PROTECTIONS] = {
    [PROTECT_MOUNTS] = {"namespaces", "allow user namespaces (sysctls user.max_user_namespaces, "
                                      "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns; "
                                      "a container's seccomp and AppArmor profiles), or run as root with CAP_SYS_ADMIN"},
    [PROTECT_PROC] = {"private-proc", "unmask /proc in the container (systempaths=unconfined)"},
    [PROTECT_NETWORK] = {"network-namespace", "raise the sysctl user.max_net_namespaces"},
    [PROTECT_LANDLOCK] = {"landlock", "boot Linux 5.13 or newer with landlock in lsm="},
    [PROTECT_TRUNCATE] = {"landlock-truncate", "use Linux 6.2 or newer, or allow namespaces"},
    [PROTECT_PORTS] = {"landlock-ports", "use Linux 6.7 or newer"},
    [PROTECT_IOCTL] = {"landlock-ioctl", "use Linux 6.10 or newer, or allow namespaces"},
    [PROTECT_SIGNALS] = {"landlock-signals", "use Linux 6.12 or newer, or allow namespaces"},
};

const char *protection_name(enum protection protection)
{
    return protections[protection].name;
}

const char *protection_remedy(enum protection protection)
{
    return protections[protection].remedy;
}

bool path_is_in(const char *path, const char *folder)
{
    size_t length = strlen(folder);
    if (length == 1) /* "/" */
        return true;
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

const struct rule *plan_decides(const struct plan *plan, const char *path, bool above)
{
    const struct rule *best = NULL;
    for (size_t i = 0; i < plan->rule_count; i++) {
        const struct rule *rule = &plan->rules[i];
        if (path_is_in(path, rule->path) && !(above && strcmp(path, rule->path) == 0) &&
            (!best || strlen(rule->path) >= strlen(best->path)))
            best = rule;
    }
    return best;
}

/* As strcmp(3), but with `/` before any other character, so that what is in a folder follows it at once. */
static int compare_paths(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    int left = *a == '/' ? 1 : (unsigned char)*a << 1, right = *b == '/' ? 1 : (unsigned char)*b << 1;
    return left - right;
}

static int rank(enum access access)
{
    return access == ACCESS_DENY ? 0 : access == ACCESS_WRITE ? 1 : 2;
}

static int compare_rules(const void *a, const void *b)
{
    const struct rule *left = a, *right = b;
    int order = compare_paths(left->path, right->path);
    return order ? order : rank(left->access) - rank(right->access);
}

void plan_sort(struct plan *plan)
{
    size_t kept = 0;
    if (plan->rule_count)
        qsort(plan->rules, plan->rule_count, sizeof *plan->rules, compare_rules);
    for (size_t i = 0; i < plan->rule_count; i++)
        if (!kept || strcmp(plan->rules[kept - 1].path, plan->rules[i].path) != 0)
            plan->rules[kept++] = plan->rules[i];
    plan->rule_count = kept;
}

/* Landlock adds rights up on the way from the root to a file: below a folder it can give more and never less.  And it
 * has no right for modes, owners and times, so that the filter has to refuse these everywhere, or nowhere. */
bool plan_is_flat(const struct plan *plan)
{
    if (plan->missing_count)
        return false;
    for (size_t i = 0; i < plan->rule_count; i++) {
        const struct rule *rule = &plan->rules[i], *around = plan_decides(plan, rule->path, true);
        if (rule->access == ACCESS_WRITE || (around && rule->access < around->access))
            return false;
    }
    return true;
}
