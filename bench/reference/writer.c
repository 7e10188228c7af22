/* writer bytes COUNT | writer lines COUNT
 *
 * Writes COUNT bytes in blocks of 64 KiB, each stamped with its number so that a lost, doubled or swapped block
 * changes the digest; or COUNT lines of 64 bytes, one write each, as a chatty program does. */
#include <unistd.h>

#include "measure.h"

enum { BLOCK = 65536, LINE = 64 };

static void put(const char *data, size_t length) {
    while (length) {
        long written = check(write(1, data, length), "write");
        data += written;
        length -= (size_t)written;
    }
}

int main(int argc, char **argv) {
    if (argc != 3) die("usage: writer bytes|lines COUNT");
    static char block[BLOCK];
    long count = number(argv[2]);
    if (!strcmp(argv[1], "lines")) {
        for (long i = 0; i < count; i++) {
            snprintf(block, sizeof block, "%-*ld\n", LINE - 1, i);
            put(block, LINE);
        }
        return 0;
    }
    for (size_t i = 0; i < BLOCK; i++)
        block[i] = (char)(i * 31 + i / 251);
    for (uint64_t stamp = 0; count > 0; stamp++, count -= BLOCK) {
        memcpy(block, &stamp, sizeof stamp);
        put(block, count < BLOCK ? (size_t)count : BLOCK);
    }
    return 0;
}
