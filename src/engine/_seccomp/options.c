#define _GNU_SOURCE
#include "engine/_seccomp/options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/_seccomp/paths.h"

const char options_usage[] =
    "usage: execnode-linux-sandbox [OPTION...] -- COMMAND [ARG...]\n"
    "Run a command that sees, changes and reaches only what is listed.\n"
    "  --profile read-only        see everything, change nothing, no network\n"
    "  --profile workspace-write  also change the workspaces, /tmp and $TMPDIR, but no .git, .agents, .codex, .aws\n"
    "  --profile full-access      no restriction\n"
    "  --workspace DIR            what workspace-write means (default: --cwd); may be repeated, as all below\n"
    "  --read PATH                see a file, or a folder and what is in it\n"
    "  --write PATH               change it too\n"
    "  --read-only PATH           the same as --read, for a path in a writable one\n"
    "  --deny PATH                hide it; of all these the longest path decides\n"
    "  --missing PATH             what does not exist and may not be made\n"
    "  --literal                  the paths above that come after this have no links on their way; a link is meant itself\n"
    "  --minimal                  read what programs need: /usr, /bin, /lib, /etc and their like\n"
    "  --isolate                  insist on namespaces, with own processes, /proc and /dev\n"
    "  --network [none|full]      without a word: full (default: none, and full with full-access)\n"
    "  --connect-port N           connect to this TCP port, and to no other\n"
    "  --bind-port N              listen on this TCP port, and on no other\n"
    "  --cwd DIR                  where to start (default: here)\n"
    "  --arg0 NAME                what the command is told of its name\n"
    "  --accept-missing NAME      run even if the kernel lacks this protection\n"
    "  --pass-fd N                leave this descriptor open; all others from 3 up are closed\n"
    "  --status-fd N              tell failures and losses there, one a line, instead of on stderr\n"
    "Exit code: the command's; 125 the sandbox failed, 126 the command cannot be run, 127 it is not there.\n";

enum {
    WORDS_MAX = 65536,
    DESCRIPTOR_MAX = 1 << 20,
};

/* Options whose paths are looked up when all are known. */
struct collected {
    struct options *options;
    const char *profile;
    const char **workspaces;
    size_t workspace_count;
    struct path_list paths;
    const char *network; /* none, full, or NULL */
    bool minimal, literal;
};

static const char *complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static const char *complain(const char *format, ...)
{
    static char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return text;
}

static bool parse_number(const char *text, unsigned long most, unsigned long *number)
{
    char *end;
    errno = 0;
    *number = strtoul(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && !errno && *number <= most;
}

static const char *add_port(uint16_t **ports, size_t *count, const char *text)
{
    unsigned long port;
    if (!parse_number(text, UINT16_MAX, &port))
        return complain("%s is no port", text);
    uint16_t *more = realloc(*ports, (*count + 1) * sizeof **ports);
    if (!more)
        return "out of memory";
    *ports = more;
    more[(*count)++] = (uint16_t)port;
    return NULL;
}

static const char *pass(struct passed *passed, const char *text)
{
    unsigned long fd;
    if (!parse_number(text, DESCRIPTOR_MAX, &fd) || fcntl((int)fd, F_SETFD, 0) < 0)
        return complain("--pass-fd: %.100s is no open descriptor", text);
    return passed_add(passed, (int)fd) ? NULL : "out of memory";
}

static const char *accept_loss(struct options *options, const char *name)
{
    for (enum protection p = 0; p < PROTECTIONS; p++) {
        if (strcmp(name, protection_name(p)) == 0) {
            options->accepted |= 1U << p;
            return NULL;
        }
    }
    return complain("there is no protection %.100s", name);
}

/* ---- one option -------------------------------------------------------------------------------------------------- */

static const char *with_path(struct collected *all, const char *name, const char *path)
{
    static const struct {
        const char *name;
        enum access access;
        bool missing;
    } kinds[] = {{"--read", ACCESS_READ, false},     {"--write", ACCESS_WRITE, false}, {"--read-only", ACCESS_READ, false},
                 {"--deny", ACCESS_DENY, false}, {"--missing", ACCESS_READ, true}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(name, kinds[i].name) == 0)
            return path_list_add(&all->paths, (struct written){path, kinds[i].access, all->literal}) ? NULL : "out of memory";
    if (strcmp(name, "--workspace") == 0) {
        all->workspaces[all->workspace_count++] = path;
        return NULL;
    }
    if (strcmp(name, "--cwd") == 0) {
        all->options->cwd = path;
        return NULL;
    }
    return complain("unknown option %.100s", name);
}

static const char *with_value(struct collected *all, const char *name, const char *value)
{
    struct options *options = all->options;
    unsigned long number;
    if (strcmp(name, "--profile") == 0) {
        all->profile = value;
    } else if (strcmp(name, "--connect-port") == 0) {
        return add_port(&options->plan.connect_ports, &options->plan.connect_count, value);
    } else if (strcmp(name, "--bind-port") == 0) {
        return add_port(&options->plan.bind_ports, &options->plan.bind_count, value);
    } else if (strcmp(name, "--arg0") == 0) {
        options->arg0 = value;
    } else if (strcmp(name, "--accept-missing") == 0) {
        return accept_loss(options, value);
    } else if (strcmp(name, "--pass-fd") == 0) {
        return pass(&options->passed, value);
    } else if (strcmp(name, "--status-fd") == 0) {
        if (!parse_number(value, DESCRIPTOR_MAX, &number) || fcntl((int)number, F_SETFD, FD_CLOEXEC) < 0)
            return complain("--status-fd: %.100s is no open descriptor", value);
        options->status_fd = (int)number;
    } else {
        return with_path(all, name, value);
    }
    return NULL;
}

static const char *read_words(int argc, char **argv, struct collected *all)
{
    int i = 1;
    while (i < argc && strcmp(argv[i], "--") != 0) {
        const char *name = argv[i++], *wrong = NULL;
        if (strcmp(name, "--minimal") == 0) {
            all->minimal = true;
        } else if (strcmp(name, "--isolate") == 0) {
            all->options->isolate = true;
        } else if (strcmp(name, "--literal") == 0) {
            all->literal = true;
        } else if (strcmp(name, "--network") == 0) {
            bool said = i < argc && (strcmp(argv[i], "none") == 0 || strcmp(argv[i], "full") == 0);
            all->network = said ? argv[i++] : "full";
        } else if (strncmp(name, "--", 2) != 0) {
            wrong = complain("%.100s: a command comes after --", name);
        } else if (i == argc) {
            wrong = complain("%.100s: unknown option, or its value is missing", name);
        } else {
            wrong = with_value(all, name, argv[i++]);
        }
        if (wrong)
            return wrong;
    }
    if (i + 1 >= argc)
        return "there is no command";
    all->options->command = argv + i + 1;
    return NULL;
}

/* ---- what they mean together ------------------------------------------------------------------------------------- */

static bool add_root_with_protected_names(struct path_list *paths, const char *root)
{
    static const char *const names[] = {".git", ".agents", ".codex", ".aws"};
    bool added = path_list_add(paths, (struct written){root, ACCESS_WRITE, false});
    for (size_t i = 0; added && i < sizeof names / sizeof *names; i++) {
        char *path = NULL;
        added = asprintf(&path, "%s/%s", root, names[i]) > 0 && path_list_add(paths, (struct written){path, ACCESS_READ, false});
    }
    return added;
}

static const char *expand_profile(struct collected *all)
{
    const char *profile = all->profile ? all->profile : "", *folder = getenv("TMPDIR");
    struct path_list *paths = &all->paths;
    if (strcmp(profile, "full-access") == 0) {
        all->network = all->network ? all->network : "full";
        return path_list_add(paths, (struct written){"/", ACCESS_WRITE, false}) ? NULL : "out of memory";
    }
    if (strcmp(profile, "read-only") == 0 || strcmp(profile, "workspace-write") == 0) {
        if (!path_list_add(paths, (struct written){"/", ACCESS_READ, false}))
            return "out of memory";
    } else if (*profile) {
        return complain("there is no profile %.100s", profile);
    }
    if (strcmp(profile, "workspace-write") != 0)
        return NULL;
    if (!all->workspace_count && !all->options->cwd) /* the root in its place would let everything be changed */
        return "the working folder was removed; name a workspace with --workspace or --cwd";
    if (!all->workspace_count)
        all->workspaces[all->workspace_count++] = all->options->cwd;
    bool added = add_root_with_protected_names(paths, "/tmp");
    if (added && folder && *folder == '/' && strcmp(folder, "/tmp") != 0)
        added = add_root_with_protected_names(paths, folder);
    for (size_t i = 0; added && i < all->workspace_count; i++)
        added = add_root_with_protected_names(paths, all->workspaces[i]);
    return added ? NULL : "out of memory";
}

static const char *decide_network(struct collected *all)
{
    struct plan *plan = &all->options->plan;
    bool ports = plan->connect_count || plan->bind_count, full = all->network && strcmp(all->network, "full") == 0;
    if (ports && full)
        return "--network full leaves nothing for --connect-port and --bind-port to allow";
    plan->network = full ? FILTER_FULL : ports ? FILTER_TCP : FILTER_NONE;
    return NULL;
}

const char *options_parse(int argc, char **argv, struct options *options)
{
    struct collected all = {.options = options};
    *options = (struct options){.status_fd = -1};
    if (argc > WORDS_MAX)
        return "too many words";
    all.workspaces = calloc((size_t)argc + 1, sizeof *all.workspaces);
    if (!all.workspaces)
        return "out of memory";
    const char *wrong = read_words(argc, argv, &all);
    if (wrong)
        return wrong;
    if (!options->cwd)
        options->cwd = getcwd(NULL, 0); /* NULL: it was removed */
    if ((wrong = expand_profile(&all)) || (wrong = decide_network(&all)))
        return wrong;
    if (!options->cwd)
        options->cwd = "/";
    for (const char *const *path = plan_minimal; all.minimal && *path; path++)
        if (!path_list_add(&all.paths, (struct written){*path, ACCESS_READ, false}))
            return "out of memory";
    if ((wrong = path_list_resolve(&all.paths, &options->plan)))
        return wrong;
    const struct plan *plan = &options->plan;
    options->unrestricted = plan->network == FILTER_FULL && plan->rule_count == 1 && !plan->missing_count &&
                            plan->rules[0].access == ACCESS_WRITE && strcmp(plan->rules[0].path, "/") == 0;
    return NULL;
}
