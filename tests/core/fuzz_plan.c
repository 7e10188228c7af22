/* Fuzz target: a command line of execnode-linux-sandbox, from its words to the mounts of its plan.
 *
 * A line is an option and its value: the first byte chooses the option, the others letters that make paths in a small
 * tree with links in it.  What comes out is checked against a second reading of the rules.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/_seccomp/options.h"
#include "engine/_seccomp/spots.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* sanitizer/allocator_interface.h, which not every compiler brings. */
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                              void (*on_free)(const volatile void *));

enum { WORDS = 64, LETTERS = 48, KEPT = 1 << 16 };

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* ---- memory: the program under test ends soon and frees little ---------------------------------------------------- */

static const volatile void *kept[KEPT];
static size_t kept_count;
static bool keeping;

static void on_malloc(const volatile void *memory, size_t size)
{
    (void)size;
    if (keeping && kept_count < KEPT)
        kept[kept_count++] = memory;
}

static void on_free(const volatile void *memory)
{
    for (size_t i = kept_count; keeping && memory && i > 0; i--) {
        if (kept[i - 1] == memory) {
            kept[i - 1] = kept[--kept_count];
            return;
        }
    }
}

static void free_all(void)
{
    keeping = false;
    while (kept_count)
        free((void *)(uintptr_t)kept[--kept_count]);
}

/* ---- the tree ------------------------------------------------------------------------------------------------------ */

/* Folders, of which one is another sandbox's placeholder, and links: where they lead to. */
static const struct {
    const char *name, *target;
} tree[] = {{"a", NULL},         {"a/b", NULL}, {"a/b/a", NULL}, {"a/g", NULL}, {"b", NULL},
            {"a/l", "../b"},     {"b/l", "a/b"}, {"b/g", "/"},    {"g", "g"},    {"l", "nowhere"}};
static char folder[] = "/tmp/fuzz-plan-XXXXXX";

static void remove_tree(void)
{
    for (size_t i = sizeof tree / sizeof *tree; i-- > 0;)
        remove(tree[i].name);
    rmdir(folder);
}

static void make_tree(void)
{
    REQUIRE(mkdtemp(folder) && chdir(folder) == 0 && atexit(remove_tree) == 0);
    for (size_t i = 0; i < sizeof tree / sizeof *tree; i++)
        REQUIRE((tree[i].target ? symlink(tree[i].target, tree[i].name) : mkdir(tree[i].name, 0755)) == 0);
    REQUIRE(chmod("a/g", 01555) == 0);
}

/* ---- checks -------------------------------------------------------------------------------------------------------- */

static bool is_plain(const char *path)
{
    size_t length = strlen(path);
    return *path == '/' && !strstr(path, "//") && !strstr(path, "/./") && !strstr(path, "/../") &&
           (length == 1 || (path[length - 1] != '/' && strcmp(path + length - 2, "/.") != 0 &&
                            (length < 3 || strcmp(path + length - 3, "/..") != 0)));
}

/* By going up from the path, where plan_decides() goes through the rules. */
static const struct rule *deciding(const struct plan *plan, const char *path)
{
    char way[8192];
    snprintf(way, sizeof way, "%s", path);
    for (;;) {
        for (size_t i = 0; i < plan->rule_count; i++)
            if (strcmp(plan->rules[i].path, *way ? way : "/") == 0)
                return &plan->rules[i];
        if (!*way)
            return NULL;
        *strrchr(way, '/') = '\0';
    }
}

static bool is_special(const char *path)
{
    return path_is_in(path, "/dev") || path_is_in(path, "/proc") || path_is_in(path, "/sys");
}

/* What mounts make of a path: the innermost decides. */
static enum spot_kind mounted(const struct spots *spots, const char *path)
{
    enum spot_kind kind = spots->root;
    size_t longest = 0;
    for (size_t i = 0; i < spots->count; i++) {
        size_t length = strlen(spots->list[i].path);
        if (path_is_in(path, spots->list[i].path) && length > longest) {
            longest = length;
            kind = spots->list[i].kind;
        }
    }
    return kind;
}

static void check_spots(const struct plan *plan)
{
    static const enum spot_kind kinds[] = {[ACCESS_DENY] = SPOT_HOLLOW, [ACCESS_READ] = SPOT_READ,
                                           [ACCESS_WRITE] = SPOT_WRITE};
    struct spots spots;
    REQUIRE(spots_of(plan, &spots));
    for (size_t i = 0; i < plan->rule_count; i++)
        if (!is_special(plan->rules[i].path))
            REQUIRE(mounted(&spots, plan->rules[i].path) == kinds[plan->rules[i].access]);
    for (size_t i = 0; i < spots.count; i++) {
        int around = spots.list[i].around;
        const struct rule *rule = deciding(plan, spots.list[i].path);
        REQUIRE(around < (int)i); /* a folder comes first */
        REQUIRE(around < 0 || path_is_in(spots.list[i].path, spots.list[around].path));
        if (!is_special(spots.list[i].path))
            REQUIRE(spots.list[i].kind == (rule ? kinds[rule->access] : SPOT_HOLLOW));
    }
    spots_free(&spots);
}

static void check_plan(const struct plan *plan)
{
    for (size_t i = 0; i < plan->rule_count; i++) {
        REQUIRE(is_plain(plan->rules[i].path));
        REQUIRE(plan_decides(plan, plan->rules[i].path, false) == deciding(plan, plan->rules[i].path));
        for (size_t j = 0; j < i; j++) /* what is around it is before it, and nothing is twice */
            REQUIRE(!path_is_in(plan->rules[j].path, plan->rules[i].path));
    }
    for (size_t i = 0; i < plan->missing_count; i++) {
        const struct rule *rule = deciding(plan, plan->missing[i]);
        REQUIRE(is_plain(plan->missing[i]) && rule && rule->access == ACCESS_WRITE);
    }
    if (plan_is_flat(plan))
        for (size_t i = 0; i < plan->rule_count; i++)
            REQUIRE(plan->rules[i].access != ACCESS_WRITE);
    check_spots(plan);
}

/* ---- words --------------------------------------------------------------------------------------------------------- */

static int read_words(const uint8_t *data, size_t size, char words[WORDS][LETTERS], char **argv)
{
    static const char *const options[] = {
        "--read",     "--write",   "--read-only",    "--deny", "--missing",   "--workspace", "--cwd",  "--profile",
        "--literal",  "--minimal", "--network",      "--arg0", "--bind-port", "--connect-port", "--status-fd",
        "--pass-fd",  "--accept-missing", "--other", "--",
    };
    static const char *const values[] = {"read-only", "workspace-write", "full-access", "none", "full", "namespaces"};
    static const char letters[] = "/ab.lg0/";
    int count = 1;
    argv[0] = (char[]){"execnode-linux-sandbox"};
    for (size_t at = 0; at < size && count < WORDS - 3;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t length = (end ? (size_t)(end - data) : size) - at, letter = 0;
        if (length > 0)
            argv[count++] = (char *)(uintptr_t)options[data[at] % (sizeof options / sizeof *options)];
        if (length == 2 && data[at + 1] >= 0xf0)
            argv[count++] = (char *)(uintptr_t)values[data[at + 1] % (sizeof values / sizeof *values)];
        else if (length > 1) {
            for (; letter + 1 < length && letter < LETTERS - 1; letter++)
                words[count][letter] = letters[data[at + 1 + letter] % 8];
            words[count][letter] = '\0';
            argv[count] = words[count];
            count++;
        }
        at += length + 1;
    }
    argv[count++] = (char *)(uintptr_t)"--";
    argv[count++] = (char *)(uintptr_t)"true";
    argv[count] = NULL;
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    static char words[WORDS][LETTERS];
    char *argv[WORDS + 1];
    struct options options;
    if (!ready) {
        make_tree();
        REQUIRE(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free));
        ready = true;
    }
    int argc = read_words(data, size, words, argv);
    keeping = true;
    const char *wrong = options_parse(argc, argv, &options);
    if (wrong)
        REQUIRE(*wrong && strlen(wrong) < 256);
    else
        check_plan(&options.plan);
    free_all();
    return 0;
}
