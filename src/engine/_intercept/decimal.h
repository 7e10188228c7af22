/* Numbers as text, without stdio. */
#ifndef EXECNODE_INTERCEPT_DECIMAL_H
#define EXECNODE_INTERCEPT_DECIMAL_H

#include <stddef.h>

enum { DECIMAL_SIZE = 12 };

/* Write a number that is not negative, at most DECIMAL_SIZE bytes with the end. */
static inline void write_decimal(char *out, int number)
{
    char digits[DECIMAL_SIZE];
    size_t count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    while (count > 0)
        *out++ = digits[--count];
    *out = '\0';
}

#endif
