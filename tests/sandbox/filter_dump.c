/* Prints a filter's instructions, one a line: CODE JT JF K.  Arguments: arm, then the members of struct filter. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/_seccomp/filter.h"

int main(int argc, char **argv)
{
    struct sock_filter program[FILTER_MAX];
    if (argc != 8)
        return 2;
    struct filter filter = {
        .arch = atoi(argv[1]) ? FILTER_ARM64 : FILTER_X86_64,
        .network = (enum filter_network)atoi(argv[2]),
        .listens = atoi(argv[3]),
        .private_ipc = atoi(argv[4]),
        .private_pids = atoi(argv[5]),
        .read_only = atoi(argv[6]),
        .private_network = atoi(argv[7]),
    };
    size_t count = filter_build(&filter, program);
    for (size_t i = 0; i < count; i++)
        printf("%u %u %u %u\n", program[i].code, program[i].jt, program[i].jf, program[i].k);
    return 0;
}
