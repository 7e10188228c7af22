/* Twelve bits at a time are looked up as a pair of characters.  With AVX2, 24 bytes become 32 characters at once: the
 * bytes are spread so that each 32-bit lane holds three of them, two multiplications move the four groups of six bits
 * into bytes of their own, and one look-up by range gives what to add to get the character (W. Mula, D. Lemire,
 * "Faster Base64 Encoding and Decoding Using AVX2 Instructions", 2018).
 */
#include "engine/core/base64.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static uint8_t pairs[4096][2];

__attribute__((constructor)) static void base64_tables(void)
{
    for (unsigned i = 0; i < 4096; i++) {
        pairs[i][0] = (uint8_t)alphabet[i >> 6];
        pairs[i][1] = (uint8_t)alphabet[i & 63];
    }
}

size_t base64_portable(uint8_t *to, const uint8_t *at, size_t length)
{
    uint8_t *start = to;
    for (; length >= 3; at += 3, length -= 3, to += 4) {
        memcpy(to, pairs[(unsigned)at[0] << 4 | at[1] >> 4], 2);
        memcpy(to + 2, pairs[(at[1] & 15u) << 8 | at[2]], 2);
    }
    if (length) {
        unsigned second = length == 2 ? at[1] : 0;
        memcpy(to, pairs[(unsigned)at[0] << 4 | second >> 4], 2);
        to[2] = length == 2 ? (uint8_t)alphabet[(second & 15) << 2] : '=';
        to[3] = '=';
        to += 4;
    }
    return (size_t)(to - start);
}

#if defined(__x86_64__)
#include <immintrin.h>

/* Whole blocks of 24 bytes.  Four bytes before each block and four after its end are read, so the first and the last
 * block of the data are left out by the caller. */
__attribute__((target("avx2"))) static size_t encode_blocks(uint8_t *to, const uint8_t *at, size_t blocks)
{
    const __m256i spread = _mm256_set_epi8(10, 11, 9, 10, 7, 8, 6, 7, 4, 5, 3, 4, 1, 2, 0, 1, 14, 15, 13, 14, 11, 12,
                                           10, 11, 8, 9, 7, 8, 5, 6, 4, 5);
    const __m256i shifts = _mm256_setr_epi8('a' - 26, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52,
                                            '0' - 52, '0' - 52, '0' - 52, '0' - 52, '+' - 62, '/' - 63, 'A', 0, 0,
                                            'a' - 26, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52,
                                            '0' - 52, '0' - 52, '0' - 52, '0' - 52, '+' - 62, '/' - 63, 'A', 0, 0);
    for (size_t i = 0; i < blocks; i++) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(at + 24 * i - 4));
        bytes = _mm256_shuffle_epi8(bytes, spread);
        __m256i high = _mm256_mulhi_epu16(_mm256_and_si256(bytes, _mm256_set1_epi32(0x0fc0fc00)),
                                          _mm256_set1_epi32(0x04000040));
        __m256i low = _mm256_mullo_epi16(_mm256_and_si256(bytes, _mm256_set1_epi32(0x003f03f0)),
                                         _mm256_set1_epi32(0x01000010));
        __m256i six = _mm256_or_si256(high, low);
        /* 0 for lower case, 1 to 10 for digits, 11 and 12 for the signs; 13 for upper case. */
        __m256i range = _mm256_subs_epu8(six, _mm256_set1_epi8(51));
        __m256i upper = _mm256_cmpgt_epi8(_mm256_set1_epi8(26), six);
        range = _mm256_or_si256(range, _mm256_and_si256(upper, _mm256_set1_epi8(13)));
        _mm256_storeu_si256((__m256i *)(to + 32 * i), _mm256_add_epi8(six, _mm256_shuffle_epi8(shifts, range)));
    }
    return blocks;
}

size_t base64_encode(uint8_t *to, const uint8_t *data, size_t length)
{
    uint8_t *start = to;
    if (length >= 64 && __builtin_cpu_supports("avx2")) {
        to += base64_portable(to, data, 24);
        size_t blocks = encode_blocks(to, data + 24, (length - 28) / 24);
        to += 32 * blocks;
        data += 24 + 24 * blocks;
        length -= 24 + 24 * blocks;
    }
    return (size_t)(to - start) + base64_portable(to, data, length);
}

#else

size_t base64_encode(uint8_t *to, const uint8_t *data, size_t length) { return base64_portable(to, data, length); }

#endif

size_t base64_join(uint8_t *to, const struct iovec *pieces, int count)
{
    uint8_t *start = to, group[3];
    size_t held = 0; /* bytes of a group that the pieces so far have begun */
    for (int i = 0; i < count; i++) {
        const uint8_t *at = pieces[i].iov_base, *end = at + pieces[i].iov_len;
        while (held && held < 3 && at < end)
            group[held++] = *at++;
        if (held == 3) {
            to += base64_portable(to, group, 3);
            held = 0;
        }
        size_t whole = (size_t)(end - at) / 3 * 3;
        to += base64_encode(to, at, whole);
        for (at += whole; at < end; at++)
            group[held++] = *at;
    }
    return (size_t)(to - start) + base64_portable(to, group, held);
}
