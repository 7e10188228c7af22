/* The processor's CRC instruction takes three cycles but can start one each cycle.  So long inputs are cut in three
 * lanes that are computed side by side and joined by shifting a lane's CRC over the bytes that follow it: a linear
 * map over GF(2), kept as four tables of 256 entries.
 */
#include "engine/core/crc32c.h"

#include <stdbool.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* reflected */
#define LANE 1024u             /* bytes; long enough that joining does not show, short enough for 4 KiB reads */

static uint32_t byte_table[256];
static uint32_t shift_table[4][256]; /* a CRC moved over LANE zero bytes, by each byte of the CRC */

static uint32_t apply(const uint32_t matrix[32], uint32_t vector)
{
    uint32_t sum = 0;
    for (int bit = 0; vector; bit++, vector >>= 1)
        if (vector & 1)
            sum ^= matrix[bit];
    return sum;
}

__attribute__((constructor)) static void crc32c_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        byte_table[i] = crc;
    }
    uint32_t matrix[32], square[32];
    for (int bit = 0; bit < 32; bit++) /* one zero byte */
        matrix[bit] = (1u << bit) >> 8 ^ byte_table[(1u << bit) & 0xff];
    for (uint32_t bytes = 1; bytes < LANE; bytes *= 2) {
        for (int bit = 0; bit < 32; bit++)
            square[bit] = apply(matrix, matrix[bit]);
        memcpy(matrix, square, sizeof matrix);
    }
    for (int k = 0; k < 4; k++)
        for (uint32_t i = 0; i < 256; i++)
            shift_table[k][i] = apply(matrix, i << 8 * k);
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t length)
{
    const uint8_t *at = data;
    crc = ~crc;
    while (length--)
        crc = crc >> 8 ^ byte_table[(crc ^ *at++) & 0xff];
    return ~crc;
}

#if defined(__x86_64__) || defined(__aarch64__)

static inline uint64_t load(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline uint32_t shift(uint32_t crc)
{
    return shift_table[0][crc & 0xff] ^ shift_table[1][crc >> 8 & 0xff] ^ shift_table[2][crc >> 16 & 0xff] ^
           shift_table[3][crc >> 24];
}

#if defined(__x86_64__)
#include <nmmintrin.h>
#define TARGET __attribute__((target("sse4.2")))
#define STEP8(crc, word) ((uint32_t)_mm_crc32_u64(crc, word))
#define STEP1(crc, byte) _mm_crc32_u8(crc, byte)
static bool supported(void) { return __builtin_cpu_supports("sse4.2"); }
#else
#include <arm_acle.h>
#include <sys/auxv.h>
#define TARGET __attribute__((target("+crc")))
#define STEP8(crc, word) __crc32cd(crc, word)
#define STEP1(crc, byte) __crc32cb(crc, byte)
static bool supported(void) { return getauxval(AT_HWCAP) & (1 << 7); /* HWCAP_CRC32 */ }
#endif

TARGET static uint32_t crc32c_instruction(uint32_t crc, const uint8_t *at, size_t length)
{
    crc = ~crc;
    for (; length >= 3 * LANE; at += 3 * LANE, length -= 3 * LANE) {
        uint32_t second = 0, third = 0;
        for (size_t i = 0; i < LANE; i += 8) {
            crc = STEP8(crc, load(at + i));
            second = STEP8(second, load(at + LANE + i));
            third = STEP8(third, load(at + 2 * LANE + i));
        }
        crc = shift(shift(crc) ^ second) ^ third;
    }
    for (; length >= 8; at += 8, length -= 8)
        crc = STEP8(crc, load(at));
    while (length--)
        crc = STEP1(crc, *at++);
    return ~crc;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t length)
{
    return supported() ? crc32c_instruction(crc, data, length) : crc32c_portable(crc, data, length);
}

#else

uint32_t crc32c(uint32_t crc, const void *data, size_t length) { return crc32c_portable(crc, data, length); }

#endif
