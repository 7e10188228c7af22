/* Entry of the helper executable; see helper.h. */
#include "engine/_seccomp/helper.h"

#include <stddef.h>
#include <string.h>

static const struct applet {
    const char *name;
    int (*main)(int argc, char **argv);
} applets[] = {
    {"execnode-escalated", escalated_main},
    {"execnode-execve-wrapper", wrapper_main},
    {"execnode-guardian", guardian_main},
    {"execnode-linux-sandbox", sandbox_main},
    {"execnode-probe", probe_main},
};

int main(int argc, char **argv)
{
    const char *name = argc > 0 ? argv[0] : "";
    const char *slash = strrchr(name, '/');
    if (slash)
        name = slash + 1;
    for (size_t i = 0; i < sizeof applets / sizeof *applets; i++)
        if (strcmp(name, applets[i].name) == 0)
            return applets[i].main(argc, argv);
    return usage("This program does what the name it is called by says (argv[0]); it knows\n"
                 "  execnode-execve-wrapper [--] FILE ARGV0 [ARG...]\n"
                 "  execnode-guardian --cgroup DIR | --lineage LOW HIGH\n"
                 "  execnode-linux-sandbox [OPTION...] -- COMMAND [ARG...]\n"
                 "  execnode-probe [--cgroup DIR]\n");
}
