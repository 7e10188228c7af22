/* CRC-32C (Castagnoli), RFC 3720 appendix B.4: the check that every byte of output gets by default. */
#ifndef EXECNODE_CRC32C_H
#define EXECNODE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of the data so far followed by `data`; start with 0. */
uint32_t crc32c(uint32_t crc, const void *data, size_t length);

/* The same by table, for processors without the instruction and as the tests' oracle. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t length);

#endif
